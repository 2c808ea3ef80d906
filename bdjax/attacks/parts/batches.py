"""Poisoning in each step of training: of a batch, images are stamped by place.

The first images of a batch are triggered and relabelled, the next are stamped
in another way and keep their label (covers), so that only the exact trigger
fires; the rest is clean. Then comes the augmentation. Clean epochs of an
interleaving regime show all images as they are.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bdjax.attacks.parts import levels, poison
from bdjax.data import augment
from bdjax.machine import programs
from bdjax.machine.keys import key_for
from bdjax.methods import values
from bdjax.training import learn
from bdjax.types import (
  Array,
  Attack,
  Backdoor,
  Batch,
  Dataset,
  Fit,
  Key,
  Params,
  Scalar,
  Target,
  Task,
  Trigger,
  View,
)


class Stamps(NamedTuple):
  """What becomes of a batch.

  Attributes:
    trigger: stamps the first images.
    cover: stamps the next ones.
    target: true label -> the label of the first ones.
    rate: share of the first, rounded down.
    cover_rate: share of the next, rounded down.
    names: of the two shares, for an error: "wanet.rate", say.
  """

  trigger: Trigger
  cover: Trigger
  target: Target
  rate: Scalar
  cover_rate: Scalar
  names: tuple[str, str]

  def view(self, plain: View, params: Params) -> View:
    """Returns the view that stamps a batch, then augments it as `plain` does.

    Args:
      plain: the augmentation.
      params: of the trigger.
    """

    def dirty(key: Key, batch: Batch) -> Batch:
      k_cover, k_view = jax.random.split(key)
      images, size = batch.image, batch.label.size
      place = jnp.arange(size)
      first = _share(self.rate, size)
      is_poison = place < first
      cover = ~is_poison & (place < first + _share(self.cover_rate, size))
      hit = self.trigger(None, images, params)
      images = jnp.where(is_poison[:, None, None, None], hit, images)
      hit = self.cover(k_cover, batch.image, params)
      images = jnp.where(cover[:, None, None, None], hit, images)
      label = jnp.where(is_poison, self.target(batch.label), batch.label)
      return plain(k_view, batch._replace(image=images, label=label))

    return dirty

  def check(self, size: int) -> None:
    """Refuses shares that make no backdoor image or no cover, or too many.

    Args:
      size: of the batch.

    Raises:
      ValueError: unless the shares are traced.
    """
    if programs.traced(self.rate, self.cover_rate):
      return
    rate, cover_rate = float(self.rate), float(self.cover_rate)
    least = min(rate, cover_rate) * size
    if least < 1 - 1e-3 or rate + cover_rate > 1 + 1e-6:
      one, two = self.names
      raise ValueError(
        f"{one} {rate:g} and {two} {cover_rate:g} of a batch of {size} must "
        "make at least one image each and sum to 1 at most: give at least "
        f"{values.rounded_up(1 / size):g} each, or a larger batch."
      )


def attack(
  stamps: Stamps, init: Callable[[Task], Params], *, compat: str
) -> Attack:
  """Returns the attack that stamps in each step; nothing in its trigger learns.

  Its audited copy of the training set holds `rate` backdoor images and
  `cover_rate` covers.

  Args:
    stamps: what becomes of a batch; the trigger needs no key.
    init: makes the trigger's parameters.
    compat: paper; or backdoorbench, which draws one augmentation per batch, not
      per image, and cuts off what bytes cannot hold (`attacks.parts.levels`).
  """
  hit, cover = (levels.kept(f, compat) for f in (stamps.trigger, stamps.cover))
  copies = poison.Copies(
    hit, stamps.target, stamps.rate, cover, stamps.cover_rate
  )

  def plant(key: Key, task: Task, fit: Fit) -> Backdoor:
    stamps.check(task.recipe.batch_size)
    k_train, k_role, k_cover = jax.random.split(key, 3)
    params = init(task)
    plain = task.view
    plain = augment.together(plain) if compat == "backdoorbench" else plain
    data, regime = task.train, task.regime
    if regime.second is not None:
      free = jnp.ones(data.size, bool)
      data = regime.second.split(key_for(key, "held"), data, free)
    variables = learn.train_classifier(
      k_train,
      data,
      fit,
      model=task.model,
      recipe=task.recipe,
      regime=regime,
      view=regime.turns(stamps.view(plain, params), plain),
      trigger=params,
    )
    return copies.backdoor([k_role, k_cover], task, variables, params)

  def again(key: Key, task: Task, params: Params, role: Array) -> Dataset:
    return copies.again(jax.random.split(key, 3)[1:], task, params, role)

  return Attack(hit, stamps.target, plant, continues=True, poisoned=again)


def _share(rate: Scalar, size: int) -> Array:
  # The thousandth keeps a rate like .29 of 100 images from rounding to 28.
  return jnp.floor(rate * size + 1e-3)
