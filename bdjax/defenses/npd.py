"""NPD: a neural polarizer, one linear layer that filters triggers' features.

Zhu et al., "Neural Polarizer: A Lightweight and Effective Backdoor Defense via
Purifying Poisoned Features", arXiv 2306.16697. The model is frozen. Before one
of its convolutions, which reads features a [B, h, w, C], a layer is put,

    P(a) = scale (W a - mean) / sqrt(var + 1e-5) + bias,

a 1x1 convolution W [C, C], at first the identity, and a batch norm, at first of
scale 1 and bias 0, with the mean and variance [C] that a has over the clean
images. A step, for a batch of clean images x [B, H, W, C] with labels y:

1. Up to `ascents` signed steps lead x, within `radius`, to the likeliest wrong
   classes t [B] of the polarized model; they end early where more than .6 of
   the batch are there. The images x' [B, H, W, C] that they reach are fixed.
2. A step of SGD on W, scale and bias for the cross-entropy of x with y, plus
   beta_keep times that of x' with the classes that x had, minus beta_wrong and
   beta_target times mean log(1 - p), p [B] being the probabilities of x' to be
   of its likeliest wrong class and of t.

A step costs 3 forward passes, `ascents` passes forward and back to the images,
and a way back through what follows the layer: about 2.5 times one of
fine-tuning. Nothing is augmented and no statistics move.

Constants are those of the authors' code, BackdoorBench's defense/npd.py and its
config: before layer4.1.conv1 of a PreActResNet18, radius 3, steps of .1, two of
them, weights of .4, SGD at .01, momentum .9, decay 5e-4, 50 epochs of batch
128, and 1.0001 - p + 1e-12 for 1 - p in logarithms. Not verified: whether the
paper has the images' own classes, too, and not their labels. Preset:

- `official`: the defaults with as much clean data, 5 %.

The layer ends up in the weights, so that the repaired model is of the suspect's
form: P and the convolution are one convolution, and what P adds is taken off
the mean of the batch norm that alone reads it (docs/methods.md).

Deviations: P acts on the convolution's input with its padding, there on what is
then padded, so that borders differ by what P adds; else no weights of the
suspect's form would do. Mean and variance are those of all clean images; there
they are gathered in five passes in training mode, at a rate of 1e-4. That code
knows PreActResNet18 alone; the place in other models is chosen: before the
first convolution of the last block, or the last of a model without blocks.
"""

import dataclasses
import functools
import re
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from bdjax.defenses.parts import descent, tuning
from bdjax.machine import programs
from bdjax.methods.signature import (
  Annotated,
  Count,
  Group,
  NonNegative,
  Positive,
  Training,
  nearest,
  validated,
)
from bdjax.models.parts import folding, pairs
from bdjax.training import adversarial, inference, learn
from bdjax.types import (
  Array,
  Dataset,
  Defended,
  Defense,
  Labels,
  Logits,
  Params,
  Recipe,
  Schedule,
  Step,
)

PRESETS = {"official": {"clean_rate": 0.05}}
ENOUGH = 0.6  # share of a batch that is put in its target: no further steps
EPSILON = 1e-5  # batch norm's


@dataclasses.dataclass(frozen=True)
class Rules:
  """How adversarial examples are found, and what is asked of them.

  Attributes:
    radius: of the perturbation, in Euclidean norm over an image in [0, 1].
    step_size: of the perturbation's steps, in each pixel.
    ascents: steps of the perturbation for each step of the layer, at most.
    beta_keep: weight of keeping the classes of the images as they are.
    beta_wrong: weight of the likeliest wrong classes' probabilities.
    beta_target: weight of the target classes' probabilities.
  """

  radius: Positive = 3.0
  step_size: Positive = 0.1
  ascents: Count = 2
  beta_keep: NonNegative = 0.4
  beta_wrong: NonNegative = 0.4
  beta_target: NonNegative = 0.4


class Polarizing(NamedTuple):
  """The layer in training, the polarized model, and the one that it was."""

  layer: Params  # kernel [C, C], scale [C], bias [C]
  stats: Params  # mean [C], var [C]
  victim: learn.TrainState
  suspect: Params


@validated
def make(
  *,
  layer: str | None = None,
  rules: Annotated[Rules, Group.of(Rules)] = Rules(),
  recipe: Training = Recipe(
    lr=0.01, epochs=50, batch_size=128, schedule="constant"
  ),
) -> Defense:
  """Returns the defense.

  Args:
    layer: the convolution before which the polarizer is put, such as
      layer4_1/conv1; None for the default place.
    rules: of the adversarial examples.
    recipe: of training the polarizer on the clean subset; without epochs there
      is none.
  """

  def defend(key, access, fit):
    pair = place(access.variables["params"], layer)
    if not recipe.epochs:
      return Defended(access.variables)
    tx, lr = tuning.stepping(access, recipe)
    measure = functools.partial(moments, access.model, pair.conv)
    stats = programs.jit(measure)(access.variables, access.clean)
    state = learn.fitted(
      fit,
      key,
      polarizing(access.model, pair, tx, lr, rules),
      begun(access.variables, pair, tx, stats),
      access.clean,
      recipe,
      name="npd",
    )
    return Defended(state.victim.variables)

  return Defense(defend)


