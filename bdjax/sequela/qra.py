"""QRA: a network that adds what a repaired model takes for its old trigger.

The query-based reactivation attack of Min, Qin, Zhang, Shen and Cheng,
"Uncovering, Explaining, and Mitigating the Superficial Safety of Backdoor
Defense", arXiv 2410.09838, as their code has it; of the paper the abstract was
at hand. A network g turns each image into a perturbation of its own, of at most
`bound` in the largest norm, x' = x + bound g(x) cut to [0, 1]. Of as many clean
as triggered training images x, with true labels y, it lowers

  alpha KL(softmax t(x) || softmax f(x')) + CE(c(x'), y)

so that the repaired model f answers as the teacher t does without g, and the
clean model c still answers right: g then wakes the backdoor and fools no other
model. Larger alpha fools both. t is f after the retuning attack (`retuning`: 5
poisons among 2 % of the clean images, 5 epochs at .01), from which f has the
backdoor again. Despite its name the code follows f's gradient.

g is their network: four linear layers with 1024 hidden units each and ReLU,
and tanh at last. Constants: bound 16/255, alpha .2, 500 images of each kind, 50
epochs of SGD at .1 with momentum .9, in batches of 128.

Test images give the success rate with trigger and g (`reactivated`), with the
trigger alone (`asr_before`), with g alone (`untriggered`), and on c with both
(`on_clean`): what is high in the first alone is the backdoor's. The control is
the same attack on a clean model after the same defense. Its teacher hardly
learns the backdoor of five poisons, so that its rate is low for that reason
too: `teacher="planted"`, chosen here, has the planted model teach, which asks
the same of all models.

Deviations: the two kinds of images are drawn anew for each question, the
triggered ones as at test time, from classes that the trigger should change; g
reads 4 x - 2 (chosen: nearly what their normalization makes of CIFAR-10); its
biases and weights are drawn as PyTorch draws them, as theirs; retuning
augments as `retuning` does; images are scored in 8 bits.
"""

from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from bdjax.machine import programs
from bdjax.methods.signature import (
  TRAINING,
  Choice,
  Count,
  Fraction,
  NonNegative,
  Positive,
  Range,
  validated,
)
from bdjax.models.parts import base, heads
from bdjax.sequela import Outcome, Remains, Sequel
from bdjax.sequela.parts import lures, retraining
from bdjax.training import learn, optimizers
from bdjax.types import (
  CLEAN,
  POISON,
  Array,
  Batch,
  Dataset,
  Fit,
  Images,
  Key,
  Metrics,
  Params,
  Recipe,
  Scalar,
  Step,
)

PRESETS = {}
RETUNING = Recipe(lr=0.01, epochs=5, schedule="constant", weight_decay=0.0)
Some = Annotated[int, Range(2, closed=True)]
Share = Annotated[float, Range(0.0, 1.0)]  # decides shapes: not swept
Teacher = Annotated[str, Choice(("retuned", "planted"))]
Searching = Annotated[
  Recipe,
  TRAINING.without("schedule", "weight_decay").having(
    epochs=Count, momentum=Fraction
  ),
]


class Perturber(base.Network):
  """An image's own perturbation, in [-1, 1].

  Attributes:
    width: units of each of its three hidden layers.
  """

  width: int = 1024

  @nn.compact
  def __call__(self, x: Images, train: bool = False) -> Array:
    """Maps [B, H, W, C] to the same shape."""
    flat = (4 * x - 2).reshape(x.shape[0], -1)
    layers = heads.MLP(flat.shape[-1], hidden=3 * (self.width,), dropout=0.0)
    return jnp.tanh(layers(flat, train)).reshape(x.shape)


