"""Augmentations: views of a batch, computed on the device, drawn per image."""

import jax
import jax.numpy as jnp

from bdjax.types import Batch, Images, Key, View


def crop(key: Key, images: Images, *, padding: int) -> Images:
  """Shifts each image by up to `padding` pixels, filling with black."""
  size = images.shape[1:]
  frame = ((0, 0), (padding, padding), (padding, padding), (0, 0))
  padded = jnp.pad(images, frame)
  corner = jax.random.randint(key, (images.shape[0], 2), 0, 2 * padding + 1)

  def cut(image, at):
    return jax.lax.dynamic_slice(image, (at[0], at[1], 0), size)

  return jax.vmap(cut)(padded, corner)


def flip(key: Key, images: Images) -> Images:
  """Mirrors each image left to right with probability one half."""
  heads = jax.random.bernoulli(key, shape=(images.shape[0], 1, 1, 1))
  return jnp.where(heads, images[:, :, ::-1], images)


def identity(key: Key, batch: Batch) -> Batch:
  """Returns the batch as it is."""
  del key
  return batch


def standard(*, padding: int = 4, mirror: bool = True) -> View:
  """Returns the field's training view: random crop, and flip if `mirror`."""

  def view(key, batch):
    k_crop, k_flip = jax.random.split(key)
    images = batch.image
    if padding:
      images = crop(k_crop, images, padding=padding)
    if mirror:
      images = flip(k_flip, images)
    return batch._replace(image=images)

  return view


def together(view: View) -> View:
  """Returns the view that draws once for a batch, not once per image."""

  def same(key, batch):
    def one(single):
      alone = view(key, jax.tree.map(lambda x: x[None], single))
      return jax.tree.map(lambda x: x[0], alone)

    return jax.vmap(one)(batch)

  return same
