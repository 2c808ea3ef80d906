"""SSBA: bits hidden in each image by a network, so that no two triggers agree.

Li et al., "Invisible Backdoor Attack with Sample-Specific Triggers", ICCV 2021,
arXiv 2012.03816 (ISSBA). A network R hides n bits c in an image,
A(x) = clip(x + R(x, c)), the same c in all images; dirty-label data poisoning
with it, in training and at test time alike. Before that R is trained on the
adversary's images, together with a network D that reads the bits: c is drawn
anew for each image, and Adam minimizes BCE(D(A(x)), c) + w mean R(x, c)^2.

Networks, n = 100, Adam's rate, w = 10 and 20 epochs are BackdoorBench's, which
trains on the same loss. BackdoorBox, of the authors, hides 20 bits and poisons
5 % (preset `box`).

Choices and deviations:
- w is 0 for a tenth of the epochs (the first 2 of 20 in BackdoorBox) and grows
  in the next fifth: BackdoorBench counts steps, 1,000 and 3,000 of 15,600, from
  when nine of ten bits are right.
- R is added to the image, as in the paper; BackdoorBench's default gives the
  image itself, through a sigmoid.
- The paper's perceptual loss needs a network trained on ImageNet, and its
  critic is off in BackdoorBox's example: both are left out.
- c is drawn from `pattern_seed`; BackdoorBench encodes a word with a code that
  corrects errors. Batches are the recipe's; theirs have 64 images.
- In short trainings or on few images the bits are hardly learned at this rate:
  give fewer `bits`, a greater `lr`, a smaller `width`.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from bdjax.attacks.parts import joint, poison
from bdjax.attacks.parts.goals import AnyGoal, Goal
from bdjax.methods.signature import (
  Count,
  Index,
  NonNegative,
  Positive,
  Rate,
  validated,
)
from bdjax.models.parts import stegastamp
from bdjax.training import engine
from bdjax.types import (
  Array,
  Attack,
  Batch,
  Fit,
  Images,
  Key,
  Metrics,
  Params,
  Scalar,
  State,
  Step,
  Task,
)

PRESETS = {"box": {"bits": 20, "rate": 0.05}}
QUIET, RAMP = 0.1, 0.2  # of the epochs: without the second term, in its growth


@validated
def make(
  *,
  rate: Rate = 0.1,
  goal: AnyGoal = Goal(),
  bits: Count = 100,
  width: Count = 32,
  encoder_epochs: Index = 20,
  lr: Positive = 1e-4,
  fidelity: NonNegative = 10.0,
  pattern_seed: Index = 0,
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of the training set that is poisoned.
    goal: which class an image's trigger leads to.
    bits: n, hidden in each image.
    width: channels of both networks at full size.
    encoder_epochs: of both networks' training.
    lr: of Adam.
    fidelity: w, weight of what is added to images.
    pattern_seed: seed of the bits.
  """

  def init(key: Key, task: Task, fit: Fit) -> Params:
    nets = stegastamp.Encoder(width), stegastamp.Decoder(bits, width)
    steps = encoder_epochs * engine.steps_per_epoch(
      task.train.size, task.recipe.batch_size
    )
    weight = functools.partial(weighed, most=fidelity, steps=steps)
    encoder = _trained(key, nets, weight, lr, task, fit, encoder_epochs)
    code = jax.random.bernoulli(jax.random.key(pattern_seed), shape=(1, bits))
    return {"encoder": encoder, "code": code.astype(jnp.float32)}

  def trigger(key: Key, images: Images, params: Params) -> Images:
    del key
    code = jnp.broadcast_to(params["code"], (len(images), bits))
    net = stegastamp.Encoder(width)
    return jnp.clip(images + net.apply(params["encoder"], images, code), 0, 1)

  return poison.data_poisoning(init, trigger, goal, rate)


def weighed(step: Array, *, most: Scalar, steps: int) -> Array:
  """Returns the weight of what is added to images, w, at a step."""
  done = step / max(steps, 1)
  return most * jnp.clip((done - QUIET) / RAMP, 0, 1)


def hiding(
  nets: tuple[stegastamp.Encoder, stegastamp.Decoder],
  weight: optax.Schedule,
  tx: optax.GradientTransformation,
) -> Step:
  """Returns the step that trains both networks.

  Its state: the parameters of both, the optimizer's state, the steps so far.

  Args:
    nets: the one that hides bits, and the one that reads them.
    weight: step -> w.
    tx: the optimizer.
  """
  encoder, decoder = nets

  def step(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    both, opt_state, count = state
    shape = (batch.label.size, decoder.bits)
    code = jax.random.bernoulli(key, shape=shape).astype(jnp.float32)

    def objective(both):
      added = encoder.apply(both[0], batch.image, code)
      logits = decoder.apply(both[1], jnp.clip(batch.image + added, 0, 1))
      read = optax.sigmoid_binary_cross_entropy(logits, code).mean()
      seen = (added**2).mean()
      right = jnp.mean((logits > 0) == (code > 0))
      return read + weight(count) * seen, (right, seen)

    grad = jax.value_and_grad(objective, has_aux=True)
    (loss, (right, seen)), grads = grad(both)
    updates, opt_state = tx.update(grads, opt_state, both)
    both = optax.apply_updates(both, updates)
    metrics = {"loss": loss, "bits": right, "added": seen}
    return (both, opt_state, count + 1), metrics

  return step


def _trained(
  key: Key,
  nets: tuple[stegastamp.Encoder, stegastamp.Decoder],
  weight: optax.Schedule,
  lr: Scalar,
  task: Task,
  fit: Fit,
  epochs: int,
) -> Params:
  """Returns the variables of the network that hides bits."""
  k_encoder, k_decoder, k_fit = jax.random.split(key, 3)
  image = jnp.zeros((1, *task.train.image.shape[1:]))
  code = jnp.zeros((1, nets[1].bits))
  both = (
    nets[0].init(k_encoder, image, code),
    nets[1].init(k_decoder, image),
  )
  tx = optax.adam(lr)
  start = both, tx.init(both), jnp.zeros((), jnp.int32)
  how = {"epochs": epochs, "name": "hide"}
  step = hiding(nets, weight, tx)
  return joint.fitted(fit, k_fit, task, step, start, **how)[0][0]
