"""NAD: distills the attention of a fine-tuned copy into the suspect.

Li et al., "Neural Attention Distillation: Erasing Backdoor Triggers from Deep
Neural Networks", arXiv 2101.05930. The teacher is a fine-tuned copy of the
suspect; the student starts again from the suspect and minimizes, on the clean
subset,

    CE + sum_l beta_l mean_{h,w} (A_l(student) - A_l(teacher))^2,

where A_l is the sum over channels of |F_l|^2, flattened and divided by its l2
norm, for each image. The paper writes a norm where the official code takes this
mean over places (and images), for which its betas are meant. The three maps are
the deepest three of more than one place: the groups of the paper's wide ResNet,
layer2 to layer4 of a ResNet18. On 32 x 32 the last maps of some models have one
place, where A is 1 whatever they do, and are left out: layer4 of a ResNet50
with ImageNet's stem, of a DenseNet161 and a ConvNeXt. The teacher, in
evaluation mode, sees the student's own augmented images.

By default 10 + 20 epochs as in the paper, with the optimizer of fine-tuning in
BackdoorBench. Presets:

- `official`: the code's own: rate .1 for 2 epochs, then .01 until epoch 20,
  batch 64, weight decay 1e-4, 5 epochs of the teacher (its instructions say 5
  to 10). The betas are its too; another version has 0, 0 and 5000. Fine-tuning
  at .1 alone can ruin a model that was trained at less;
- `bb`: BackdoorBench, 10 + 10 epochs. Of its three maps (layer3, layer4,
  average pool) the last has one place, so that its attention is 1 whatever the
  model does: `compat="backdoorbench"`, which leaves out no map;
- `fmn`: FMN's re-run, 20 + 20 epochs; the paper states nothing else.

Deviations: no Nesterov momentum, which the official code uses. The norm's 1e-6
is inside the root, so that a map of zeros has a gradient. The official rates
after epoch 2 are .01 and 1e-4 whatever `lr` is; here they follow it.
BackdoorBench runs four forward passes a step and so moves the student's batch
statistics four times as fast, and its teacher's rate decays by 2 %: neither is
reproduced.
"""

from collections.abc import Callable

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from bdjax.defenses.parts import depth, tuning
from bdjax.methods.signature import (
  TRAINING,
  Annotated,
  Choice,
  Compat,
  Index,
  NonNegative,
  validated,
)
from bdjax.training import engine, learn, optimizers, schedules
from bdjax.types import (
  Access,
  Array,
  Defended,
  Defense,
  Fit,
  Key,
  Params,
  Recipe,
  Scalar,
  Schedule,
)

PRESETS = {
  "official": {
    "lr": 0.1,
    "schedule": "steps",
    "teacher_epochs": 5,
    "batch_size": 64,
    "weight_decay": 1e-4,
  },
  "bb": {"teacher_epochs": 10, "epochs": 10, "compat": "backdoorbench"},
  "fmn": {"teacher_epochs": 20, "epochs": 20},
}
Planned = Annotated[str, Choice(("constant", "cosine", "steps"))]
DROPS = {2: 0.1, 20: 0.01}  # epoch -> factor of the rate from there on


@flax.struct.dataclass
class _Lesson:
  """The student in training, and its teacher's variables.

  The teacher is state, not a constant of the loss, since constants are compiled
  in: a large program for each teacher.
  """

  student: learn.TrainState
  teacher: Params


def attention(features: Array) -> Array:
  """Returns where a layer is active, [B, h, w, c] -> [B, h * w], l2 norm 1."""
  energy = jnp.sum(jnp.square(features.astype(jnp.float32)), axis=-1)
  energy = energy.reshape(energy.shape[0], -1)
  square = jnp.sum(jnp.square(energy), axis=1, keepdims=True)
  return energy / jnp.sqrt(square + 1e-12)


def maps(features: dict[str, Array], *, compat: str) -> list[Array]:
  """Returns the three feature maps to compare, [B, h, w, c] each.

  Raises:
    ValueError: the model has too few.
  """
  found = depth.maps(features)
  if compat == "backdoorbench":
    _check_count(len(found), 2, "with a place in the image")
    return [*found[-2:], features["pooled"][:, None, None, :]]
  found = [x for x in found if x.shape[1] * x.shape[2] > 1]
  _check_count(len(found), 3, "of more than one place")
  return found[-3:]


