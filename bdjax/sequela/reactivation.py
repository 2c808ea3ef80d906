"""Re-activation: a little on top of the trigger, and the backdoor answers.

Zhu, Liang and Wu, "Breaking the False Sense of Security in Backdoor Defense
through Re-Activation Attack", arXiv 2405.16134; of their paper the abstract and
captions were at hand, and their code and its instructions. They ask two things.

Is the backdoor still there? A layer's neurons are its channels; those of the
backdoor are the tenth that the trigger A changes most in the planted model, by
the mean over images of |F(A(x)) - F(x)|, Euclidean over places. With X and Y
[images, places * channels] what they hold in two models for the same triggered
test images, columns centered, and S(m) the mean over layers of a model's linear
CKA (Kornblith et al., arXiv 1905.00414) with the planted model, the backdoor
existence coefficient is 0 of the clean model and 1 of the planted one:

  CKA(X, Y) = |X^T Y|^2 / (|X^T X| |Y^T Y|), in Frobenius norms
  BEC(m) = (S(m) - S(clean)) / (1 - S(clean)), cut to [0, 1]

Can it be woken? Their white-box attack adds one d to all images that have the
trigger: of triggered training images x with the wanted label t it lowers, by
steps of gradient descent after each of which d is put back into its ball,

  CE(f(x + d), t) + mean -log(1.0001 - p_j(x + d))

where x + d is cut to [0, 1], p are the probabilities and j is the likeliest
class that is not t.

Constants are those of their command for CIFAR-10: 1,000 images, .05 in the
largest norm, 50 passes in batches of 128 with 5 steps of .05 on each, and a
start drawn at random from the cube of that side. The preset `l2` has their
code's own bound and numbers of steps: 3 in the Euclidean norm, 100 and 100.

An adversary with such images can fool any model. So four numbers stand beside
the success rate `reactivated` on the test images, all of the same bound: that
of the trigger alone (`asr_before`); that of a d found in the same way on images
without trigger and added to such (`universal`, their general universal attack);
of the first d without the trigger (`untriggered`), and with it on the clean
model (`on_clean`). And a clean model after the same defense is attacked too.

Deviations:
- their code scales S by the lowest and the highest of the models at hand and
  then sets the planted one's to 1; here the ends are those two models',
  whatever else is compared;
- layers are those that a model returns with a place in the image, of a ResNet
  its four stages; there each convolution but the first and shortcuts';
- the backdoor's neurons are chosen by the 500 images that are compared, there
  by some 2,000; a layer that does not vary, as if pruned away, is like nothing;
- the attack's images are poisons of the training set there, here training
  images of classes that the trigger should change, with the trigger as at test
  time, so that attacks without such a set can be asked;
- a last, short batch is filled up, there left out; images are scored in 8 bits;
  the target is each image's own.

Their two black-box attacks are not here.
"""

from collections.abc import Callable
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from optax.projections import projection_l2_ball

from bdjax.machine import programs
from bdjax.methods.signature import (
  TRAINING,
  Choice,
  Count,
  Positive,
  Range,
  validated,
)
from bdjax.sequela import Outcome, Remains, Sequel
from bdjax.sequela.parts import existence, lures
from bdjax.training import adversarial, learn
from bdjax.types import (
  Array,
  Batch,
  Dataset,
  Fit,
  Images,
  Key,
  Labels,
  Metrics,
  Params,
  Recipe,
  Scalar,
  Step,
)

PRESETS = {"l2": {"norm": "l2", "bound": 3.0, "epochs": 100, "rounds": 100}}
COMPARED = 500  # test images whose layers are compared, as in their code
Share = Annotated[float, Range(0.0, 1.0)]  # decides shapes: not swept
Norm = Annotated[str, Choice(("linf", "l2"))]
Searching = Annotated[
  Recipe,
  TRAINING.without("schedule", "momentum", "weight_decay").having(epochs=Count),
]


