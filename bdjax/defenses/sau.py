"""SAU: shared adversarial unlearning, of examples that fool both models.

Wei et al., "Shared Adversarial Unlearning: Backdoor Mitigation by Unlearning
Shared Adversarial Examples", arXiv 2307.10562. An adversarial example that the
suspect h0 and the model h, which starts as h0, put in the same wrong class may
be a poisoned image. A step finds such examples for its batch of B clean images
x [B, H, W, C] with labels y, and unlearns them. p and q are the probabilities
[B, classes] that h and h0 give an image x + d, JS is Jensen and Shannon's
divergence in nats, and a model is fooled where its class of x + d is not its
own class of x.

1. d [B, H, W, C] starts at `radius` in every pixel and takes `ascents` steps
   d <- d - step_size sign(dL/dd), each followed by a clip to +-radius, on

       L = beta_adv L_adv + beta_share L_share,
       L_adv = -1/2 mean(1[h not fooled] CE(p, y) + 1[h0 not fooled] CE(q, y)),
       L_share = mean(1[not shared] JS(p, q)),

   shared: both models are fooled, into the same class.
2. With d fixed, a step of Adam on the weights of h for

       mean CE(h(x), y) + beta_sar mean(1[c is wrong] -log(1 - p_c)),

   where c [B] is h0's class of x + d: wrong if it is neither y nor h0's class
   of x. Only here do the weights change.

A step costs 2 forward passes of x, `ascents` passes forward and back to the
images through each of both models, 1 forward pass of x + d through h0, and
fine-tuning's pass with 2B images: about ten times one of fine-tuning, if the
way back to the images costs as much as the way forward. Perturbed images may
leave [0, 1]. Batch norm uses its stored statistics and keeps them; with
`moving` it uses those of the 2B images of part 2, and moves. The authors say
that the first keeps more accuracy and more of the backdoor.

The paper's weights are 1, but for lambda_3 = .01, read as beta_adv; it has a
radius of .2, 5 steps and, on CIFAR-10, 100 epochs. All else, what the masks are
too, is from the authors' code, BackdoorBench's defense/sau.py and its config:
step size .2, the start, Adam at 1e-4 in batches of 256 without weight decay and
without augmentation. Its cosine is made but never moves, so that the rate is
constant. As there, probabilities are at least 1e-8 in JS, and
-log(1e-6 + min(1 - p_c, .999)) stands for -log(1 - p_c).

Deviations: that code computes 1 - p_c in two ways and takes the mean of both
logarithms, here it is the sum of the other probabilities; it stops the ascent
once all examples are shared, where L has no gradient and d does not move
anyway; and its term of adversarial training, of weight 0, is left out, as are
its other norms.
"""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from bdjax.defenses.parts import tuning
from bdjax.machine.keys import key_for
from bdjax.methods.signature import (
  Annotated,
  Group,
  Index,
  NonNegative,
  Positive,
  Training,
  validated,
)
from bdjax.training import learn
from bdjax.types import (
  Array,
  Batch,
  Defended,
  Defense,
  Images,
  Labels,
  Logits,
  Params,
  Recipe,
  Scalar,
  Schedule,
  Step,
)

LEAST = 1e-8  # probability in the divergence
MOST = 0.999  # of 1 - p_c: examples that h gives c less than .001 are done
EPS = 1e-6  # in the logarithm


@dataclasses.dataclass(frozen=True)
class Rules:
  """How shared adversarial examples are found.

  Attributes:
    radius: of the perturbation, in maximum norm, of pixels in [0, 1].
    step_size: of the perturbation's steps, in each pixel.
    ascents: steps of the perturbation for each step of the model.
    beta_adv: weight of leading each model away from the label.
    beta_share: weight of the divergence of both models' answers.
  """

  radius: Positive = 0.2
  step_size: Positive = 0.2
  ascents: Index = 5
  beta_adv: NonNegative = 0.01
  beta_share: NonNegative = 1.0


@flax.struct.dataclass
class Unlearning:
  """The model, and the suspect that it was."""

  victim: learn.TrainState
  suspect: Params


@validated
def make(
  *,
  beta_sar: NonNegative = 1.0,
  moving: bool = False,
  rules: Annotated[Rules, Group.of(Rules)] = Rules(),
  recipe: Training = Recipe(
    lr=1e-4, epochs=100, batch_size=256, schedule="constant", weight_decay=0.0
  ),
) -> Defense:
  """Returns the defense.

  Args:
    beta_sar: weight of unlearning the shared adversarial examples.
    moving: batch norm is in training mode, and its statistics move.
    rules: of the search for those examples.
    recipe: of training on the clean subset.
    momentum: of Adam, its first beta.
  """

  def defend(key, access, fit):
    tx, lr = tuning.stepping(access, recipe, optimizer="adam")
    start = access.variables
    state = learn.fitted(
      fit,
      key,
      unlearning(access.model, tx, lr, rules, beta_sar, moving=moving),
      Unlearning(learn.begun(start, tx), jax.tree.map(jnp.array, start)),
      access.clean,
      recipe,
      name="sau",
    )
    return Defended(state.victim.variables)

  return Defense(defend)