def _check_count(count: int, wanted: int, what: str) -> None:
  if count < wanted:
    raise ValueError(
      f"nad compares {wanted} feature maps, but the model has {count} {what}: "
      "take a deeper one or larger images, or return more maps, [B, h, w, c]."
    )


def distance(student: list[Array], teacher: list[Array]) -> list[Array]:
  """Returns each map's mean squared difference in attention, scalars."""
  pairs = zip(student, teacher, strict=True)
  return [jnp.mean((attention(s) - attention(t)) ** 2) for s, t in pairs]


def _rate(recipe: Recipe) -> Callable[[int], Schedule]:
  def dropping(steps):
    drops = {epoch * steps: scale for epoch, scale in DROPS.items()}
    return optax.piecewise_constant_schedule(recipe.lr, drops)

  return dropping if recipe.schedule == "steps" else schedules.over(recipe)


@validated
def make(
  *,
  beta1: NonNegative = 500.0,
  beta2: NonNegative = 1000.0,
  beta3: NonNegative = 1000.0,
  teacher_epochs: Index = 10,
  recipe: Annotated[Recipe, TRAINING.having(schedule=Planned)] = Recipe(
    lr=0.01, epochs=20, batch_size=256, schedule="constant"
  ),
  compat: Compat = "paper",
) -> Defense:
  """Returns the defense.

  Args:
    beta1: weight of the first of the three maps.
    beta2: weight of the second.
    beta3: weight of the last; without effect under "backdoorbench".
    teacher_epochs: passes over the clean subset for the teacher.
    recipe: of the student and, but for the epochs, of the teacher.
    epochs: passes over the clean subset for the student.
    schedule: constant, cosine to zero over the stage, or steps: a tenth after 2
      epochs, a thousandth after 20.
    compat: "backdoorbench" compares the pooled features as a map, too.
  """
  betas = (beta1, beta2, beta3)
  teaching = recipe.replace(epochs=teacher_epochs)

  def defend(key, access, fit):
    _check(access, compat)  # refused before any training
    k_teacher, k_student = jax.random.split(key)
    teacher = tuning.fine_tune(
      k_teacher, access, fit, teaching, rate=_rate(teaching), name="teacher"
    )

    def distilling(teacher):
      return _distilling(access.model, teacher, betas, compat=compat)

    return Defended(
      _student(k_student, access, fit, recipe, teacher, distilling)
    )

  return Defense(defend)


def _check(access: Access, compat: str) -> None:
  """Refuses a model with too few maps, by one image's shapes."""

  def shown(variables):
    image = jnp.zeros((1, *access.clean.image.shape[1:]))
    _, features = access.model.apply(variables, image, train=False)
    return maps(features, compat=compat)

  jax.eval_shape(shown, access.variables)


def _distilling(
  model: nn.Module, teacher: Params, betas: tuple[Scalar, ...], *, compat: str
) -> learn.Loss:
  entropy = learn.cross_entropy()

  def loss(logits, features, batch):
    _, reference = model.apply(teacher, batch.image, train=False)
    pair = [maps(x, compat=compat) for x in (features, reference)]
    terms = zip(betas, distance(*pair), strict=True)
    return entropy(logits, features, batch) + sum(b * d for b, d in terms)

  return loss


def _student(
  key: Key,
  access: Access,
  fit: Fit,
  recipe: Recipe,
  teacher: Params,
  distilling: Callable[[Params], learn.Loss],
) -> Params:
  lr = _rate(recipe)(
    engine.steps_per_epoch(access.clean.size, recipe.batch_size)
  )
  tx = optimizers.sgd(
    lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
  )

  def learner(teacher):
    loss = distilling(teacher)
    return learn.supervised(
      access.model, tx, view=access.view, loss=loss, lr=lr
    )

  def step(key, state, batch):
    student, metrics = learner(state.teacher)[1](key, state.student, batch)
    return state.replace(student=student), metrics

  start = _Lesson(learner(teacher)[0](access.variables), teacher)
  return learn.fitted(
    fit, key, step, start, access.clean, recipe, name="student"
  ).student.variables
