"""One perturbation that changes a classifier's predictions of many images.

Universal perturbations by DeepFool, pushing each image into a wanted class:
Moosavi-Dezfooli et al., "Universal Adversarial Perturbations", arXiv
1610.08401, and "DeepFool", arXiv 1511.04599. And bounded ones by descent of the
cross-entropy towards one class, batch by batch.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from bdjax.training import learn
from bdjax.types import Array, Images, Key, Labels, Logits, Params, Scalar

OVERSHOOT = 0.02  # DeepFool steps this much past the boundary
RECENT, SETTLED = 5, 0.01  # the search ends when so many shares lie so close


def added(key: Key, images: Images, params: Params) -> Images:
  """Returns the images with the perturbation `delta` added, clipped."""
  del key
  return jnp.clip(images + params["delta"], 0, 1)


def descend(
  rounds: Params,
  images: Callable[[Params], Images],
  logits: Callable[[Images], Logits],
  *,
  start: Array,
  target: int,
  eps: Scalar,
  tx: optax.GradientTransformation,
) -> Array:
  """Leads images to a class by one perturbation that is cut off at a bound.

  Args:
    rounds: what the batch of each step is made of, along the first axis.
    images: such a thing -> [B, H, W, C].
    logits: of a classifier.
    start: [1, H, W, C].
    target: the class.
    eps: bound on every entry.
    tx: of the perturbation.

  Returns:
    [1, H, W, C].
  """

  def objective(delta, x):
    z = logits(jnp.clip(x + delta, 0, 1))
    return learn.entropy(z, jnp.full(len(x), target, jnp.int32))

  def body(state, item):
    delta, opt_state = state
    slope = jax.grad(objective)(delta, images(item))
    step, opt_state = tx.update(slope, opt_state)
    return (jnp.clip(delta + step, -eps, eps), opt_state), None

  return jax.lax.scan(body, (start, tx.init(start)), rounds)[0][0]


def deepfool(
  start: Array,
  wanted: Array,
  logits: Callable[[Images], Logits],
  *,
  iterations: int,
  skip: Array | bool = False,
) -> Array:
  """Finds a small push of an image into a class, by linear steps.

  Args:
    start: [H, W, C].
    wanted: class, an int32 scalar.
    skip: returns at once, with no push.

  Returns:
    The push [H, W, C], overshoot included.
  """

  def body(state):
    i, push, _ = state
    z, pull = jax.vjp(lambda x: logits(x[None])[0], start + push)
    label = z.argmax()
    toward = jax.nn.one_hot(wanted, z.size) - jax.nn.one_hot(label, z.size)
    (slope,) = pull(toward)
    # The two small numbers: a tie must still move, a zero slope must not.
    size = (z[label] - z[wanted] + 1e-4) / jnp.maximum((slope**2).sum(), 1e-12)
    return i + 1, push + (1 + OVERSHOOT) * size * slope, label == wanted

  def going(state):
    i, _, arrived = state
    return ~arrived & (i < iterations) & ~jnp.asarray(skip)

  first = (0, jnp.zeros_like(start), jnp.asarray(False))
  return jax.lax.while_loop(going, body, first)[1]


def search(
  key: Key,
  images: Images,
  wanted: Labels,
  logits: Callable[[Images], Logits],
  *,
  merge: Callable[[Array, Array], Array],
  passes: int,
  iterations: int,
  fooled: Scalar,
) -> Array:
  """Finds one perturbation v of all images, pass by pass.

  It ends when the classifier's prediction has changed on a share `fooled` of
  the images, when the last five shares lie within .01, or after `passes`.

  Args:
    key: of the order in each pass.
    images: [B, H, W, C].
    wanted: [B], where each is pushed.
    merge: (v, push) -> v with a push taken in, and kept small.
    iterations: of each DeepFool, at most.
    fooled: share that is enough.

  Returns:
    [H, W, C].
  """
  before = logits(images).argmax(-1)

  def visit(v, example):
    image, answer, wanted = example
    changed = logits((image + v)[None])[0].argmax() != answer
    push = deepfool(
      image + v, wanted, logits, iterations=iterations, skip=changed
    )
    return jnp.where(changed, v, merge(v, push)), None

  def one_pass(state):
    i, v, shares = state
    order = jax.random.permutation(jax.random.fold_in(key, i), before.size)
    visits = (images[order], before[order], wanted[order])
    v, _ = jax.lax.scan(visit, v, visits)
    share = jnp.mean(logits(images + v[None]).argmax(-1) != before)
    return i + 1, v, jnp.roll(shares, 1).at[0].set(share)

  def going(state):
    i, _, shares = state
    settled = (i >= RECENT) & (jnp.ptp(shares) < SETTLED)
    return (i < passes) & (shares[0] < fooled) & ~settled

  first = (0, jnp.zeros(images.shape[1:]), jnp.zeros(RECENT))
  return jax.lax.while_loop(going, one_pass, first)[1]