def unlearning(
  model: nn.Module,
  tx: optax.GradientTransformation,
  lr: Schedule,
  rules: Rules,
  beta_sar: Scalar,
  *,
  moving: bool,
) -> Step:
  """Returns the step: the search for a batch's examples, and its update.

  Args:
    tx: the optimizer.
    lr: the rate that it uses, to report it.
  """
  answer = answering(model)

  def step(key, state, batch):
    params, stats = learn.parted(state.victim.variables)
    pair = (state.victim.variables, state.suspect)
    classes = [answer(one, batch.image).argmax(-1) for one in pair]
    perturbed = batch.image + perturbation(answer, pair, classes, batch, rules)
    lured = answer(state.suspect, perturbed).argmax(-1)
    wrong = (lured != batch.label) & (lured != classes[1])
    images = jnp.concatenate([batch.image, perturbed])

    def objective(params):
      if moving:
        k_drop = key_for(key, "dropout")
        (logits, _), new = learn.forward(
          model, params, stats, images, key=k_drop
        )
      else:
        logits, new = answer({"params": params, **stats}, images), stats
      clean, lost = jnp.split(logits, 2)
      value = learn.entropy(clean, batch.label)
      return value + beta_sar * risk(lost, lured, wrong), (clean, new)

    grad = jax.value_and_grad(objective, has_aux=True)
    (value, (logits, new)), grads = grad(params)
    victim = learn.advance(state.victim, grads, new, tx)
    before = state.victim.step
    metrics = learn.report(value, logits, batch.label, before, lr)
    return state.replace(victim=victim), metrics

  return step


def answering(model: nn.Module) -> Callable[[Params, Images], Logits]:
  """Returns (variables, images) -> logits, by stored statistics."""

  def answer(variables, images):
    return model.apply(variables, images, train=False)[0]

  return answer


def perturbation(
  answer: Callable[[Params, Images], Logits],
  pair: tuple[Params, Params],
  classes: list[Labels],
  batch: Batch,
  rules: Rules,
) -> Array:
  """Returns what leads both models to the same wrong class, [B, H, W, C].

  Args:
    answer: (variables, images) -> logits.
    pair: variables of the model and of the suspect.
    classes: of the images as they are, by each of both.
    batch: clean images.
    rules: of the search.
  """

  def lost(delta):
    logits = [answer(one, batch.image + delta) for one in pair]
    terms = losses(logits, classes, batch.label)
    return rules.beta_adv * terms[0] + rules.beta_share * terms[1]

  def ascend(delta, _):
    delta = delta - rules.step_size * jnp.sign(jax.grad(lost)(delta))
    return jnp.clip(delta, -rules.radius, rules.radius), None

  start = jnp.full(batch.image.shape, rules.radius, batch.image.dtype)
  return jax.lax.scan(ascend, start, None, length=rules.ascents)[0]


def losses(
  logits: list[Logits], classes: list[Labels], label: Labels
) -> tuple[Array, Array]:
  """Returns L_adv and L_share, scalars to be minimized over a perturbation.

  Args:
    logits: of perturbed images, by the model and by the suspect.
    classes: of the images as they are, by each of both.
    label: of the images.
  """
  now = [one.argmax(-1) for one in logits]
  fooled = [a != b for a, b in zip(now, classes, strict=True)]
  entropies = [
    optax.softmax_cross_entropy_with_integer_labels(one, label)
    for one in logits
  ]
  resisting = [
    jnp.where(f, 0, e) for f, e in zip(fooled, entropies, strict=True)
  ]
  shared = fooled[0] & fooled[1] & (now[0] == now[1])
  apart = jnp.where(shared, 0, divergence(*logits))
  return -jnp.mean(sum(resisting)) / 2, jnp.mean(apart)


def divergence(one: Logits, other: Logits) -> Array:
  """Returns Jensen and Shannon's divergence of answers, [B], in nats."""
  p, q = (jnp.maximum(jax.nn.softmax(x), LEAST) for x in (one, other))
  middle = jnp.log((p + q) / 2)
  terms = p * (jnp.log(p) - middle) + q * (jnp.log(q) - middle)
  return terms.sum(-1) / 2


def risk(logits: Logits, lured: Labels, wrong: Array) -> Array:
  """Returns the shared adversarial risk, mean(1[wrong] -log(1 - p_c)).

  Args:
    logits: of perturbed images, by the model, [B, classes].
    lured: c, the suspect's classes of them, [B].
    wrong: [B] bool, those that count.
  """
  others = jax.nn.one_hot(lured, logits.shape[-1]) == 0
  rest = jnp.sum(jax.nn.softmax(logits), -1, where=others)
  return jnp.mean(jnp.where(wrong, -jnp.log(EPS + jnp.minimum(rest, MOST)), 0))
