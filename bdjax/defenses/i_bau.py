"""I-BAU: unlearns the worst universal perturbation, by implicit gradients.

Zeng et al., "Adversarial Unlearning of Backdoors via Implicit Hypergradient",
arXiv 2110.03735: min over the model of max over one perturbation d, added to
every image, of the cross-entropy. A round, as in the official code:

1. d starts at zero and takes one pass of gradient descent over the clean subset
   on g = -CE(f(x + d), argmax f(x)) + penalty |d|^2.
2. With d fixed, a pass of Adam over the model's parameters w on F = CE(f(x'),
   y), where x' is the batch with d added to a few of its images. Since d
   depends on w, the gradient is dF/dw + (dP/dw)^T v, where P(d, w) = d - step
   dg/dd is a step towards the inner solution (on the true labels) and v, a sum
   of `terms` terms, approximates (I - dP/dd)^-T dF/dd.

Batch norm uses its stored statistics and keeps them. As in the official
notebook, perturbed images are clipped to [0, 1] and d is kept in a ball, here
after each of its steps, there after its pass. The official script does neither.
The constants are official, on images in [0, 1]; the rate is too high for a
small network, see docs/results_small.md. Presets:

- `official`: the defaults with as much clean data, 5,000 images (of the test
  set there);
- `bb`: BackdoorBench, AMSGrad at 1e-4, batch 256, no bounds. It perturbs
  normalized images, so that here the inner rate and step are multiplied by the
  variance of the colors and the penalty divided by it; the numbers are
  CIFAR-10's.

Deviations: batches are shuffled anew in every pass, and P is taken on the
outer step's own batch; the official code's are fixed, and P always takes the
first. At least one image of a batch gets d; the official code, rounding down,
perturbs none in batches below 100. No augmentation, as in the official code;
BackdoorBench augments the clean subset once. AMSGrad is optax's, which takes
the maximum after the bias correction; PyTorch's takes it before.
"""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from bdjax.defenses.parts import hypergradient
from bdjax.methods.signature import (
  Annotated,
  Count,
  Group,
  Index,
  NonNegative,
  Positive,
  Rate,
  validated,
)
from bdjax.training import engine, learn
from bdjax.types import (
  Access,
  Array,
  Defended,
  Defense,
  Fit,
  Images,
  Key,
  Labels,
  Logits,
  Params,
  Scalar,
  Step,
)

PRESETS = {
  "official": {"clean_rate": 0.1},
  "bb": {
    "lr": 1e-4,
    "amsgrad": True,
    "batch_size": 256,
    "bounded": False,
    "inner_lr": 0.63,
    "penalty": 0.016,
    "step_size": 0.0063,
  },
}


@dataclasses.dataclass(frozen=True)
class Rules:
  """How the game is played.

  Attributes:
    inner_lr: of gradient descent, for the perturbation.
    penalty: weight of the perturbation's squared norm.
    bounded: clip perturbed images to [0, 1], and the perturbation to a ball.
    radius: of that ball, in Euclidean norm over all pixels.
    share: of a batch's images that get the perturbation, one at least.
    terms: of the implicit gradient's series; 1 takes dF/dd itself.
    step_size: of the step towards the inner solution.
  """

  inner_lr: Positive = 10.0
  penalty: NonNegative = 1e-3
  bounded: bool = True
  radius: Positive = 10.0
  share: Rate = 0.01
  terms: Count = 5
  step_size: Positive = 0.1


@flax.struct.dataclass
class Game:
  """The model and the perturbation that it unlearns."""

  victim: learn.TrainState
  delta: Array  # [1, H, W, C]
  step: Array  # int32 scalar, steps of the perturbation so far


