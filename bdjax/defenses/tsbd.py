"""TSBD: weights that clean unlearning changes most become zero, then tuning.

Lin et al., "Unveiling and Mitigating Backdoor Vulnerabilities based on
Unlearning Weight Changes and Backdoor Activeness", arXiv 2405.20291. What clean
images and poisoned ones need is changed by unlearning either, in much the same
neurons; and those of a backdoored model have large gradients. So, with
parameters w, the suspect's w0 and the mean cross-entropy L over clean images:

1. Clean images are unlearned: SGD up L, all parameters free, until few are
   classified right, which ends at w1.
2. A neuron is an output channel of a convolution; a projected shortcut has
   none. With kernels [kh, kw, in, out] its weight change is

     NWC_c = sum over kh, kw, in of |w1 - w0|

   Of all neurons of all layers, those with the largest are taken, the share
   `neurons`; and of all their weights together those with the largest
   |w1 - w0|, the share `weights`, become zero in the *suspect*.
3. All parameters are tuned on L and, with weight alpha radius, on the gradient
   norms of all tensors p (kernel, scale, bias) of w. To first order a step's
   gradient of both is

     g = (1 - alpha) dL(w) + alpha dL(w + radius u)
     u_p = dL(w)_p / |dL(w)_p|

A pass of unlearning costs what one of fine-tuning does, and after it has ended
a forward pass, but the same still in a sweep of several members at once; one of
tuning costs two of fine-tuning, for its second gradient.

Constants are those of the authors' code (tsbd.py and its config.yaml, for
PreActResNet18 on CIFAR-10 with 5 % clean images): unlearning at 1e-4 for at
most 1,000 epochs, down to an accuracy of .1; weights .7; radius .05, alpha .7;
both stages with momentum .9, no weight decay (what its config says of decay and
schedule is not used), batch 256; tuning at a constant .01 for 20 epochs.
`neurons` is chosen: that code goes through eleven shares from .01 to .9, each
tuned, and what the paper prints of it was not at hand. Presets:

- `official`: 5 % clean images, and the 21 epochs that its loop makes.

As there, norms are of each tensor; `norm="all"` is that of all parameters
together, as of Zhao et al., arXiv 2202.03599. Deviations:
- unlearning ends at the first batch with no higher accuracy, in training mode;
  there after an epoch, by all images in evaluation mode;
- shares are rounded to the nearest number of neurons and weights, there down,
  and weights that unlearning did not change stay;
- batches are drawn in a new order for each epoch, there always in the same one;
- batch norm's running statistics are those of the first of a step's two passes;
  there of a third, after the step.
"""

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from bdjax.defenses.parts import tuning, unlearning
from bdjax.machine import programs
from bdjax.methods.signature import (
  Annotated,
  Choice,
  Fraction,
  Index,
  NonNegative,
  Positive,
  Training,
  validated,
)
from bdjax.types import Array, Defended, Defense, Params, Recipe, Scalar

PRESETS = {"official": {"clean_rate": 0.05, "epochs": 21, "batch_size": 256}}
EPS = 1e-12  # added to norms, so that no gradient moves nothing
RECIPE = Recipe(
  lr=0.01, epochs=20, batch_size=256, schedule="constant", weight_decay=0.0
)

Path = tuple[str, ...]


@validated
def make(
  *,
  unlearn_lr: Positive = 1e-4,
  unlearn_epochs: Index = 1000,
  stop: Fraction = 0.1,
  neurons: Fraction = 0.15,
  weights: Fraction = 0.7,
  radius: NonNegative = 0.05,
  alpha: Fraction = 0.7,
  norm: Annotated[str, Choice(("each", "all"))] = "each",
  recipe: Training = RECIPE,
) -> Defense:
  """Returns the defense.

  Args:
    unlearn_lr: learning rate of the ascent.
    unlearn_epochs: passes over the images to unlearn them, at most; without
      any the memo's `unlearned` is NaN.
    stop: accuracy at which they count as unlearned.
    neurons: share of the neurons of which weights become zero.
    weights: share of these neurons' weights that become zero.
    radius: how far ahead the second gradient of a step is taken.
    alpha: its share in the step.
    norm: the radius is "each" tensor's, or that of "all" of them together.
    recipe: of tuning; batches and momentum also of unlearning.
  """

  def defend(key, access, fit):
    convolutions(access.variables["params"])  # refused before any training
    k_down, k_tune = jax.random.split(key)
    down = unlearning.descend(
      k_down,
      access,
      access.clean,
      fit,
      recipe.replace(epochs=unlearn_epochs, weight_decay=0.0),
      rate=unlearn_lr,
      stop=stop,
    )
    variables, count = programs.jit(zeroed)(
      access.variables, down.params, neurons=neurons, weights=weights
    )
    variables = tuning.fine_tune(
      k_tune,
      access.replace(variables=variables),
      fit,
      recipe,
      wrap=lambda tx: gradient_penalty(
        tx, radius=radius, alpha=alpha, norm=norm
      ),
      name="tune",
    )
    memo = {"pruned": count, "unlearned": down.accuracy}
    return Defended(variables, memo=memo)

  return Defense(defend)


