"""Augmentations: views of a batch, computed on the device, drawn per image."""

import functools

import jax
import jax.numpy as jnp

from bdjax.types import Array, Batch, Images, Key, View


def crop(key: Key, images: Images, *, padding: int) -> Images:
  """Shifts each image by up to `padding` pixels, filling with black.

  On a CPU each image is cut out of its frame. Elsewhere it is selected from the
  2 * padding + 1 shifts of either direction, all images at once: a TPU would
  cut them out one after the other.
  """
  frame = ((0, 0), (padding, padding), (padding, padding), (0, 0))
  padded = jnp.pad(images, frame)
  corner = jax.random.randint(key, (images.shape[0], 2), 0, 2 * padding + 1)
  return jax.lax.platform_dependent(
    padded,
    corner,
    cpu=functools.partial(_cut, images.shape[1:]),
    default=functools.partial(_selected, images.shape[1:3]),
  )


def _cut(size: tuple[int, ...], padded: Images, corner: Array) -> Images:
  def one(image, start):
    return jax.lax.dynamic_slice(image, (start[0], start[1], 0), size)

  return jax.vmap(one)(padded, corner)


def _selected(size: tuple[int, ...], padded: Images, corner: Array) -> Images:
  images = padded
  for i in range(2):
    offset, axis = corner[:, i, None, None, None], 1 + i
    shifts = [
      jax.lax.slice_in_dim(images, start, start + size[i], axis=axis)
      for start in range(images.shape[axis] - size[i] + 1)
    ]
    images = shifts[0]
    for start, shift in enumerate(shifts[1:], start=1):
      images = jnp.where(offset == start, shift, images)
  return images


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

  def view(key: Key, batch: Batch) -> Batch:
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

  def same(key: Key, batch: Batch) -> Batch:
    def one(single):
      alone = view(key, jax.tree.map(lambda x: x[None], single))
      return jax.tree.map(lambda x: x[0], alone)

    return jax.vmap(one)(batch)

  return same
