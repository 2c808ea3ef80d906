"""The vocabulary every other module speaks: arrays, algorithms, what flows.

An algorithm is a NamedTuple of pure functions (`Attack`, `Defense`); what flows
between them is a pytree (`Dataset`, `Backdoor`, `Defended`). Images are float32
in [0, 1], NHWC, everywhere; storage is uint8, resident on the device.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import flax.struct
import jax

Array = jax.Array
Key = jax.Array  # a typed key: jax.random.key
Scalar = float | jax.Array  # a number that may be traced, hence swept
Images = jax.Array  # [B, H, W, C] float32 in [0, 1]
Labels = jax.Array  # [B] int32
Logits = jax.Array  # [B, num_classes] float32
Scores = jax.Array  # [B] float32
Params = Any  # a pytree of arrays
State = Any  # a pytree of arrays, threaded through training
Metrics = dict[str, jax.Array]
Schedule = Callable[[Any], Any]  # step -> learning rate, as in optax

CLEAN, POISON, COVER = 0, 1, 2  # roles of training examples; audit only


@flax.struct.dataclass
class Dataset:
  """Device-resident images and labels.

  Attributes:
    image: [N, H, W, C] uint8.
    label: [N] int32.
    keep: [N] bool or None for all; samplers draw only kept examples, so
      filtering changes no shape and costs no recompilation.
  """

  image: Array
  label: Array
  keep: Array | None = None

  @property
  def size(self) -> int:
    """Number of stored examples, kept or not."""
    return self.image.shape[0]


class Batch(NamedTuple):
  """What a training step sees."""

  image: Array  # [B, H, W, C] float32 in [0, 1]
  label: Array  # [B] int32
  index: Array  # [B] int32, position in the Dataset, for per-example state


View = Callable[[Key, Batch], Batch]
Step = Callable[[Key, State, Batch], tuple[State, Metrics]]
Trigger = Callable[[Key, Images, Params], Images]
Target = Callable[[Labels], Labels]  # from true classes to those of the trigger


class Fit(Protocol):
  """Runs a step over data for some epochs; the only seam to the runtime."""

  def __call__(
    self,
    key: Key,
    step: Step | tuple[Step, ...],
    state: State,
    data: Dataset | tuple[Dataset, ...],
    *,
    epochs: int,
    batch_size: int,
    name: str,
    params: Callable[[State], Params] | None = None,
  ) -> tuple[State, Metrics]:
    """Returns the final state and metrics averaged per epoch, [epochs].

    Tuples take turns: epoch e runs `step[e % n]` on `data[e % n]`. All data of
    one call have the same number of stored examples.

    While a backdoor is planted, `params` reads the trigger's parameters from a
    state, for who watches the training; it changes nothing in it.
    """
    ...


@flax.struct.dataclass
class Recipe:
  """How a classifier is trained; SGD as the field means it.

  Its numbers are leaves of a pytree, the rest decides what is compiled.

  Attributes:
    epochs: of ceil(stored examples / batch_size) steps; 0 trains nothing.
    batch_size: images per step.
    lr: learning rate, the peak if it decays.
    momentum: of SGD, or of Adam's first moment.
    weight_decay: coupled, on all trained parameters.
    schedule: constant, or cosine to zero over all epochs.
  """

  epochs: int = flax.struct.field(pytree_node=False, default=100)
  batch_size: int = flax.struct.field(pytree_node=False, default=128)
  lr: Scalar = 0.01
  momentum: Scalar = 0.9
  weight_decay: Scalar = 5e-4
  schedule: str = flax.struct.field(pytree_node=False, default="cosine")


class Regime(NamedTuple):
  """What a training regime changes in an attack's own training loop.

  Attributes:
    interleave: every second turn is clean.
    original: clean epochs see the poisoned examples' untouched originals too;
      else they leave those examples out.
    schedule: (steps_per_epoch, epochs) -> learning rate by step; None keeps
      the recipe's own.
    turn: epochs of a turn.
    planted: the victim starts from a model in which the same backdoor was
      planted conventionally, not from scratch.
    extra: whether clean epochs and that model's come on top of the recipe's
      epochs, which are then the poisoned ones; else the recipe's are all.
    wrap: (optimizer, steps per epoch) -> the victim's own; None for the same.
    second: a `training.sequential.Second`, a stage after all others, or None.
    against: a `training.adaptive.Turn`, what clean turns are, or None.
  """

  interleave: bool = False
  original: bool = False
  schedule: Callable[[int, int], Schedule] | None = None
  turn: int = 1
  planted: bool = False
  extra: bool = True
  wrap: Callable[[Any, int], Any] | None = None
  second: Any = None
  against: Any = None

  def turns(self, poisoned: Any, clean: Any) -> tuple[Any, ...]:
    """Returns the steps, data or views of the turns, or of both stages."""
    if self.second is not None:
      return (poisoned, clean)
    if not self.interleave:
      return (poisoned,)
    return (poisoned,) * self.turn + (clean,) * self.turn


@flax.struct.dataclass
class Task:
  """What the adversary has.

  Attributes:
    train: clean training data with true labels.
    model: the architecture.
    recipe: how a classifier is trained.
    regime: what changes in that training.
    view: augmentation.
    clean: fit -> variables of a clean classifier of the same model, data and
      recipe, for attacks that start from one; None makes each train its own.
    examples: images of the task that the victim will be used for, where that is
      another one; None for the training set.
  """

  train: Dataset
  model: nn.Module = flax.struct.field(pytree_node=False)
  recipe: Recipe = Recipe()
  regime: Regime = flax.struct.field(pytree_node=False, default=Regime())
  view: View = flax.struct.field(pytree_node=False, default=lambda key, b: b)
  clean: Callable[[Fit], Params] | None = flax.struct.field(
    pytree_node=False, default=None
  )
  examples: Dataset | None = None


@flax.struct.dataclass
class Access:
  """What the defender has: never poison roles, triggers or test data.

  Attributes:
    variables: the suspect model's variables.
    clean: the defender's own clean subset.
    train: the (poisoned) training set, for defenses that filter it; or None.
    model: the architecture.
    view: the augmentation used when training.
    recipe: how a classifier is trained from scratch, for filter-and-retrain.
  """

  variables: Params
  clean: Dataset | None = None
  train: Dataset | None = None
  model: nn.Module = flax.struct.field(pytree_node=False, default=None)
  view: View = flax.struct.field(pytree_node=False, default=lambda key, b: b)
  recipe: Recipe = Recipe()


class Backdoor(NamedTuple):
  """A planted backdoor: a pytree of arrays, hence one checkpoint."""

  variables: Params  # the victim model
  params: Params  # the trigger's: pattern, warp grid, generator
  train: Dataset  # what the victim was trained on
  role: Array  # [N] int8 CLEAN | POISON | COVER; only evaluation reads it


class Defended(NamedTuple):
  """What a defense returns; it fills in what it produces.

  Attributes:
    variables: of the repaired model; same tree structure as the victim's.
    keep: [N] bool, training examples it trusts.
    verdict: scalar, how strongly it thinks that a backdoor is present.
    memo: what else it found, by name. Scalars and vectors are recorded with the
      cell; pictures [n, H, W, C] in [0, 1] are shown in the report; anything
      else is for the defense's own `predict` and `suspect`.
  """

  variables: Params
  keep: Array | None = None
  verdict: Array | None = None
  memo: dict[str, Any] | tuple[()] = ()


class Attack(NamedTuple):
  """A backdoor attack.

  Attributes:
    trigger: what the adversary does to an input at test time.
    target: true label -> the label the adversary wants predicted.
    plant: how the backdoor gets in.
    trains: whether planting trains the victim, so that regimes apply.
    encoder: whether the victim may be an encoder, which has no logits.
    continues: whether planting can go on from a model that was planted before;
      see `Regime.planted`.
    poisoned: the training set of a planted backdoor again, from the key of
      `plant`, its task, the trigger's parameters and the roles; the clean one
      where nothing is poisoned. So a sweep need not send it around.
  """

  trigger: Trigger
  target: Target
  plant: Callable[[Key, Task, Fit], Backdoor]
  trains: bool = True
  encoder: bool = False
  continues: bool = False
  poisoned: Callable[[Key, Task, Params, Array], Dataset] = (
    lambda key, task, params, role: task.train
  )


def default_predict(
  key: Key, images: Images, access: Access, defended: Defended
) -> Logits:
  """Returns the repaired model's logits [B, num_classes]."""
  del key
  return access.model.apply(defended.variables, images, train=False)[0]


