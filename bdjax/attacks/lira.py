"""LIRA: imperceptible noise from a generator that is learned with its victim.

Doan et al., "LIRA: Learnable, Imperceptible and Robust Backdoor Attacks", ICCV
2021, no arXiv id; constants as in the authors' code for PaddlePaddle
(sunbelbd/invisible_backdoor_attacks; that for PyTorch trains g with eps .1).
T(x) = clip(x + eps std g(x)) with an auto-encoder g. Stage 1 trains both, batch
by batch: a copy of g by Adam on CE(f(T(x)), eta(y)), f fixed, then f by SGD on
alpha CE(f(x), y) + (1 - alpha) CE(f(T(x)), eta(y)) with the g of an epoch ago,
which the copy replaces when an epoch ends. Stage 2 fine-tunes f on the same
loss, g fixed.

Choices and deviations:
- Both halves of the victim's loss pass through it as one batch, and the
  generator attacks it with its running statistics. The authors' code passes
  them one after the other and attacks it with batch statistics; running ones,
  which deployment uses, then fit neither kind of image.
- Stage 1 keeps the recipe's initial rate and knows no regime; stage 2 follows
  the recipe's schedule and the regime, from its start, clean epochs included.
  FMN's paper leaves this open.
- Half of the epochs are stage 1: 50 of 100, as BackdoorBench has it, which are
  as many as the authors' (50 of 300; preset `official`).
- g sees images in [0, 1], not normalized ones; its batch norm makes up for it.
  The authors do not clip on CIFAR-10.
- `compat="backdoorbench"` hands back the victim of stage 1 and hence leaves out
  stage 2, adds the gradient of the generator's loss to the victim's, and cuts
  off what bytes cannot hold (`attacks.parts.levels`).
- Images that are scored or frozen are rounded to 8 bits, and eps 0.01 is about
  0.6 grey levels on CIFAR-10: where g is near -1 or 1 the noise becomes a whole
  level, elsewhere it is lost. Preset `strong` has eps 0.05, up to 3 levels.
- There is no poison ratio: every image is used clean and triggered. `rate` only
  decides the copy of the training set that is frozen at the end.
"""

import functools
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax

from bdjax.attacks.parts import joint, levels, poison, supply
from bdjax.attacks.parts.goals import AnyGoal, Goal
from bdjax.attacks.parts.joint import Joint
from bdjax.methods.signature import (
  Annotated,
  Compat,
  Count,
  Positive,
  Range,
  Rate,
  validated,
)
from bdjax.models.parts.autoencoder import Autoencoder
from bdjax.training import engine, learn
from bdjax.training.learn import TrainState
from bdjax.types import (
  Array,
  Attack,
  Backdoor,
  Batch,
  Dataset,
  Fit,
  Images,
  Key,
  Metrics,
  Params,
  Regime,
  Scalar,
  State,
  Step,
  Target,
  Task,
)

PRESETS = {
  "official": {"stage1": 17},
  "bb": {"compat": "backdoorbench"},
  "fmn": {"rate": 0.05},
  "strong": {"eps": 0.05},
}


@flax.struct.dataclass
class _Both(Joint):
  """With the generator of an epoch ago, beside the one in training."""

  previous: Params


class _Game(NamedTuple):
  """What the steps of both stages share."""

  task: Task
  target: Target
  scale: Array  # [1, 1, 1, C], the largest noise
  alpha: Scalar
  net: Autoencoder
  compat: str

  def params(self, state: Joint) -> Params:
    """Returns the trigger's parameters as they are in training."""
    lost = levels.lost(self.task.model, self.compat)
    return lost | {"generator": state.partner.variables, "scale": self.scale}

  def hit(self, images: Images, generator: Params) -> Images:
    """Returns the images with a generator's trigger."""
    params = {"generator": generator, "scale": self.scale}
    return _stamp(self.net, None, images, params)


