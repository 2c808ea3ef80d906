"""Data poisoning: who is poisoned, and the whole attack that follows from it.

Poisoning is a view of the data; poisoning a dataset is the same thing applied
once and rounded back to bytes, before any augmentation.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from bdjax.attacks.parts import roles, supply
from bdjax.machine import programs
from bdjax.machine.keys import key_for
from bdjax.training import learn
from bdjax.types import (
  CLEAN,
  COVER,
  POISON,
  Array,
  Attack,
  Backdoor,
  Dataset,
  Fit,
  Images,
  Key,
  Params,
  Regime,
  Scalar,
  Target,
  Task,
  Trigger,
)

PART = 500  # images stamped at once
Init = Callable[[Key, Task, Fit], Params]
Prepare = Callable[[Task, Params, Array], Dataset]


def to_bytes(images: Images) -> Array:
  """Rounds images in [0, 1] to uint8; values outside are clipped."""
  return jnp.round(jnp.clip(images, 0, 1) * 255).astype(jnp.uint8)


def freeze(
  key: Key,
  data: Dataset,
  role: Array,
  *,
  trigger: Callable[[Key, Images], Images],
  target: Target,
) -> Dataset:
  """Returns the data with triggers stamped on its poisons and their labels set.

  Args:
    key: for triggers that are random.
    role: [N]; only POISON examples change.
    trigger: applied to images in [0, 1], rounded back to bytes.
    target: true label -> poison's label.
  """
  chex.assert_shape(role, (data.size,))
  chex.assert_type(role, jnp.int8)
  hit = _stamped(key, data.image, trigger)
  poisoned = role == POISON
  return data.replace(
    image=jnp.where(poisoned[:, None, None, None], hit, data.image),
    label=jnp.where(poisoned, target(data.label), data.label),
  )


def _stamped(key: Key, image: Array, trigger: Callable) -> Array:
  """Returns stamped bytes; part by part, as a trigger may be a network.

  The last part is filled with the first images: a trigger that looks at an
  image's neighbour finds another image there.
  """
  size, part = len(image), min(PART, len(image))

  def all_parts(key, image):
    def one(i):
      index = (i * part + jnp.arange(part)) % size
      clean = image[index].astype(jnp.float32) / 255
      hit = trigger(jax.random.fold_in(key, i), clean)
      chex.assert_equal_shape([hit, clean])
      return to_bytes(hit)

    parts = jax.lax.map(one, jnp.arange(-(-size // part)))
    return parts.reshape(-1, *image.shape[1:])[:size]

  return programs.jit(all_parts)(key, image)


def epochs_of(
  key: Key, train: Dataset, clean: Dataset, role: Array, regime: Regime
) -> Dataset | tuple[Dataset, ...]:
  """Returns what a regime trains on: poisoned data, or turns with clean data.

  Args:
    key: decides which images a second stage has for itself.
    train: the poisoned set.
    clean: the same examples before poisoning.
    role: [N].
    regime: its clean epochs leave the poisoned examples out, or show their
      originals.
  """
  if regime.second is not None:
    return regime.second.split(key, train, role == CLEAN)
  if not regime.interleave:
    return train
  everyone = jnp.ones(train.size, bool)
  others = clean.replace(keep=everyone)
  if not regime.original:
    others = train.replace(keep=role == CLEAN)
  return regime.turns(train.replace(keep=everyone), others)


def data_poisoning(
  init: Init,
  trigger: Trigger,
  target: Target,
  rate: Scalar,
  *,
  stamp: Trigger | None = None,
  clean_label: bool = False,
  pretrained: bool = False,
  cover: Trigger | None = None,
  cover_rate: Scalar = 0.0,
  prepare: Prepare | None = None,
  learner: Callable[..., Params] | None = None,
) -> Attack:
  """Returns the attack that poisons data and trains on it.

  Args:
    init: makes the trigger's parameters from (key, task, fit).
    trigger: stamps images at test time.
    target: true label -> the label the adversary wants.
    rate: share of the training set that is poisoned.
    stamp: stamps the poisons; None for the trigger.
    clean_label: poison only images that have the wanted label already.
    pretrained: the victim starts as the clean classifier, not from scratch.
    cover: stamps images of other classes than the wanted one, which keep their
      label; None for none.
    cover_rate: their share of the training set.
    prepare: changes the poisons' images before they are stamped, if given.
    learner: trains the victim, with the arguments of `learn.train_classifier`,
      which it is unless given.
  """
  copies = Copies(stamp or trigger, target, rate, cover, cover_rate)

  def copy(keys: list[Key], task: Task, params: Params, role: Array) -> Dataset:
    if prepare is not None:
      task = task.replace(train=prepare(task, params, role))
    return copies.stamped(keys, task, params, role)

  def poisoned(key: Key, task: Task, params: Params, role: Array) -> Dataset:
    k_cover = jax.random.split(key_for(key, "cover"))[1]
    return copy([jax.random.split(key, 4)[2], k_cover], task, params, role)

  def plant(key: Key, task: Task, fit: Fit) -> Backdoor:
    supply.check_rate(rate, task.train.size)
    supply.check_clean(rate, cover_rate, task.train.size, task.regime)
    k_role, k_init, k_freeze, k_train = jax.random.split(key, 4)
    only = supply.candidates(task.train, target, rate) if clean_label else None
    start = None
    if pretrained:
      start = learn.clean_classifier(key_for(key, "clean"), task, fit)
      task = task.replace(clean=lambda fit: start)
    params = init(k_init, task, fit)
    label = task.train.label
    role = roles.choose(k_role, label, rate, only=only)
    k_who, k_cover = jax.random.split(key_for(key, "cover"))
    if cover is not None:
      free = (role == CLEAN) & (target(label) != label)
      supply.check_cover(cover_rate, free)
      role = roles.covered(k_who, role, cover_rate, only=free)
    train = copy([k_freeze, k_cover], task, params, role)
    variables = (learner or learn.train_classifier)(
      k_train,
      epochs_of(key_for(key, "held"), train, task.train, role, task.regime),
      fit,
      model=task.model,
      recipe=task.recipe,
      regime=task.regime,
      view=task.view,
      start=start,
      trigger=params,
    )
    return Backdoor(variables, params, train, role)

  return Attack(trigger, target, plant, continues=True, poisoned=poisoned)


class Copies(NamedTuple):
  """How an attack poisons a copy of the training set.

  Attacks that plant during training freeze one with the final trigger, so that
  defenses that filter data have something to filter.

  Attributes:
    trigger: stamps its poisons.
    target: true label -> the label the adversary wants.
    rate: share of the copy that is poisoned.
    cover: stamps images that look triggered and keep their label, so that
      only the exact trigger fires; None for none.
    cover_rate: their share of the whole set.
  """

  trigger: Trigger
  target: Target
  rate: Scalar
  cover: Trigger | None = None
  cover_rate: Scalar = 0.0

  def backdoor(
    self, keys: Sequence[Key], task: Task, variables: Params, params: Params
  ) -> Backdoor:
    """Returns a backdoor whose trigger came in during training.

    Args:
      keys: random ones, of the poisons and, where there is any, of the cover.
    """
    label = task.train.label
    (k_role, *k_more), stamps = zip(*map(jax.random.split, keys), strict=True)
    role = roles.choose(k_role, label, self.rate)
    if self.cover is not None:
      free = role == CLEAN
      role = roles.covered(*k_more, role, self.cover_rate, only=free)
    train = self.stamped(stamps, task, params, role)
    return Backdoor(variables, params, train, role)

  def again(
    self, keys: Sequence[Key], task: Task, params: Params, role: Array
  ) -> Dataset:
    """Returns the copy, from the keys, trigger and roles of its backdoor."""
    stamps = [jax.random.split(key)[1] for key in keys]
    return self.stamped(stamps, task, params, role)

  def stamped(
    self, keys: Sequence[Key], task: Task, params: Params, role: Array
  ) -> Dataset:
    """Returns the copy, from the keys of its stamps themselves."""
    train = freeze(
      keys[0],
      task.train,
      role,
      trigger=lambda key, images: self.trigger(key, images, params),
      target=self.target,
    )
    if self.cover is None:
      return train
    hit = _stamped(
      keys[1],
      task.train.image,
      lambda key, images: self.cover(key, images, params),
    )
    cover = (role == COVER)[:, None, None, None]
    return train.replace(image=jnp.where(cover, hit, train.image))