@validated
def make(
  *,
  images: Some = 1000,
  bound: Positive = 16 / 255,
  alpha: NonNegative = 0.2,
  teacher: Teacher = "retuned",
  rate: Share = 0.02,
  poisons: Count = 5,
  width: Count = 1024,
  recipe: Searching = Recipe(lr=0.1, epochs=50),
) -> Sequel:
  """Returns the sequel.

  Args:
    images: training images that the network learns from, half of them with the
      trigger.
    bound: on each entry of a perturbation, in units of [0, 1].
    alpha: weight of the teacher's answers beside the clean model's.
    teacher: the model itself after the retuning attack, or the planted one.
    rate: share of the clean training set that a teacher is retuned on.
    poisons: how many of those images have the trigger.
    width: units of each of the network's hidden layers.
    recipe: of the network, by SGD.
    epochs: passes over the images.
    lr: learning rate, constant.
  """

  net = Perturber(width)

  def examine(key: Key, remains: Remains, fit: Fit) -> Outcome:
    k_teach, k_hit, k_clean, k_init, k_fit = jax.random.split(key, 5)
    pairs = lures.chosen(k_hit, remains.clean, remains.lure, images // 2)
    others = jax.random.permutation(k_clean, remains.clean.size)
    others = others[: images - images // 2]
    source = remains.planted
    if teacher == "retuned":
      source = retuned(k_teach, remains, fit, rate=rate, poisons=poisons)
    data = mixed(remains.clean, remains.lure, others, pairs)
    tx = optimizers.sgd(recipe.lr, momentum=recipe.momentum, weight_decay=0.0)
    start = learn.init_variables(k_init, data, model=net)
    start = start, tx.init(start)
    step = perturbing(remains, source, tx, net=net, bound=bound, alpha=alpha)
    network, _ = learn.fitted(fit, k_fit, step, start, data, recipe, name="qra")
    tested = remains.replace(clean=None, poisoned=None, lure=None)

    def rates(remains, network):
      models = remains.model, remains.variables, remains.unplanted
      images = remains.test, remains.hit
      return lures.rates(
        *models, *images, lambda x: perturbed(net, network, x, bound)
      )

    return Outcome(numbers=programs.jit(rates)(tested, network))

  return Sequel(examine, lures=images // 2)


def mixed(
  clean: Dataset, lure: Dataset, others: Array, pairs: Array
) -> Dataset:
  """Returns clean images and then triggered ones, all with true labels.

  Args:
    clean: the training set before poisoning.
    lure: the same images with the trigger.
    others: places of the clean ones.
    pairs: places of the triggered ones.
  """
  image = jnp.concatenate([clean.image[others], lure.image[pairs]])
  return Dataset(image, clean.label[jnp.concatenate([others, pairs])])


def retuned(
  key: Key, remains: Remains, fit: Fit, *, rate: float, poisons: int
) -> Params:
  """Returns the model after the retuning attack, with triggered images.

  Args:
    key: random key.
    remains: the model, with `lure`.
    fit: runs the epochs.
    rate: share of the clean training set that is trained on.
    poisons: how many of those images have the trigger.
  """
  k_draw, k_fit = jax.random.split(key)
  other = remains.clean.label != remains.lure.label
  role = jnp.where(other, POISON, CLEAN).astype(jnp.int8)
  data = retraining.drawn(
    k_draw, remains.clean, remains.lure, role, rate=rate, poisons=poisons
  )
  return retraining.retrained(
    k_fit,
    remains.variables,
    data,
    fit,
    RETUNING.replace(batch_size=min(RETUNING.batch_size, data.size)),
    model=remains.model,
    view=remains.view,
    name="teacher",
  )


def perturbed(
  net: Perturber, variables: Params, images: Images, bound: Scalar
) -> Images:
  """Returns images with their own perturbations, cut to [0, 1]."""
  return jnp.clip(images + bound * net.apply(variables, images), 0, 1)


def perturbing(
  remains: Remains,
  teacher: Params,
  tx: optax.GradientTransformation,
  *,
  net: Perturber,
  bound: Scalar,
  alpha: Scalar,
) -> Step:
  """Returns the step that trains the network's variables on a batch.

  Its state is (variables, the optimizer's state).

  Args:
    remains: the model under attack, and `unplanted`.
    teacher: variables of the model whose answers are wanted.
    tx: the optimizer.
    net: the network.
    bound: on each entry of a perturbation.
    alpha: weight of the teacher's answers.
  """
  model = remains.model

  def answers(variables, images):
    return model.apply(variables, images, train=False)[0]

  def step(key: Key, state: tuple, batch: Batch) -> tuple[tuple, Metrics]:
    del key
    network, opt_state = state
    wanted = answers(teacher, batch.image)

    def objective(network):
      shown = perturbed(net, network, batch.image, bound)
      clean = learn.entropy(answers(remains.unplanted, shown), batch.label)
      apart = divergence(wanted, answers(remains.variables, shown))
      return alpha * apart + clean

    value, slope = jax.value_and_grad(objective)(network)
    change, opt_state = tx.update(slope, opt_state, network)
    return (optax.apply_updates(network, change), opt_state), {"loss": value}

  return step


def divergence(teacher: Array, student: Array) -> Array:
  """Returns the mean of KL(softmax teacher || softmax student), of logits."""
  log_p = jax.nn.log_softmax(teacher)
  log_ratio = log_p - jax.nn.log_softmax(student)
  return jnp.sum(jnp.exp(log_p) * log_ratio, -1).mean()
