"""Fine-Pruning: prunes channels that clean images leave idle, then fine-tunes.

Liu et al., "Fine-Pruning: Defending Against Backdooring Attacks on Deep Neural
Networks", arXiv 1805.12185. The channels of the last layer (the inputs of the
linear layer: of most models a map's means over space, of a MobileNet and a VGG
with torchvision's head hidden neurons) are ranked by their mean activation on
clean images and pruned in ascending order, a share at a time,
until the accuracy has dropped by more than `threshold`, relative to that of the
whole model; the last network within the threshold is kept and fine-tuned. Under
a head that a user has put on, they are cut from that head's first layer.
Step, threshold and fine-tuning are BackdoorBench's; preset `bb` adds its
stopping.

The defender has no test data: a part of its clean subset is held out to measure
the accuracy, the rest ranks the channels, and fine-tuning uses all of it.
BackdoorBench ranks on the whole subset, augmented, and stops by the accuracy on
the test set, which is reproduced in no mode. `compat="backdoorbench"` does the
rest as that benchmark does: it keeps the first network beyond the threshold,
with one channel less pruned than it counts.

A pruned channel's weights are set to zero and their updates are masked, so that
they stay zero; the reference multiplies the weights by a mask, which comes to
the same. Deviation: its cosine has a period of 100 epochs whatever `epochs` is;
here it ends with them.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from bdjax.data import splits
from bdjax.defenses.parts import tuning
from bdjax.machine import programs
from bdjax.machine.backend import exact
from bdjax.methods.signature import (
  Annotated,
  Compat,
  Fraction,
  Range,
  Training,
  validated,
)
from bdjax.models.parts import heads
from bdjax.training import inference
from bdjax.types import (
  Access,
  Array,
  Dataset,
  Defended,
  Defense,
  Fit,
  Key,
  Params,
  Recipe,
  Scalar,
)

PRESETS = {"bb": {"compat": "backdoorbench"}}
Share = Annotated[float, Range(0.0, 1.0)]  # static: it decides shapes


def tolerated(curve: Array, *, threshold: Scalar) -> Array:
  """Returns the last position before the first drop beyond a threshold.

  Args:
    curve: accuracies, the undamaged model's first, [levels].
    threshold: tolerated drop, relative to the first.
  """
  within = curve >= (1 - threshold) * curve[0]
  return jnp.cumprod(within).sum() - 1


def pruned(variables: Params, keep: Array) -> Params:
  """Returns the variables with some channels cut from the layer that reads.

  Args:
    variables: of a model whose last layer is named linear, headed or not.
    keep: [C] bool; the other channels' weights become zero.
  """
  return variables | {"params": _masked(variables["params"], keep)}


def keep_pruned(
  tx: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """Makes an optimizer leave alone channels whose weights are all 0."""

  def mask(updates: Params, params: Params) -> Params:
    return _masked(updates, _kernel(params).any(axis=1))

  return optax.chain(tx, optax.stateless(mask))


def _masked(params: Params, keep: Array) -> Params:
  flat, path = traverse_util.flatten_dict(params), heads.reader(params)
  masked = flat | {path: flat[path] * keep[:, None]}
  return traverse_util.unflatten_dict(masked)


def _kernel(params: Params) -> Array:
  path = heads.reader(params)
  if path is None:
    raise ValueError(
      "fine_pruning prunes inputs of the last layer, "
      "['params']['linear']['kernel'], which this model lacks: name its last "
      "layer 'linear', or take a model of bdjax.models."
    )
  return traverse_util.flatten_dict(params)[path]


@validated
def make(
  *,
  threshold: Fraction = 0.1,
  step: Share = 0.01,
  holdout: Share = 0.2,
  recipe: Training = Recipe(
    lr=0.01, epochs=100, batch_size=256, schedule="cosine"
  ),
  compat: Compat = "paper",
) -> Defense:
  """Returns the defense.

  Its memo holds `pruned`, the number of channels, and `holdout_accuracy` by
  steps of pruning before fine-tuning, the whole model's first.

  Args:
    threshold: tolerated drop in accuracy, relative to the whole model's.
    step: share of the channels to prune at a time, rounded up; at least one
      channel is always left.
    holdout: share of the clean subset that measures the accuracy.
    recipe: of training on the clean subset after pruning.
    compat: "backdoorbench" goes one step beyond the threshold, and prunes one
      channel less than that.
  """

  def defend(key: Key, access: Access, fit: Fit) -> Defended:
    k_prune, k_tune = jax.random.split(key)
    find = functools.partial(
      _prune, access.model, holdout, step, threshold, compat
    )
    variables, memo = programs.jit(find)(
      k_prune, access.clean, access.variables
    )
    tuned = tuning.fine_tune(
      k_tune,
      access.replace(variables=variables),
      fit,
      recipe,
      wrap=keep_pruned,
      name="fine_pruning",
    )
    return Defended(tuned, memo=memo)

  return Defense(defend)


@exact
def _prune(
  model: nn.Module,
  holdout: float,
  step: float,
  threshold: Scalar,
  compat: str,
  key: Key,
  clean: Dataset,
  variables: Params,
) -> tuple[Params, dict[str, Array]]:
  """Returns the pruned variables, and the memo; see `make`."""
  channels = len(_kernel(variables["params"]))
  ranking, held = splits.hold_out(key, clean, rate=holdout)

  def pooled(batch):
    return model.apply(variables, batch.image, train=False)[1]["pooled"]

  activity = inference.each(ranking, pooled).mean(0)
  rank = jnp.argsort(jnp.argsort(activity))
  features = inference.each(held, pooled)
  counts = jnp.arange(0, channels, math.ceil(step * channels), dtype=jnp.int32)

  def accuracy(count):
    left = features * (rank >= count)[None]
    logits = heads.answer(model, variables["params"], left)
    return jnp.mean(logits.argmax(-1) == held.label)

  curve = jax.lax.map(accuracy, counts)
  last = tolerated(curve, threshold=threshold)
  count = counts[last]
  if compat == "backdoorbench":
    beyond = counts[jnp.minimum(last + 1, len(counts) - 1)]
    count = jnp.maximum(beyond - 1, 0)
  memo = {"pruned": count, "holdout_accuracy": curve}
  return pruned(variables, rank >= count), memo
