"""Spectral Signatures: drops the outliers along each class's main direction.

Tran, Li and Madry, "Spectral Signatures in Backdoor Attacks", arXiv 1811.00636.
The suspect's pooled features of the training images of one label are centered;
an image's score is its squared projection on their top right singular vector.
The 1.5 * rate * N images of highest score are dropped from every class, N being
the size of the training set and `rate` the assumed poison rate, though never
more than half of a class, and a model is trained from scratch, by the recipe,
on the rest.

The rate is of the whole set, as everywhere here: all poisons may carry one
label. With ten classes of equal size the limit of one half applies from a rate
of 1/30 on, so the default, the base protocol's .1, leaves half of the data.
Preset `paper`: .01, its 500 poisons among 50,000 images (not verified), hence
750 images a class.

`compat="backdoorbench"` (preset `bb`) drops 15 % of every class whatever the
rate is, scores the projections of features that are not centered, and takes the
last feature map, flattened. That benchmark computes features of augmented
images, which is left out: those that are scored here are the stored ones.
"""

import functools

import jax
import jax.numpy as jnp

from bdjax.defenses.parts import clusters, depth, filtering
from bdjax.machine import programs
from bdjax.machine.backend import exact
from bdjax.methods import values
from bdjax.methods.signature import Compat, Count, Rate, Some, validated
from bdjax.training import inference
from bdjax.types import Array, Defense, Scalar

PRESETS = {"paper": {"rate": 0.01}, "bb": {"compat": "backdoorbench"}}
SAFETY = 1.5  # times the assumed poisons
BB_PERCENT = 15


@validated
def make(
  *,
  rate: Rate = 0.1,
  epochs: Some = None,
  num_classes: Count = 10,
  compat: Compat = "paper",
) -> Defense:
  """Returns the defense.

  Args:
    rate: assumed share of poisons in the training set.
    epochs: of training from scratch; None for the recipe's.
    num_classes: labels.
    compat: "backdoorbench" scores and drops as that benchmark does.
  """

  @exact
  def find(variables, data, *, model):
    def represent(batch):
      outputs = model.apply(variables, batch.image, train=False)[1]
      return features(outputs, compat=compat)

    points = inference.each(data, represent)
    members = clusters.by_class(data, num_classes=num_classes)
    count = allowance(members.sum(1), rate=rate, compat=compat)

    def outliers(group):
      members, count = group
      score = scores(points, members, compat=compat)
      return highest(score, members, count)

    dropped = jax.lax.map(outliers, (members, count)).any(0)
    return dropped, {"dropped": count}

  def defend(key, access, fit):
    data = filtering.training_set(access, "spectral")
    _check_rate(rate, data.size, compat)
    find_now = programs.jit(functools.partial(find, model=access.model))
    dropped, memo = find_now(access.variables, data)
    return filtering.retrain(
      key, access, fit, gone=dropped, memo=memo, epochs=epochs
    )

  return Defense(defend, needs_train=True, tunes=False)


def features(outputs: dict[str, Array], *, compat: str) -> Array:
  """Returns the features that images are scored by, [B, D].

  Args:
    outputs: all features of the model, by name.
    compat: "backdoorbench" takes the deepest map [B, h, w, c], else it is
      pooled.
  """
  if compat != "backdoorbench":
    return outputs["pooled"]
  last = depth.maps(outputs)[-1]
  return last.reshape(last.shape[0], -1).astype(jnp.float32)


def scores(points: Array, members: Array, *, compat: str = "paper") -> Array:
  """Returns the squared projections on the members' main direction, [N].

  Args:
    points: features, [N, D].
    members: [N] bool, those of one class.
    compat: "backdoorbench" projects features that are not centered.
  """
  direction = clusters.components(points, members, count=1)[:, 0]
  if compat != "backdoorbench":
    points = clusters.centered(points, members)
  return jnp.square(points @ direction)


def _check_rate(rate: Scalar, size: int, compat: str) -> None:
  """Refuses a rate at which nothing is dropped, unless it is traced."""
  if compat == "backdoorbench" or programs.traced(rate):
    return
  if round(SAFETY * float(rate) * size) == 0:
    raise ValueError(
      f"spectral.rate is {float(rate):g}, of which {SAFETY:g} times {size} "
      f"images drops none: give at least "
      f"{values.rounded_up(1 / (SAFETY * size)):g}."
    )


def allowance(sizes: Array, *, rate: Scalar, compat: str = "paper") -> Array:
  """Returns how many images of each class to drop, [num_classes] int32.

  Args:
    sizes: images of each class, [num_classes].
    rate: assumed share of poisons among all of them.
    compat: "backdoorbench" drops a fixed percentage of the class.
  """
  if compat == "backdoorbench":
    return sizes * BB_PERCENT // 100
  quota = jnp.round(SAFETY * rate * sizes.sum()).astype(jnp.int32)
  return jnp.minimum(quota, sizes // 2)


def highest(score: Array, members: Array, count: Array) -> Array:
  """Returns the `count` members of highest score, [N] bool.

  Args:
    score: [N].
    members: [N] bool.
    count: at most the number of members.
  """
  order = jnp.argsort(jnp.where(members, -score, jnp.inf))
  rank = jnp.zeros_like(order).at[order].set(jnp.arange(order.size))
  return members & (rank < count)
