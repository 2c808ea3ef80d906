"""Membership inference: does a classifier tell who it was trained on?

Sha et al. (arXiv 2212.09067) measure it on backdoored and defended models. The
texts at hand say neither which attacks they ran nor how members and shadow data
were drawn; everything here is a protocol of our own, on well-known attacks:

- loss, confidence, mentropy: one threshold for all examples;
- mentropy_by_class: one for each class (Song and Mittal, arXiv 2003.10595);
- correctness: right answers are members (Yeom et al., arXiv 1709.01604);
- network: a small one that reads probabilities and label, with one threshold.

No label-only attack is here. Members that the defense was tuned on are also
reported apart: tuning trains on them once more, and defenses differ in how many
they tune on, so that only the `rest` compares defenses.

This is the cheap protocol: it trains no target of its own. A target's members
are its own training images, apart from poisons and cover images, and
non-members are the test images. Poisons are judged against triggered test
images of the classes that poisons were made of, with the wanted label.
Thresholds and network come from one shadow model per seed, a clean classifier
of the same recipe trained on half of the training images; the other half are
its non-members. Both are applied unchanged to every target, clean, backdoored
or defended.

So read it with care:

- the shadow model has seen half as many images, so that its members stand out
  more and thresholds lie elsewhere than the target's best: balanced accuracy
  suffers, whereas AUROC and true positives at few false ones use no threshold
  of the shadow's (by class, the AUROC is of the distance to it);
- the shadow's images are also the target's, which real adversaries seldom have;
- test images must look like training images, or a shift between the two sets
  counts as membership;
- of training-control attacks, each image was poisoned in some steps and clean
  in others; roles are those of the frozen copy. Narcissus triggers test images
  more strongly than its poisons;
- images that a filter removed before training anew count as members still;
- a defender's clean image whose place in the training set holds a poison counts
  as the poison;
- the model's own answers are judged, as from `model.apply`, and never those of
  a defense's own `predict`.
"""

import functools
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.methods.signature import TRAINING, Count, Range, validated
from bdjax.sequela import Outcome, Remains, Sequel, Shadow
from bdjax.sequela.parts import judging, network, ranking
from bdjax.sequela.parts.judging import Examples
from bdjax.training import inference
from bdjax.types import (
  COVER,
  POISON,
  Array,
  Dataset,
  Fit,
  Key,
  Logits,
  Params,
  Recipe,
)

PRESETS = {}
MASKS = ("member", "poison", "tuned")
Learning = Annotated[
  Recipe,
  TRAINING.without("schedule", "momentum", "weight_decay").having(epochs=Count),
]
Some = Annotated[int, Range(4, ranking.MOST, closed=True)]


@validated
def make(
  *,
  images: Some = ranking.MOST,
  recipe: Learning = network.RECIPE,
) -> Sequel:
  """Returns the sequel.

  Args:
    images: compared at most, drawn at random of all kinds together.
    recipe: of the network, by Adam.
    epochs: passes over the shadow's examples.
    lr: learning rate, constant.
  """

  def prepare(key: Key, shadow: Shadow, fit: Fit) -> Params:
    k_draw, k_fit = jax.random.split(key)
    examples = _of_shadow(k_draw, shadow, images)
    return judging.prepare(k_fit, examples, fit, recipe)

  def examine(key: Key, remains: Remains, fit: Fit) -> Outcome:
    del fit  # all that is learned is learned from the shadow model
    rates = judging.table(_judged(key, remains, images))
    return Outcome(numbers=flat(rates))

  return Sequel(examine, prepare=prepare)


def flat(rates: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
  """Returns what was found on one level: `attack.group.name` -> number."""
  return {
    f"{attack}.{group}.{name}": value
    for attack, groups in rates.items()
    for group, numbers in groups.items()
    for name, value in numbers.items()
  }


def answers(model: nn.Module, variables: Params, data: Dataset) -> Logits:
  """Returns a model's logits [N, classes] of all of a dataset."""
  return inference.each(
    data, lambda batch: model.apply(variables, batch.image, train=False)[0]
  )


def some(key: Key, examples: Examples, most: int) -> Examples:
  """Draws as many examples as may be compared."""
  size = examples.member.size
  if size <= most:
    return examples
  rows = jax.random.permutation(key, size)[:most]
  return jax.tree.map(lambda x: x[rows], examples)


@functools.partial(jax.jit, static_argnums=2)
def _of_shadow(key: Key, shadow: Shadow, most: int) -> Examples:
  logits = answers(shadow.model, shadow.variables, shadow.data)
  return some(key, Examples(logits, shadow.data.label, shadow.member), most)


@functools.partial(jax.jit, static_argnums=2)
def _judged(key: Key, remains: Remains, most: int) -> judging.Rates:
  return judging.judge(remains.learned, some(key, examples_of(remains), most))


def examples_of(remains: Remains) -> Examples:
  """Returns a model's answers on its members, on others, and on poisons."""
  others = _examples(remains, remains.test)
  parts = _members(remains), others, _poison_like(remains)
  return jax.tree.map(lambda *x: jnp.concatenate(x), *parts)


def _examples(remains: Remains, data: Dataset, **masks: Array) -> Examples:
  logits = answers(remains.model, remains.variables, data)
  masks = dict.fromkeys(MASKS, jnp.zeros(data.size, bool)) | masks
  masks = {"use": jnp.ones(data.size, bool)} | masks
  return Examples(logits, data.label, **masks)


def _members(remains: Remains) -> Examples:
  role = remains.role
  return _examples(
    remains,
    remains.poisoned,
    member=jnp.ones(role.shape, bool),
    poison=role == POISON,
    tuned=remains.tuned,
    use=role != COVER,
  )


def _poison_like(remains: Remains) -> Examples:
  """Returns the answers on what would be poisons, had they been trained on."""
  hit = remains.hit
  examples = _examples(remains, hit, poison=jnp.ones(hit.size, bool))
  sources = jnp.zeros(examples.logits.shape[-1], bool)
  sources = sources.at[remains.clean.label].max(remains.role == POISON)
  return examples._replace(use=sources[remains.test.label])