@validated
def make(
  *,
  rate: Rate = 0.1,
  goal: AnyGoal = Goal(),
  std: tuple[float, ...] = (0.247, 0.243, 0.261),
  eps: Positive = 0.01,
  alpha: Rate = 0.5,
  lr_generator: Positive = 1e-4,
  stage1: Annotated[int, Range(0, 100)] = 50,
  width: Count = 16,
  compat: Compat = "paper",
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of poisons in the frozen copy; training has no such ratio.
    goal: which class an image's trigger leads to.
    std: the data's standard deviation per channel.
    eps: the largest noise, in standard deviations.
    alpha: weight of the clean loss; the triggered one weighs 1 - alpha.
    lr_generator: learning rate of Adam on the generator.
    stage1: per cent of the recipe's epochs in stage 1; each stage gets at
      least one epoch.
    width: channels of the generator at half the size, up to eight times as many
      further in.
    compat: paper, or backdoorbench: that peer's deviations, see above.
  """
  net = Autoencoder(width)
  hit = levels.kept(functools.partial(_stamp, net), compat)
  copies = poison.Copies(hit, goal, rate)
  peer = compat == "backdoorbench"

  def plant(key: Key, task: Task, fit: Fit) -> Backdoor:
    k_init, k_one, k_two, k_end = jax.random.split(key, 4)
    first = _first_epochs(task, stage1, peer)
    supply.check_rate(rate, task.train.size)
    scale = eps * _per_channel(std, task.train.image.shape[-1])
    game = _Game(task, goal, scale, alpha, net, compat)
    adam, second = optax.adam(lr_generator), task.recipe.epochs - first
    stage = task, "lira's stage 2", second, "lira.stage1"
    later = None if peer else joint.stage(*stage)  # may refuse: before stage 1
    state = _train_both(k_init, k_one, game, adam, fit, first)
    if later is not None:
      state = _train_victim(k_two, game, state, fit, later)
    params = game.params(state)
    return copies.backdoor([k_end], task, state.victim.variables, params)

  def poisoned(key: Key, task: Task, params: Params, role: Array) -> Dataset:
    return copies.again([jax.random.split(key, 4)[3]], task, params, role)

  return Attack(hit, goal, plant, poisoned=poisoned)


def _stamp(
  net: Autoencoder, key: Key | None, images: Images, params: Params
) -> Images:
  """Returns the images with the generator's noise added."""
  del key
  noise = net.apply(params["generator"], images)
  return jnp.clip(images + params["scale"] * noise, 0, 1)


def _first_epochs(task: Task, percent: int, peer: bool) -> int:
  epochs = task.recipe.epochs
  if epochs < 2:
    raise ValueError(
      f"train.epochs is {epochs}, but lira trains in two stages: give at least "
      "2."
    )
  if peer and task.regime != Regime():
    raise ValueError(
      "lira.compat is 'backdoorbench', which hands back the victim of stage 1, "
      "where regimes do not apply: leave compat at 'paper'."
    )
  return min(max(round(epochs * percent / 100), 1), epochs - 1)


def _per_channel(std: tuple[float, ...], channels: int) -> Array:
  if len(std) != channels:
    raise ValueError(
      f"lira.std is {std}, but the images have {channels} channels: give one "
      "number for each."
    )
  return jnp.asarray(std, jnp.float32).reshape(1, 1, 1, -1)


def _train_both(
  k_init: Key,
  k_fit: Key,
  game: _Game,
  adam: optax.GradientTransformation,
  fit: Fit,
  epochs: int,
) -> Joint:
  """Returns victim and generator after stage 1."""
  task = game.task
  steady = task.replace(recipe=task.recipe.replace(schedule="constant"))
  training = joint.training(steady, epochs=epochs, regime=Regime())
  k_victim, k_partner = jax.random.split(k_init)
  victim = learn.init_variables(k_victim, task.train, model=task.model)
  fresh = learn.init_variables(k_partner, task.train, model=game.net)
  start = _Both(training.start(victim), learn.begun(fresh, adam), fresh)
  step = _stage1(game, training, adam)
  how = {"epochs": epochs, "name": "stage1", "params": game.params}
  return joint.fitted(fit, k_fit, task, step, start, **how)


def _train_victim(
  key: Key, game: _Game, state: Joint, fit: Fit, training: joint.Training
) -> Joint:
  """Returns victim and generator after stage 2."""
  task = game.task
  steps = joint.turns(_stage2(game, training), training.step, task.regime)
  start = Joint(training.start(state.victim.variables), state.partner)
  how = {"epochs": training.epochs, "name": "stage2", "params": game.params}
  return joint.fitted(fit, key, task, steps, start, **how)


def _stage1(
  game: _Game, training: joint.Training, adam: optax.GradientTransformation
) -> Step:
  """Returns the step that trains the generator, then the victim."""
  task = game.task
  steps = engine.steps_per_epoch(task.train.size, task.recipe.batch_size)

  def fool(params, deceived, stats, victim_stats, batch):
    noise, new = learn.forward(game.net, params, stats, batch.image)
    hit = jnp.clip(batch.image + game.scale * noise, 0, 1)
    logits, _ = task.model.apply({"params": deceived, **victim_stats}, hit)
    return learn.entropy(logits, game.target(batch.label)), new

  def step(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    batch = task.view(key, batch)
    victim, partner = state.victim, state.partner
    epoch_ended = victim.step % steps == 0
    newer = functools.partial(jnp.where, epoch_ended)
    previous = jax.tree.map(newer, partner.variables, state.previous)
    params, stats = learn.parted(partner.variables)
    victim_params, victim_stats = learn.parted(victim.variables)
    which = (0,) if game.compat == "paper" else (0, 1)
    gradient = jax.grad(fool, argnums=which, has_aux=True)
    grads, new = gradient(params, victim_params, stats, victim_stats, batch)
    hit = game.hit(batch.image, previous)
    victim, metrics = _updated(game, training, victim, batch, hit, *grads[1:])
    partner = learn.advance(partner, grads[0], new, adam)
    return _Both(victim, partner, previous), metrics

  return step


def _stage2(game: _Game, training: joint.Training) -> Step:
  """Returns the step that trains the victim alone."""

  def step(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    batch = game.task.view(key, batch)
    hit = game.hit(batch.image, state.partner.variables)
    victim, metrics = _updated(game, training, state.victim, batch, hit)
    return state.replace(victim=victim), metrics

  return step


def _updated(
  game: _Game,
  training: joint.Training,
  victim: TrainState,
  batch: Batch,
  hit: Images,
  *leftover: Params,
) -> tuple[TrainState, Metrics]:
  """Returns the victim after a step, to whose gradient `leftover` is added."""
  params, stats = learn.parted(victim.variables)
  images = jnp.concatenate([batch.image, hit])

  def objective(params):
    (logits, _), new = learn.forward(game.task.model, params, stats, images)
    clean, stamped = jnp.split(logits, 2)
    loss = game.alpha * learn.entropy(clean, batch.label)
    loss += (1 - game.alpha) * learn.entropy(stamped, game.target(batch.label))
    return loss, (clean, new)

  grad = jax.value_and_grad(objective, has_aux=True)
  (value, (logits, new)), grads = grad(params)
  for extra in leftover:
    grads = jax.tree.map(jnp.add, grads, extra)
  after = learn.advance(victim, grads, new, training.tx)
  step = victim.step
  return after, learn.report(value, logits, batch.label, step, training.lr)