@validated
def make(
  *,
  rounds: Index = 5,
  batch_size: Count = 100,
  lr: Positive = 1e-3,
  amsgrad: bool = False,
  rules: Annotated[Rules, Group.of(Rules)] = Rules(),
) -> Defense:
  """Returns the defense.

  Args:
    rounds: of one pass for the perturbation and one for the model; 0 leaves the
      model as it is. Not called `epochs`: a number of epochs meant for
      fine-tuning, such as 100, would be far too many.
    batch_size: images per step, of both passes.
    lr: of Adam, for the model.
    amsgrad: use AMSGrad in its place.
    rules: of the game.
  """
  tx = optax.amsgrad(lr) if amsgrad else optax.adam(lr)

  def defend(key: Key, access: Access, fit: Fit) -> Defended:
    model, clean = access.model, access.clean
    steps = engine.steps_per_epoch(clean.size, batch_size)
    victim = learn.begun(access.variables, tx)
    delta = jnp.zeros((1, *clean.image.shape[1:]), jnp.float32)
    state, _ = fit(
      key,
      (perturbing(model, rules, steps=steps), unlearning(model, rules, tx)),
      Game(victim, delta, victim.step),
      clean,
      epochs=2 * rounds,
      batch_size=batch_size,
      name="i_bau",
    )
    memo = {
      "perturbation": 0.5 + state.delta,  # gray: no change
      "norm": jnp.sqrt(jnp.sum(state.delta**2)),
    }
    return Defended(state.victim.variables, memo=memo)

  return Defense(defend)


def perturbing(model: nn.Module, rules: Rules, *, steps: int) -> Step:
  """Returns the step of the perturbation, new after every `steps` steps."""

  def step(key, state, batch):
    del key
    params, stats = learn.parted(state.victim.variables)
    answer = answering(model, rules, stats)
    guess = answer(params, batch.image).argmax(-1)
    delta = jnp.where(state.step % steps == 0, 0, state.delta)
    slope, (value, logits) = jax.grad(inner, has_aux=True)(
      delta, params, answer, batch.image, guess, rules.penalty
    )
    delta = delta - rules.inner_lr * slope
    if rules.bounded:
      size = jnp.sqrt(jnp.sum(delta**2))
      delta = delta * jnp.minimum(1, rules.radius / size)
    after = state.replace(delta=delta, step=state.step + 1)
    return after, learn.report(value, logits, batch.label, after.step, None)

  return step


def unlearning(
  model: nn.Module, rules: Rules, tx: optax.GradientTransformation
) -> Step:
  """Returns the step of the model, by the implicit gradient."""

  def step(key, state, batch):
    params, stats = learn.parted(state.victim.variables)
    answer = answering(model, rules, stats)
    chosen = some(key, batch.label.size, rules.share)[:, None, None, None]

    def towards(delta, params):
      slope, _ = jax.grad(inner, has_aux=True)(
        delta, params, answer, batch.image, batch.label, rules.penalty
      )
      return delta - rules.step_size * slope

    def outer(delta, params):
      logits = answer(params, batch.image + chosen * delta)
      return learn.entropy(logits, batch.label), logits

    (value, logits), grads = hypergradient.hypergradient(
      outer, towards, state.delta, params, terms=rules.terms
    )
    victim = learn.advance(state.victim, grads, stats, tx)
    metrics = learn.report(value, logits, batch.label, victim.step, None)
    return state.replace(victim=victim), metrics

  return step


def answering(model: nn.Module, rules: Rules, stats: Params) -> Callable:
  """Returns (params, perturbed images) -> logits, by stored statistics."""

  def answer(params, images):
    if rules.bounded:
      images = jnp.clip(images, 0, 1)
    return model.apply({"params": params, **stats}, images, train=False)[0]

  return answer


def inner(
  delta: Array,
  params: Params,
  answer: Callable,
  images: Images,
  label: Labels,
  penalty: Scalar,
) -> tuple[Array, tuple[Array, Logits]]:
  """Returns what the perturbation minimizes, the cross-entropy and logits."""
  logits = answer(params, images + delta)
  value = learn.entropy(logits, label)
  return penalty * jnp.sum(delta**2) - value, (value, logits)


def some(key: Key, size: int, share: Scalar) -> Array:
  """Returns [size] bool: a random share of positions, one at least."""
  count = jnp.maximum(1, jnp.floor(share * size))
  return jax.random.permutation(key, size) < count
