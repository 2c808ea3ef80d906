"""Trojaning (TrojanNN): a patch that excites chosen neurons of a clean model.

Liu et al., "Trojaning Attack on Neural Networks", NDSS 2018, no arXiv id. From
a clean classifier, the neurons that feed its last layer with the largest
absolute weights, summed over classes, are chosen; the pixels under a mask, on
black, are fitted to bring them to a target activation; then training data are
poisoned with that patch, which replaces what lies under it.

Constants: two neurons and an activation of 100 are BackdoorBench's, as is
training the victim from scratch; Adam at 0.1 with a cosine over 1000 rounds, on
pixels squashed into [0, 1] by tanh, is TrojanZoo's, as is replacing. The square
of 6 pixels in the bottom-right corner is a choice of this project.

Deviations: the paper retrains the given classifier, as `init="pretrained"` does
here, but on data inverted from it, not on the training data. The fit sees
images as the classifier's training did; BackdoorBench leaves out its
normalization. `compat="backdoorbench"` (preset `bb`) follows that benchmark in
the rest: steps of 0.1 by the gradient's sign, at most 0.3 away from the mask's
own picture, and a patch that is truncated to bytes and added in bytes, so that
bright pixels wrap round to dark. Its apple logo is not shipped: a seeded white
blob of that place and size stands in.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from bdjax.attacks.parts import poison
from bdjax.attacks.parts.goals import AnyGoal, Goal
from bdjax.attacks.parts.neurons import activity, check, choose
from bdjax.data import patches
from bdjax.machine import programs
from bdjax.methods.signature import (
  Annotated,
  Choice,
  Compat,
  Count,
  Image,
  Index,
  Positive,
  Rate,
  Size,
  validated,
)
from bdjax.training import learn
from bdjax.types import Array, Attack, Fit, Images, Key, Params, Scalar, Task

PRESETS = {"bb": {"compat": "backdoorbench"}, "fmn": {"rate": 0.05}}
STEP, REACH, TOLERANCE = 0.1, 0.3, 1e-3  # BackdoorBench's
CENTRE, AREA = 23 / 32, 117 / 32**2  # of the blob: the apple's, in sides


@validated
def make(
  *,
  rate: Rate = 0.1,
  goal: AnyGoal = Goal(),
  mask: Image = None,
  size: Size = 6,
  neurons: Count = 2,
  activation: Positive = 100.0,
  rounds: Count = 1000,
  lr: Positive = 0.1,
  init: Annotated[str, Choice(("scratch", "pretrained"))] = "scratch",
  compat: Compat = "paper",
  pattern_seed: Index = 0,
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of the training set that is poisoned.
    goal: which class an image's trigger leads to.
    mask: [H, W, C] in [0, 1], resized to the data; the patch lies where a
      channel is above one half (backdoorbench: above zero, and its colours are
      where the patch starts). None for the square, or the blob.
    size: side of the square: pixels, or a share of the image's shorter side.
    neurons: how many are excited.
    activation: what they are brought to.
    rounds: steps of the patch's optimization.
    lr: of Adam (paper), at its start.
    init: the victim starts from scratch, or is the clean classifier
      (pretrained) and trained on with the same recipe.
    compat: paper, or backdoorbench with that benchmark's deviations.
    pattern_seed: seed of the blob.

  Raises:
    ValueError: when planting, if the mask is empty or does not fit.
  """
  peer = compat == "backdoorbench"

  def picture(shape: tuple[int, ...]) -> Array:
    if mask is not None:
      return jax.image.resize(mask, shape, "linear")
    if peer:
      return _blob(pattern_seed, shape)
    return jnp.tile(patches.square("trojaning.size", shape, size)[0], shape[2:])

  def craft(key: Key, task: Task, fit: Fit) -> Params:
    k_clean, k_start = jax.random.split(key)
    with jax.ensure_compile_time_eval():  # so that it is known when traced
      start = picture(task.train.image.shape[1:])[None]
      bright, above = start.max(-1, keepdims=True), 0.0 if peer else 0.5
      patches.check_covers("trojaning.mask", bright, above=above)
      where = (bright > above).astype(jnp.float32)
    check(task, neurons)
    variables = learn.clean_classifier(k_clean, task, fit)
    by = _by_sign if peer else functools.partial(_by_adam, k_start, lr=lr)
    fitted = functools.partial(
      _fitted, task.model, functools.partial(by, rounds=rounds), activation
    )
    units = choose(variables, neurons)
    pattern = programs.jit(fitted)(variables, units, start, where)
    return {"mask": where, "pattern": pattern}

  trigger = add if peer else patches.paste
  return poison.data_poisoning(
    craft, trigger, goal, rate, pretrained=init == "pretrained"
  )


def add(key: Key, images: Images, params: Params) -> Images:
  """Returns the images with the patch added in bytes, modulo 256."""
  del key
  total = jnp.round(images * 255) + jnp.trunc(params["pattern"] * 255)
  return total % 256 / 255


def _fitted(
  model: nn.Module,
  by: Callable[[Callable[[Array], Array], Array], Array],
  activation: Scalar,
  variables: Params,
  units: Array,
  start: Array,
  where: Array,
) -> Array:
  """Returns the patch, [1, H, W, C], that brings units to an activation."""

  def miss(patch):
    response = activity(where * patch, variables, model=model, which=units)
    return ((response - activation) ** 2).sum()

  return where * by(miss, start)


def _by_adam(
  key: Key,
  loss: Callable[[Array], Array],
  start: Array,
  *,
  lr: Scalar,
  rounds: int,
) -> Array:
  """Returns pixels, raw values squashed into [0, 1], that Adam fits."""
  raw = jax.random.normal(key, start.shape)
  tx = optax.adam(optax.cosine_decay_schedule(lr, rounds))
  slope = jax.grad(lambda x: loss(patches.squashed(x)))

  def step(state, _):
    values, opt_state = state
    updates, opt_state = tx.update(slope(values), opt_state)
    return (optax.apply_updates(values, updates), opt_state), None

  (last, _), _ = jax.lax.scan(step, (raw, tx.init(raw)), length=rounds)
  return patches.squashed(last)


def _by_sign(
  loss: Callable[[Array], Array], start: Array, *, rounds: int
) -> Array:
  """Returns pixels near `start` that steps by the gradient's sign fit."""

  def step(pixels, _):
    value, slope = jax.value_and_grad(loss)(pixels)
    move = jnp.where(value < TOLERANCE, 0, STEP) * jnp.sign(slope)
    near = jnp.clip(pixels - move - start, -REACH, REACH)
    return jnp.clip(start + near, 0, 1), None

  return jax.lax.scan(step, start, length=rounds)[0]


def _blob(seed: int, shape: tuple[int, ...]) -> Array:
  """Returns a white blob with a wobbly outline, [H, W, C]."""
  height, width, _ = shape
  down = (jnp.arange(height) + 0.5) / height - CENTRE
  across = (jnp.arange(width) + 0.5) / width - CENTRE
  angle = jnp.arctan2(down[:, None], across[None, :])
  phase = jax.random.uniform(jax.random.key(seed), (3,), maxval=2 * jnp.pi)
  outline = sum(jnp.cos(k * angle + phase[k - 2]) for k in (2, 3, 4))
  far = jnp.hypot(down[:, None], across[None, :]) / (1 + 0.08 * outline)
  count = max(1, round(AREA * height * width))
  inside = far.ravel().argsort().argsort().reshape(far.shape) < count
  return jnp.broadcast_to(inside[..., None], shape).astype(jnp.float32)
