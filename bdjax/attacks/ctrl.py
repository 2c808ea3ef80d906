"""CTRL: two frequencies of the colours raised, which augmentations leave alone.

Li et al., "An Embarrassingly Simple Backdoor Attack on Self-supervised
Learning", ICCV 2023, arXiv 2210.07346. Clean-label data poisoning for
contrastive learning: in the channels U and V of YUV a number is added to two
coefficients of the image's discrete cosine transform. All of this is linear, so
that it is one pattern: A(x) = clip(x + strength v), in training and at test
time alike. An encoder (scenario `encoder`) is trained on the poisoned images by
SimCLR, a classifier as usual, as BackdoorBench does (preset `bb`).

Constants are those of the authors' code (meet-cjli/CTRL) for CIFAR-10: 100
levels are added to the coefficients (15, 15) and (31, 31) of 32 x 32; 1 % of
the data are poisons, all of the target class; SimCLR at temperature .5 on crops
of a fifth of the image and more. BackdoorBench poisons 5 %. The authors' recipe
is batches of 512, SGD at .06 with momentum .9, decay 5e-4, 800 epochs.

Deviations: YUV's two matrices, whose rounded entries are not quite inverse, are
not applied to the image itself. The transform is that of the whole image, and
frequencies are shares of it, so that images of any size have the pattern; on
larger ones it is fainter. Stamped images are rounded to bytes, where
BackdoorBench cuts off (`compat="backdoorbench"`). An encoder's poisons are of
the target class among its own training images: give the same data to its user.
"""

from typing import Any

import jax
import jax.numpy as jnp

from bdjax.attacks.parts import levels, poison
from bdjax.attacks.parts.goals import Goal, OneGoal
from bdjax.data import distort
from bdjax.methods.signature import (
  Compat,
  Fraction,
  Positive,
  Rate,
  validated,
)
from bdjax.models.parts import heads
from bdjax.training import budget, learn, simclr
from bdjax.types import (
  Array,
  Attack,
  Dataset,
  Fit,
  Images,
  Key,
  Params,
  Recipe,
  Regime,
  Scalar,
  Task,
)

PRESETS = {"bb": {"rate": 0.05, "compat": "backdoorbench"}}
TEMPERATURE, SCALE = 0.5, (0.2, 1.0)  # of SimCLR
# What one more of U and of V adds to red, green and blue.
_COLORS = (1.14, -0.396 - 0.581, 2.029)


@validated
def make(
  *,
  rate: Rate = 0.01,
  goal: OneGoal = Goal(),
  strength: Positive = 100 / 255,
  low: Fraction = 0.5,
  high: Fraction = 1.0,
  compat: Compat = "paper",
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of the training set that is poisoned, all of the target class.
    goal: which class an image's trigger leads to.
    mode: all2one; a clean label says nothing about any other class.
    strength: what is added to each coefficient, on the scale of [0, 1].
    low: of the lower frequency, as a share of the highest: 1/2 of 32 is 15.
    high: of the other one: 1 of 32 is 31.
    compat: paper, or backdoorbench, which cuts levels off, not rounds them.
  """

  def init(key: Key, task: Task, fit: Fit) -> Params:
    del key, fit
    v = pattern(task.train.image.shape[1:], (low, high))
    return {"pattern": v, "strength": jnp.float32(strength)}

  hit = levels.kept(trigger, compat)
  attack = poison.data_poisoning(
    init, hit, goal, rate, clean_label=True, learner=trained
  )
  return attack._replace(encoder=True)


def trigger(key: Key, images: Images, params: Params) -> Images:
  """Returns the images with both frequencies raised."""
  del key
  return jnp.clip(images + params["strength"] * params["pattern"], 0, 1)


def pattern(shape: tuple[int, ...], shares: tuple[Scalar, Scalar]) -> Array:
  """Returns v, [1, H, W, 3]: a unit more of each frequency, in U and V.

  Args:
    shape: (H, W, 3) of the images.
    shares: of the frequencies, the same along both sides.

  Raises:
    ValueError: the images have not three colours.
  """
  height, width, channels = shape
  if channels != 3:
    raise ValueError(
      f"ctrl changes hues, but the images have {channels} colours, not 3: "
      "choose another attack."
    )
  v = sum(
    _wave(height, share)[:, None] * _wave(width, share)[None]
    for share in shares
  )
  return v[None, :, :, None] * jnp.array(_COLORS).reshape(1, 1, 1, -1)


def _wave(size: int, share: Scalar) -> Array:
  """Returns a row of the orthonormal cosine transform, [size]."""
  k = jnp.maximum(jnp.round(jnp.asarray(share) * size) - 1, 0)
  phase = jnp.pi * (2 * jnp.arange(size) + 1) * k / (2 * size)
  return jnp.cos(phase) * jnp.sqrt(jnp.where(k == 0, 1, 2) / size)


def trained(
  key: Key,
  data: Dataset | tuple[Dataset, ...],
  fit: Fit,
  *,
  recipe: Recipe,
  regime: Regime,
  **how: Any,
) -> Params:
  """Returns a victim: a classifier, or an encoder by SimCLR without labels.

  Args:
    key: random key.
    data: the training set; a tuple's sets take turns, epoch by epoch.
    fit: runs the epochs.
    recipe: optimizer and epochs.
    regime: as for a classifier, but from scratch.
    **how: further arguments of `learn.train_classifier`.

  Raises:
    ValueError: the regime starts from a planted model, or needs a classifier.
  """
  model, trigger = how["model"], how["trigger"]
  if getattr(model, "num_classes", None) != 0:
    return learn.train_classifier(
      key, data, fit, recipe=recipe, regime=regime, **how
    )
  if regime.planted:
    raise ValueError(
      "ctrl trains an encoder from scratch, but the regime starts from a "
      "planted model: leave start=planted out."
    )
  if budget.apart(regime):
    raise ValueError(
      "ctrl trains an encoder without labels, but sbl and adaptive need a "
      "classifier: use another regime, or another scenario than encoder."
    )
  first = data[0] if type(data) is tuple else data
  k_init, k_fit = jax.random.split(key)
  under = heads.Headed(model, heads.Projection())
  tx, _ = budget.stepping(recipe, regime, size=first.size)
  view = distort.simclr(scale=SCALE)
  step = simclr.contrastive(under, tx, view=view, temperature=TEMPERATURE)
  variables = learn.init_variables(k_init, first, model=under)
  state, _ = fit(
    *(k_fit, step, learn.begun(variables, tx), data),
    epochs=budget.planned_epochs(recipe, regime),
    batch_size=recipe.batch_size,
    name="train",
    params=lambda state: trigger,
  )
  return heads.backbone(state.variables)