@validated
def make(
  *,
  images: Count = 1000,
  bound: Positive = 0.05,
  norm: Norm = "linf",
  rounds: Count = 5,
  neurons: Share = 0.1,
  recipe: Searching = Recipe(lr=0.05, epochs=50),
) -> Sequel:
  """Returns the sequel.

  Args:
    images: training images that the perturbation is found on.
    bound: on the perturbation, in units of [0, 1].
    norm: of that bound; "l2" is over the whole image.
    rounds: steps on each batch.
    neurons: share of a layer's channels that count as the backdoor's.
    recipe: of finding it, by plain gradient descent.
    epochs: passes over the images.
    lr: length of a step, times the gradient.
  """

  def search(key: Key, remains: Remains, fit: Fit, source: Dataset, name: str):
    k_start, k_fit = jax.random.split(key)
    shape = source.image.shape[1:]
    start = jax.random.uniform(k_start, shape, minval=-bound, maxval=bound)
    start = projected(start, bound, norm)
    step = searching(
      remains.model,
      remains.variables,
      rate=recipe.lr,
      rounds=rounds,
      bound=bound,
      norm=norm,
    )
    return learn.fitted(fit, k_fit, step, start, source, recipe, name=name)

  def examine(key: Key, remains: Remains, fit: Fit) -> Outcome:
    k_draw, k_hit, k_clean = jax.random.split(key, 3)
    rows = lures.chosen(k_draw, remains.clean, remains.lure, images)
    hit = lures.taken(remains.lure, rows)
    plain = hit.replace(image=remains.clean.image[rows])
    push = search(k_hit, remains, fit, hit, "reactivation")
    universal = search(k_clean, remains, fit, plain, "universal")
    tested = remains.replace(clean=None, poisoned=None, lure=None)
    rates = programs.jit(_rates(neurons))(tested, push, universal)
    return Outcome(numbers=rates)

  return Sequel(examine, lures=images)


def _rates(share: float) -> Callable[..., dict[str, Array]]:
  def rates(
    remains: Remains, push: Array, universal: Array
  ) -> dict[str, Array]:
    model, target, clean = remains.model, remains.variables, remains.unplanted
    test, hit = images = remains.test, remains.hit
    other = hit.label != test.label
    pushed = lures.rates(
      model, target, clean, *images, lambda x: x + push[None]
    )
    pushed["universal"] = lures.rate(
      model, target, test, hit.label, other, lambda x: x + universal[None]
    )
    models = target, remains.planted, clean
    return pushed | existence.existence(
      model, *models, *images, share=share, images=COMPARED
    )

  return rates


def projected(push: Array, bound: Scalar, norm: str) -> Array:
  """Returns the nearest perturbation within a bound.

  Args:
    push: [H, W, C].
    bound: in units of [0, 1].
    norm: "linf", of the largest entry, or "l2", the Euclidean length.
  """
  if norm == "linf":
    return jnp.clip(push, -bound, bound)
  return projection_l2_ball(push, bound)


def loss(
  model: nn.Module,
  variables: Params,
  images: Images,
  wanted: Labels,
  push: Array,
) -> Array:
  """Returns what the attack lowers; see the module's docstring.

  Args:
    model: the architecture.
    variables: of the model under attack.
    images: [B, H, W, C].
    wanted: [B], the labels that the adversary wants.
    push: [H, W, C], added to all of them.
  """
  shown = jnp.clip(images + push[None], 0, 1)
  logits, _ = model.apply(variables, shown, train=False)
  rival = adversarial.likeliest_wrong(logits, wanted)
  against = adversarial.against(logits, rival)
  return learn.entropy(logits, wanted) + against


def searching(
  model: nn.Module,
  variables: Params,
  *,
  rate: Scalar,
  rounds: int,
  bound: Scalar,
  norm: str,
) -> Step:
  """Returns the step that improves a perturbation [H, W, C] on a batch.

  Args:
    model: the architecture.
    variables: of the model under attack, which stays as it is.
    rate: of gradient descent.
    rounds: steps of it.
    bound: on the perturbation.
    norm: of that bound, as of `projected`.
  """

  def step(key: Key, push: Array, batch: Batch) -> tuple[Array, Metrics]:
    del key

    def objective(push):
      return loss(model, variables, batch.image, batch.label, push)

    def once(push, _):
      value, slope = jax.value_and_grad(objective)(push)
      return projected(push - rate * slope, bound, norm), value

    push, values = jax.lax.scan(once, push, length=rounds)
    return push, {"loss": values[-1]}

  return step