class Defense(NamedTuple):
  """A backdoor defense.

  Attributes:
    defend: how a suspect model is repaired.
    predict: how the defended model answers at test time.
    suspect: scores of inputs at test time, high = suspicious; or None.
    needs_train: whether it reads `Access.train`; without one it refuses, as do
      plans of a scenario that has none, and who needs none is given none.
    tunes: whether it trains anything on `Access.clean`.
    scarce: the learning rate that its preset `scarce` raises; None without one.
  """

  defend: Callable[[Key, Access, Fit], Defended]
  predict: Callable[[Key, Images, Access, Defended], Logits] = default_predict
  suspect: Callable[[Key, Images, Access, Defended], Scores] | None = None
  needs_train: bool = False
  tunes: bool = True
  scarce: str | None = None


class Scenario(NamedTuple):
  """How a planted model reaches who uses it, and what that user starts from.

  Attributes:
    classes: classes of the adversary's data -> the victim's logits, 0: encoder.
    clean: trains the victim without any backdoor.
    start: what a defender of the victim has -> what this scenario's user has:
      another model with a fresh head, say. Takes the user's number of classes.
    look: what is scored of the victim before any fine-tuning; arguments as
      those of `start`.
    elsewhere: whether the user's data is not the adversary's.
  """

  classes: Callable[[int], int]
  clean: Callable[[Key, Task, Fit], Params]
  start: Callable[[Key, Access, int], Access]
  look: Callable[[Key, Access, int], Access]
  elsewhere: bool
