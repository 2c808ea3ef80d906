"""Input-aware: a trigger that a network makes for each image.

Nguyen and Tran, "Input-Aware Dynamic Backdoor Attack", arXiv 2010.08138. One
generator says where (the mask), another what (the pattern). Stage 1 trains the
mask generator: sparse, and different for different images. Stage 2 freezes it
and trains victim and pattern generator: of each batch the first images get
their own trigger and the target label, the next get another image's and keep
their label. Constants are those of the paper and its reference code.

Differences: the victim's recipe, epochs and augmentation are the task's, and
generators' rates fall at the reference's shares of the epochs; the other image
is the next of the same batch, not of a second loader; both slices pass the
pattern generator together and share batch statistics; blending happens in
[0, 1], which equals normalized space (distances are taken there). Traced rates
leave slices no fixed size, so generators see whole batches: slower, with other
batch statistics. Clean epochs of an interleaving regime show all images.

`compat="backdoorbench"` squashes the generators' outputs by tanh twice, never
zeroes the pattern generator's gradient (it adds up), takes stage 1 out of the
recipe's epochs, draws one augmentation per batch and cuts off what bytes cannot
hold (`attacks.parts.levels`).
The audited copy holds `cross_rate` images with another's trigger (COVER) too.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax

from bdjax.attacks.parts import generators, joint, levels, poison
from bdjax.attacks.parts.goals import AnyGoal, Goal
from bdjax.data import augment
from bdjax.machine import programs
from bdjax.methods import values
from bdjax.methods.signature import (
  Annotated,
  Compat,
  Count,
  Group,
  Rate,
  Some,
  validated,
)
from bdjax.models.parts import ushape
from bdjax.training import learn
from bdjax.types import (
  Array,
  Attack,
  Backdoor,
  Batch,
  Dataset,
  Fit,
  Images,
  Key,
  Labels,
  Metrics,
  Params,
  Scalar,
  Step,
  Target,
  Task,
)

PRESETS = {
  "bb": {"compat": "backdoorbench"},
  "fmn": {"rate": 0.05, "cross_rate": 0.05},
}
WEIGHTS = ushape.Weights()
PATTERN_DROPS = (200 / 600, 300 / 600, 400 / 600, 500 / 600)  # of stage 2


class _Plan(NamedTuple):
  """What the steps need to know."""

  nets: ushape.Pair
  target: Target
  slices: tuple[Scalar, Scalar, int]  # of a batch; see `slices`
  weights: ushape.Weights
  compat: Compat

  def params(self, task: Task, state: "_Trio") -> Params:
    """Returns the trigger's parameters as they are in training."""
    params = {"pattern": state.partner.variables, "mask": state.mask}
    return params | levels.lost(task.model, self.compat)


@flax.struct.dataclass
class _Trio(joint.Joint):
  """Victim and pattern generator in training, mask generator at rest."""

  mask: Params