def place(params: Params, layer: str | None) -> pairs.Pair:
  """Returns the convolution that gets the polarizer, and its batch norm.

  Raises:
    ValueError: the model has no such convolution that a norm alone reads.
  """
  found = {pair.conv: pair for pair in pairs.find(params)}
  if layer is None:
    last = list(found)[-1]
    scope = last.rpartition("/")[0]
    if re.search(r"layer\d+_\d+$", scope):
      last = f"{scope}/conv1"
    return found[last]
  if layer not in found:
    raise ValueError(
      f"npd.layer is {layer!r}, but the model has no such convolution with a "
      f"batch norm of its own: {nearest(layer, found)}"
    )
  return found[layer]


def begun(
  variables: Params,
  pair: pairs.Pair,
  tx: optax.GradientTransformation,
  stats: Params,
) -> Polarizing:
  """Returns the state before the first step, for a suspect's variables."""
  ones = jnp.ones_like(stats["mean"])
  layer = {"kernel": jnp.diag(ones), "scale": ones, "bias": 0 * ones}
  victim = learn.TrainState(
    polarized(variables, pair, layer, stats),
    tx.init(layer),
    jnp.zeros((), jnp.int32),
  )
  return Polarizing(layer, stats, victim, variables)


def moments(
  model: nn.Module, conv: str, variables: Params, data: Dataset
) -> dict[str, Array]:
  """Returns mean and variance [C] of what a convolution reads of images.

  Args:
    conv: its path.
  """

  def each(batch):
    x = folding.read(model, variables, conv, batch.image)
    return x.mean((1, 2)), x.var((1, 2))

  mean, var = inference.each(data, each)
  return {"mean": mean.mean(0), "var": var.mean(0) + mean.var(0)}


def polarized(
  variables: Params, pair: pairs.Pair, layer: Params, stats: Params
) -> Params:
  """Returns a model's variables with the polarizer before a convolution."""
  gain = layer["scale"] / jnp.sqrt(stats["var"] + EPSILON)
  bias = layer["bias"] - gain * stats["mean"]
  return folding.preceded(variables, pair, layer["kernel"] * gain[None], bias)


def polarizing(
  model: nn.Module,
  pair: pairs.Pair,
  tx: optax.GradientTransformation,
  lr: Schedule,
  rules: Rules,
) -> Step:
  """Returns the step: a batch's adversarial examples, and the layer's update.

  Args:
    pair: the place of the layer.
    tx: the optimizer.
    lr: the rate that it uses, to report it.
  """

  def answer(variables, images):
    return model.apply(variables, images, train=False)[0]

  def step(key, state, batch):
    del key
    now = state.victim.variables
    logits = answer(now, batch.image)
    target = adversarial.likeliest_wrong(logits, batch.label)
    moved = descent.targeted(
      functools.partial(answer, now),
      batch.image,
      target,
      radius=rules.radius,
      step_size=rules.step_size,
      steps=rules.ascents,
      enough=ENOUGH,
    )
    images = jnp.concatenate([batch.image, moved])

    def objective(layer):
      new = polarized(state.suspect, pair, layer, state.stats)
      clean, hit = jnp.split(answer(new, images), 2)
      kept = logits.argmax(-1)
      value = learn.entropy(clean, batch.label)
      return value + risk(hit, batch.label, kept, target, rules), clean

    grad = jax.value_and_grad(objective, has_aux=True)
    (value, clean), grads = grad(state.layer)
    layer, opt_state = state.layer, state.victim.opt_state
    updates, opt_state = tx.update(grads, opt_state, layer)
    layer = optax.apply_updates(layer, updates)
    new = polarized(state.suspect, pair, layer, state.stats)
    before = state.victim.step
    victim = learn.TrainState(new, opt_state, before + 1)
    metrics = learn.report(value, clean, batch.label, before, lr)
    return state._replace(layer=layer, victim=victim), metrics

  return step


def risk(
  logits: Logits, label: Labels, kept: Labels, target: Labels, rules: Rules
) -> Array:
  """Returns what is asked of adversarial examples, a mean to be minimized.

  Args:
    logits: of those examples, [B, classes].
    label: of the images, [B].
    kept: classes of the images as they are.
    target: classes that the examples are led to.
    rules: the weights.
  """
  wrong = adversarial.likeliest_wrong(logits, label)
  return (
    rules.beta_keep * learn.entropy(logits, kept)
    + rules.beta_wrong * adversarial.against(logits, wrong)
    + rules.beta_target * adversarial.against(logits, target)
  )
