"""RNP: clean images are unlearned, then relearned by masks alone.

Li et al., "Reconstructive Neuron Pruning for Backdoor Defense",
arXiv 2305.14876. Clean images are unlearned by gradient ascent on the
cross-entropy, all parameters free, until few are classified right. Then masks
in [0, 1] on the batch-norm scales of that model are trained to classify them
again, nothing else free. A backdoor works against that recovery, so the masks
of its channels fall: channels with a mask <= threshold are cut from the
*original* model (the scale becomes zero, the bias stays).

Constants are the authors': 500 images in batches of 128; unlearning at .01,
after 10 epochs at a tenth of it, for 20 epochs at most (their script makes 21);
recovery at .2 for 20 epochs, on .2 times the cross-entropy, a factor that only
scales that rate. As in their code, batch norm uses batch statistics in both
stages. The constants suit a ResNet18 on CIFAR-10. One step of unlearning can
throw a small network on easy images so far off that no mask brings it back; a
high threshold then leaves nothing of it (lower `unlearn_lr`, raise `stop`).
Deviations:
- the threshold is chosen as in ANP here, on a fifth of the defender's images,
  held out: at most `drop` (relative) below the suspect's accuracy. The authors
  show the whole curve, BackdoorBench takes .7 (`select="fixed"`);
- they look after each epoch whether the accuracy on its batches fell to .2;
  here unlearning ends at the first batch with no higher accuracy;
- their gradient clipping comes before the gradient and has no effect: left out.
Presets: `official` and `bb` hold 1 % of CIFAR-10's training images, 500; `bb`
has batches of 256 and the fixed threshold.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.defenses.parts import pruning, unlearning
from bdjax.machine import programs
from bdjax.methods.signature import (
  TRAINING,
  Annotated,
  Count,
  Fraction,
  Index,
  Positive,
  validated,
)
from bdjax.training import engine, learn
from bdjax.types import Defended, Defense, Params, Recipe, Scalar

PRESETS = {
  "official": {"clean_rate": 0.01},
  "bb": {"clean_rate": 0.01, "batch_size": 256, "select": "fixed"},
}
SLOWER = 10  # epochs of unlearning after which its rate is a tenth
RECIPE = Recipe(
  lr=0.2, epochs=20, batch_size=128, momentum=0.9, weight_decay=5e-4
)


@validated
def make(
  *,
  images: Count = 500,
  unlearn_lr: Positive = 0.01,
  unlearn_epochs: Index = 20,
  stop: Fraction = 0.2,
  recipe: Annotated[Recipe, TRAINING.without("schedule")] = RECIPE,
  weight: Positive = 0.2,
  select: pruning.Select = "holdout",
  threshold: pruning.Threshold = 0.7,
  drop: Fraction = 0.1,
) -> Defense:
  """Returns the defense.

  Args:
    images: clean images that both stages use, at most.
    unlearn_lr: learning rate of the ascent.
    unlearn_epochs: passes over the images to unlearn them, at most; without
      any the memo's `unlearned` is NaN.
    stop: accuracy at which they count as unlearned.
    recipe: of training the masks; batches and momentum also of unlearning.
    weight_decay: in unlearning, coupled, on all parameters.
    lr: learning rate of the masks, constant.
    epochs: passes over the images to train the masks; 0 prunes nothing.
    weight: of the cross-entropy when masks are trained.
    select: "holdout" chooses the threshold, "fixed" takes the one given.
    threshold: masks up to it are pruned, if fixed.
    drop: share of the held-out accuracy that a chosen threshold may cost.
  """

  def defend(key, access, fit):
    pruning.norms(access.variables)  # refused before hours of unlearning
    k_split, k_down, k_up = jax.random.split(key, 3)
    split = functools.partial(pruning.split, select=select, images=images)
    data, held = programs.jit(split)(k_split, access.clean)
    slower = SLOWER * engine.steps_per_epoch(data.size, recipe.batch_size)
    down = unlearning.descend(
      k_down,
      access,
      data,
      fit,
      recipe.replace(epochs=unlearn_epochs),
      rate=lambda t: unlearn_lr * jnp.where(t < slower, 1.0, 0.1),
      stop=stop,
    )
    unlearned = {**access.variables, "params": down.params}
    masks = pruning.fit_masks(
      k_up,
      access.replace(variables=unlearned),
      data,
      fit,
      recipe,
      objective=lambda variables: recovery(access.model, variables, weight),
      name="recover",
    )
    prune = functools.partial(pruning.prune, access.model)
    variables, memo = programs.jit(prune)(
      access.variables, masks, held, threshold=threshold, drop=drop
    )
    memo["unlearned"] = down.accuracy
    return Defended(variables, memo=memo)

  return Defense(defend)


def recovery(
  model: nn.Module, variables: Params, weight: Scalar
) -> pruning.Objective:
  """Returns the loss of masks on an unlearned model."""
  predict = functools.partial(pruning.logits, model, variables)

  def loss(key, masks, batch):
    del key
    logits = predict(batch.image, masks)
    return weight * learn.entropy(logits, batch.label), logits

  return loss