def convolutions(params: Params) -> list[Path]:
  """Returns the paths of the kernels whose output channels are neurons.

  Raises:
    ValueError: there is none.
  """
  kernels = [
    path
    for path, leaf in traverse_util.flatten_dict(params).items()
    if path[-1] == "kernel" and leaf.ndim == 4 and "shortcut" not in path
  ]
  if not kernels:
    raise ValueError(
      f"none of the layers {sorted(params)} is a convolution, of which tsbd "
      "takes the neurons: take a cnn, a ResNet or a VGG."
    )
  return kernels


def zeroed(
  variables: Params, unlearned: Params, *, neurons: Scalar, weights: Scalar
) -> tuple[Params, Array]:
  """Returns a model without the weights that unlearning changed most.

  Args:
    variables: of the model.
    unlearned: its parameters after unlearning.
    neurons: share of all neurons, those of the largest weight change.
    weights: share of these neurons' weights, those that changed most.

  Returns:
    The variables, and how many weights became zero, int32.
  """
  before = traverse_util.flatten_dict(variables["params"])
  after = traverse_util.flatten_dict(unlearned)
  paths = convolutions(variables["params"])
  change = {path: jnp.abs(after[path] - before[path]) for path in paths}
  scores = {path: x.sum((0, 1, 2)) for path, x in change.items()}
  least = lowest(scores, neurons * sum(x.size for x in scores.values()))
  ranked = {  # weights of other neurons come last
    path: jnp.where(scores[path][None, None, None] >= least, x, 0.0)
    for path, x in change.items()
  }
  among = sum(
    jnp.sum(score >= least) * (change[path].size // score.size)
    for path, score in scores.items()
  )
  least = lowest(ranked, weights * among)
  gone = {path: (x >= least) & (x > 0) for path, x in ranked.items()}
  left = {path: jnp.where(gone[path], 0.0, before[path]) for path in paths}
  params = traverse_util.unflatten_dict({**before, **left})
  count = sum(jnp.sum(x, dtype=jnp.int32) for x in gone.values())
  return {**variables, "params": params}, count


def lowest(values: dict[Path, Array], count: Scalar) -> Array:
  """Returns the lowest of the largest values, inf where these are none.

  Args:
    values: arrays of any shapes.
    count: how many are among the largest, rounded.
  """
  count = jnp.round(count).astype(jnp.int32)
  ordered = jnp.sort(jnp.concatenate([x.ravel() for x in values.values()]))
  lowest = ordered[ordered.size - jnp.maximum(count, 1)]
  return jnp.where(count > 0, lowest, jnp.inf)


def gradient_penalty(
  tx: optax.GradientTransformation,
  *,
  radius: Scalar,
  alpha: Scalar,
  norm: str,
) -> optax.GradientTransformationExtraArgs:
  """Returns an optimizer that also lowers the norms of the gradient.

  Its `update` needs `grad_fn=(params, i) -> gradient`, which `learn.supervised`
  passes.

  Args:
    tx: gets the mean of the gradients here and ahead.
    radius: how far ahead that is, up the gradient.
    alpha: weight of the gradient there.
    norm: the radius is "each" tensor's or that of "all".
  """
  tx = optax.with_extra_args_support(tx)

  def update(grads, state, params, *, grad_fn, **extra):
    whole = optax.tree.norm(grads)

    def ahead(w, g):
      size = whole if norm == "all" else jnp.linalg.norm(g.ravel())
      return w + radius * g / (size + EPS)

    there = grad_fn(jax.tree.map(ahead, params, grads), 0)
    grads = jax.tree.map(lambda g, h: (1 - alpha) * g + alpha * h, grads, there)
    return tx.update(grads, state, params, **extra)

  return optax.GradientTransformationExtraArgs(tx.init, update)