@validated
def make(
  *,
  rate: Rate = 0.1,
  cross_rate: Rate = 0.1,
  goal: AnyGoal = Goal(),
  mean: tuple[float, ...] = (0.0, 0.0, 0.0),
  std: tuple[float, ...] = (1.0, 1.0, 1.0),
  weights: Annotated[ushape.Weights, Group.of(ushape.Weights)] = WEIGHTS,
  mask_epochs: Some = None,
  width: Count = 32,
  compat: Compat = "paper",
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of each batch with its own trigger, rounded down.
    cross_rate: share of each batch with another image's, rounded down.
    goal: which class an image's trigger leads to.
    mean: per channel of the data in [0, 1].
    std: per channel of the data in [0, 1].
    weights: of the generators' losses.
    mask_epochs: of stage 1; None for 25, or a quarter of the recipe's epochs
      where that is less.
    width: channels of the generators at full size; four times as many where
      images are smallest.
    compat: paper, or backdoorbench.
  """
  as_peer = _as_peer(compat)
  how = {"mean": mean, "std": std, "twice": as_peer, "width": width}
  nets_for = functools.partial(_nets, **how)
  trigger, cross = (
    levels.kept(functools.partial(_stamp, nets_for, by), compat)
    for by in (0, -1)
  )
  copies = poison.Copies(trigger, goal, rate, cross, cross_rate)

  def plant(key: Key, task: Task, fit: Fit) -> Backdoor:
    k_mask, k_joint, k_role, k_cover = jax.random.split(key, 4)
    if as_peer:
      task = task.replace(view=augment.together(task.view))
    nets = nets_for(task.train.image.shape[-1])
    parts = slices(rate, cross_rate, task.recipe.batch_size)
    plan = _Plan(nets, goal, parts, weights, compat)
    first, second = stages(task.recipe.epochs, mask_epochs, as_peer)
    stage = task, "inputaware's stage 2", second, "inputaware.mask_epochs"
    training = joint.stage(*stage)  # may refuse: before stage 1
    mask = generators.train_mask(k_mask, nets, weights, task, fit, first)
    state = _train_joint(k_joint, plan, task, fit, mask, training)
    params = plan.params(task, state)
    variables = state.victim.variables
    return copies.backdoor([k_role, k_cover], task, variables, params)

  def poisoned(key: Key, task: Task, params: Params, role: Array) -> Dataset:
    return copies.again(jax.random.split(key, 4)[2:], task, params, role)

  return Attack(trigger, goal, plant, poisoned=poisoned)


def _as_peer(compat: str) -> bool:
  return compat == "backdoorbench"


def _nets(channels: int, **how: Any) -> ushape.Pair:
  """Returns the generators for images of so many channels."""
  return ushape.Pair(ushape.make(channels, **how), ushape.make(1, **how))


def _stamp(
  nets_for: Callable, shift: int, key: Key, images: Images, params: Params
) -> Images:
  """Returns the images with the triggers of those `shift` places before."""
  del key
  donors = jnp.roll(images, shift, 0) if shift else images
  return nets_for(images.shape[-1]).stamp(images, donors, params)


def stages(epochs: int, wanted: int | None, as_peer: bool) -> tuple[int, int]:
  """Returns the epochs of both stages."""
  first = min(25, max(1, epochs // 4)) if wanted is None else wanted
  second = epochs - first if as_peer else epochs
  if first < 1 or second < 1:
    raise ValueError(
      f"inputaware.mask_epochs {first} leaves {second} of {epochs} epochs: "
      "give at least 1; with compat='backdoorbench', fewer than the recipe."
    )
  return first, second


def _train_joint(
  key: Key,
  plan: _Plan,
  task: Task,
  fit: Fit,
  mask: Params,
  training: joint.Training,
) -> _Trio:
  """Returns the state after stage 2; clean epochs leave the pattern alone."""
  k_victim, k_pattern, k_fit = jax.random.split(key, 3)
  own = training.epochs // (2 if task.regime.interleave else 1)
  tx = generators.adam(task, PATTERN_DROPS, own, adds_up=_as_peer(plan.compat))
  pattern = learn.init_variables(k_pattern, task.train, model=plan.nets.pattern)
  victim = learn.init_variables(k_victim, task.train, model=task.model)
  state = _Trio(training.start(victim), learn.begun(pattern, tx), mask)
  together = _joint_step(plan, task, training, tx)
  steps = joint.turns(together, training.step, task.regime)
  return joint.fitted(
    *(fit, k_fit, task, steps, state),
    epochs=training.epochs,
    name="train",
    params=functools.partial(plan.params, task),
  )


def _joint_step(
  plan: _Plan,
  task: Task,
  training: joint.Training,
  tx: optax.GradientTransformation,
) -> Step:
  """Returns the step that trains the victim and the pattern generator."""

  def step(key: Key, state: _Trio, batch: Batch) -> tuple[_Trio, Metrics]:
    batch = task.view(key, batch)
    label, donors, is_poison, has_trigger = lay_out(plan, batch)
    images, rest = jnp.split(batch.image, [is_poison.size])
    net, model = plan.nets.pattern, task.model
    mask = plan.nets.masks(donors, state.mask)
    victim, victim_stats = learn.parted(state.victim.variables)
    partner, partner_stats = learn.parted(state.partner.variables)

    def objective(victim, partner):
      pattern, stats = learn.forward(net, partner, partner_stats, donors)
      hit = images + (pattern - images) * mask * has_trigger
      inputs = jnp.concatenate((hit, rest))
      (logits, _), new = learn.forward(model, victim, victim_stats, inputs)
      likeness = ushape.contrast(*map(plan.nets.spread, (donors, pattern)))
      likeness = (likeness * is_poison).sum() / jnp.maximum(is_poison.sum(), 1)
      loss = learn.entropy(logits, label)
      total = loss + plan.weights.diversity * likeness
      return total, (loss, logits, new, stats)

    grad = jax.grad(objective, argnums=(0, 1), has_aux=True)
    grads, (loss, logits, new, stats) = grad(victim, partner)
    metrics = learn.report(loss, logits, label, state.victim.step, training.lr)
    return state.replace(
      victim=learn.advance(state.victim, grads[0], new, training.tx),
      partner=learn.advance(state.partner, grads[1], stats, tx),
    ), metrics

  return step


def lay_out(plan: _Plan, batch: Batch) -> tuple[Labels, Array, Array, Array]:
  """Returns who in a batch gets which trigger; the first R images may get one.

  Returns:
    labels [B], whose triggers [R, H, W, C], backdoor images [R] bool, images
    with any trigger [R, 1, 1, 1] bool.
  """
  first, last, reach = plan.slices
  place = jnp.arange(batch.label.size)
  is_poison = place < first
  label = jnp.where(is_poison, plan.target(batch.label), batch.label)
  donor = jnp.where(is_poison, place, (place + 1) % place.size)[:reach]
  has_trigger = (place < last)[:reach, None, None, None]
  return label, batch.image[donor], is_poison[:reach], has_trigger


def slices(
  rate: Scalar, cross_rate: Scalar, size: int
) -> tuple[Scalar, Scalar, int]:
  """Returns where a batch's two slices end, and a static bound of the second.

  They are whole numbers unless rates are traced. They decide shapes, so that no
  step may take them from an array. The thousandth keeps a rate like .29 of 100
  images from rounding to 28.
  """
  rates = rate, cross_rate
  if programs.traced(rates):
    first, more = (jnp.floor(rate * size + 1e-3) for rate in rates)
    return first, first + more, size
  first, more = (int(float(rate) * size + 1e-3) for rate in rates)
  if min(first, more) < 1 or first + more > size:
    raise ValueError(
      f"inputaware.rate and inputaware.cross_rate make {first} and {more} "
      f"images of a batch of {size}: give at least "
      f"{values.rounded_up(1 / size):g} each, 1 at most together, or a larger "
      "batch."
    )
  return first, first + more, first + more
