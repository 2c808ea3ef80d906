"""ANP: channels that break under adversarial perturbation are pruned.

Wu and Wang, "Adversarial Neuron Pruning Purifies Backdoored Deep Models",
arXiv 2110.14430. A mask m in [0, 1] on every channel's batch-norm scale is
trained on clean images to minimize

  alpha CE(m scale, bias)
    + (1 - alpha) max over |delta|, |xi| <= eps of
      CE((m + delta) scale, (1 + xi) bias),

the maximum by sign steps from a uniform start. Channels with m <= threshold are
cut: the scale becomes zero, the bias stays, as in the authors' code.

As in that code, batch norm uses batch statistics while masks are trained, and
training is counted in iterations, here rounded up to whole epochs.
Constants are the authors' (rate .2, batch 128, eps .4) for ResNet18 on
CIFAR-10; a small network without spare channels asks for a smaller eps.
Deviations:
- the perturbation is projected into its box; their code leaves that out, so it
  reaches up to 2 eps (`project=False`);
- batches come from shuffled epochs, not from draws with replacement;
- the threshold is chosen on a fifth of the defender's clean images, held out:
  the largest of 0, .05 .. .9 whose accuracy is at most `drop` (relative) below
  the suspect's. The authors show the whole curve; BackdoorBench takes the
  threshold of the lowest attack success on test data, which no defender knows.
Presets: `official` (1 % clean images, no projection), `bb` (5 %, its rate and
batch, no projection; its choice of threshold is not offered).
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from bdjax.defenses.parts import pruning
from bdjax.machine import programs
from bdjax.methods.signature import (
  TRAINING,
  Annotated,
  Count,
  Fraction,
  Index,
  NonNegative,
  validated,
)
from bdjax.training import engine, learn
from bdjax.types import Defended, Defense, Images, Logits, Recipe, Scalar

PRESETS = {
  "official": {"clean_rate": 0.01, "project": False},
  "bb": {"clean_rate": 0.05, "lr": 0.01, "batch_size": 256, "project": False},
}

Masked = Annotated[
  Recipe, TRAINING.without("epochs", "schedule", "weight_decay")
]


@validated
def make(
  *,
  eps: NonNegative = 0.4,
  steps: Count = 1,
  project: bool = True,
  alpha: Fraction = 0.2,
  recipe: Masked = Recipe(lr=0.2, momentum=0.9, batch_size=128),
  iterations: Index = 2000,
  select: pruning.Select = "holdout",
  threshold: pruning.Threshold = 0.2,
  drop: Fraction = 0.1,
) -> Defense:
  """Returns the defense.

  Args:
    eps: bound of the perturbation, relative to each channel's scale and bias.
    steps: sign steps of size eps / steps towards the worst perturbation.
    project: keep the perturbation within its bound after each step.
    alpha: weight of the loss without perturbation.
    recipe: of training the masks.
    lr: learning rate of the masks, constant.
    iterations: training steps, rounded up to whole epochs; 0 prunes nothing.
    select: "holdout" chooses the threshold, "fixed" takes the one given.
    threshold: masks up to it are pruned, if fixed.
    drop: share of the held-out accuracy that a chosen threshold may cost.
  """

  def defend(key, access, fit):
    k_split, k_fit = jax.random.split(key)
    split = functools.partial(pruning.split, select=select)
    data, held = programs.jit(split)(k_split, access.clean)
    model, variables = access.model, access.variables
    per_epoch = engine.steps_per_epoch(data.size, recipe.batch_size)
    masks = pruning.fit_masks(
      k_fit,
      access,
      data,
      fit,
      recipe.replace(epochs=math.ceil(iterations / per_epoch)),
      objective=lambda variables: objective(
        functools.partial(pruning.logits, model, variables),
        eps=eps,
        steps=steps,
        project=project,
        alpha=alpha,
      ),
      name="anp",
    )
    prune = functools.partial(pruning.prune, model)
    pruned, memo = programs.jit(prune)(
      variables, masks, held, threshold=threshold, drop=drop
    )
    return Defended(pruned, memo=memo)

  return Defense(defend)


def objective(
  predict: Callable[[Images, pruning.Masks, pruning.Masks | None], Logits],
  *,
  eps: Scalar,
  steps: int,
  project: bool,
  alpha: Scalar,
) -> pruning.Objective:
  """Returns the loss of masks with and without the worst perturbation.

  Args:
    predict: (images, scale factors, bias factors or None) -> logits.
    alpha: weight of the loss without perturbation.
  """

  def shaken(noise, masks, batch):
    scale = jax.tree.map(jnp.add, masks, noise["scale"])
    bias = jax.tree.map(lambda xi: 1 + xi, noise["bias"])
    return learn.entropy(predict(batch.image, scale, bias), batch.label)

  def worst(key, masks, batch):
    noise = optax.tree.random_like(
      key,
      {"scale": masks, "bias": masks},
      lambda key, shape, dtype: jax.random.uniform(
        key, shape, dtype, -eps, eps
      ),
    )
    for _ in range(steps):
      grads = jax.grad(shaken)(noise, masks, batch)
      noise = jax.tree.map(
        lambda n, g: n + eps / steps * jnp.sign(g), noise, grads
      )
      if project:
        noise = jax.tree.map(lambda n: jnp.clip(n, -eps, eps), noise)
    return noise

  def loss(key, masks, batch):
    noise = worst(key, jax.lax.stop_gradient(masks), batch)
    logits = predict(batch.image, masks, None)
    natural = learn.entropy(logits, batch.label)
    robust = shaken(noise, masks, batch)
    return alpha * natural + (1 - alpha) * robust, logits

  return loss
