"""NFT: neural mask fine-tuning, soft masks of neurons tuned on mixed images.

Karim et al., "Augmented Neural Fine-Tuning for Efficient Backdoor
Purification", arXiv 2407.10052. The weights stay; a mask m in [mu, 1] on each
channel, one at the start, is trained on mixtures of clean images (MixUp, Zhang
et al., arXiv 1710.09412). A step draws u from Beta(mixup, mixup) and an order r
of the batch's B images x [B, H, W, C] with labels y, takes

    x' = u x + (1 - u) x_r
    L = mean(u CE(f(x'), y) + (1 - u) CE(f(x'), y_r))
        + (eta / n) sum |1 - m|,

n being clean images per class and the sum over all masks [channels], and then a
step of SGD on the masks, clipped to [mu(l), 1] with mu(l) = alpha exp(-beta l),
where l = 1, 2, .. counts the masked layers from the input on. Batch norm is in
training mode and its statistics move. A pass costs at most one of fine-tuning.

A mask multiplies the scale of a batch norm and leaves its bias, as in the
authors' code (github.com/nazmul-karim170/NFT): it ends up in the scale, and the
repaired model is of the suspect's form. Where a model has residual blocks,
those inside the blocks have masks and the stem's has none. All constants are
the defaults of that code (Remove_Backdoor.py, mask_filter.py) too: 1,000 steps
of batch 128, momentum .95, a rate from .05 down a cosine towards .02, mixup 1,
eta .001, alpha .8, beta .5, crop and flip before mixing. Not verified: whether
the paper states other ones. Preset:

- `official`: the defaults with as much clean data, 1 %.

Deviations: the cosine moves with every step, there in five stages; batches come
from shuffled epochs, rounded up to whole ones, not from draws with replacement.
Layers are counted in the order of their names, numbers as such, which is that
of the network but for a ResNet-9's residual pair, which comes last, and inside
the blocks of MobileNets and EfficientNets.
"""

import math
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from bdjax.defenses.parts import depth, pruning
from bdjax.methods.signature import (
  TRAINING,
  Annotated,
  Fraction,
  Index,
  NonNegative,
  Positive,
  validated,
)
from bdjax.training import engine, learn, optimizers
from bdjax.types import (
  Access,
  Array,
  Batch,
  Defended,
  Defense,
  Key,
  Labels,
  Logits,
  Params,
  Recipe,
  Scalar,
  Schedule,
  Step,
)

PRESETS = {"official": {"clean_rate": 0.01}}
BLOCK = re.compile(r"(^|/)layer\d+_\d+/")

Tuned = Annotated[
  Recipe, TRAINING.without("epochs", "schedule", "weight_decay")
]


class Masking(NamedTuple):
  """Masks in training, the masked model, and the one that they mask."""

  masks: pruning.Masks
  victim: learn.TrainState
  suspect: Params  # its parameters


@validated
def make(
  *,
  eta: NonNegative = 1e-3,
  alpha: Fraction = 0.8,
  beta: NonNegative = 0.5,
  mixup: Positive = 1.0,
  recipe: Tuned = Recipe(lr=0.05, momentum=0.95, batch_size=128),
  lr_end: NonNegative = 0.02,
  iterations: Index = 1000,
) -> Defense:
  """Returns the defense.

  Args:
    eta: weight of the masks' distance from one, divided by the number of clean
      images per class.
    alpha: lowest mask of a layer before the first one.
    beta: how fast the lowest mask falls from layer to layer.
    mixup: both parameters of the Beta distribution of shares; less mixes less.
    recipe: of training the masks.
    lr: learning rate of the masks at the start.
    lr_end: towards which it falls.
    iterations: training steps, rounded up to whole epochs; 0 masks nothing.
  """

  def defend(key, access, fit):
    size = access.clean.size
    steps = engine.steps_per_epoch(size, recipe.batch_size)
    epochs = math.ceil(iterations / steps)
    lr = falling(recipe.lr, lr_end, steps=epochs * steps)
    tx = optimizers.sgd(lr, momentum=recipe.momentum, weight_decay=0.0)
    masks = ones(access.variables)
    low = lowest(masks, alpha=alpha, beta=beta)
    victim = learn.TrainState(
      access.variables, tx.init(masks), jnp.zeros((), jnp.int32)
    )
    state = learn.fitted(
      fit,
      key,
      masking(access, tx, lr, low, eta=eta / size, mixup=mixup),
      Masking(masks, victim, access.variables["params"]),
      access.clean,
      recipe.replace(epochs=epochs),
      name="nft",
    )
    return Defended(state.victim.variables)

  return Defense(defend)


def ones(variables: Params) -> pruning.Masks:
  """Returns the masks that change nothing, [channels] by batch norm.

  Raises:
    ValueError: the model has no batch norm with a scale and a bias.
  """
  masks = pruning.ones(variables)
  inside = {path: mask for path, mask in masks.items() if BLOCK.search(path)}
  return inside or masks


def lowest(
  masks: pruning.Masks, *, alpha: Scalar, beta: Scalar
) -> dict[str, Array]:
  """Returns the lowest values that masks may have, mu(l), by batch norm."""
  places = enumerate(sorted(masks, key=depth.counted), 1)
  return {path: alpha * jnp.exp(-beta * place) for place, path in places}


def falling(start: Scalar, end: Scalar, *, steps: int) -> Schedule:
  """Returns half a cosine from one rate to another."""
  wave = optax.cosine_decay_schedule(1.0, max(1, steps))
  return lambda step: end + (start - end) * wave(step)


def masking(
  access: Access,
  tx: optax.GradientTransformation,
  lr: Schedule,
  low: dict[str, Array],
  *,
  eta: Scalar,
  mixup: Scalar,
) -> Step:
  """Returns the step of the masks.

  Args:
    access: its model is masked and its augmentation used.
    tx: of the masks.
    lr: the rate that it uses, to report it.
    low: the masks' lowest values.
    eta: weight of their distance from one, for each class that there is.
  """

  def step(key, state, batch):
    k_view, k_mix, k_drop = jax.random.split(key, 3)
    batch = access.view(k_view, batch)
    images, others, share = mixed(k_mix, batch, mixup)
    _, stats = learn.parted(state.victim.variables)

    def objective(masks):
      params = pruning.scaled({"params": state.suspect}, masks)["params"]
      (logits, _), new = learn.forward(
        access.model, params, stats, images, key=k_drop
      )
      value = entropy(logits, batch.label, others, share)
      weight = eta * logits.shape[-1]
      return value + weight * distance(masks), (logits, new)

    grad = jax.value_and_grad(objective, has_aux=True)
    (value, (logits, new)), grads = grad(state.masks)
    masks, opt_state = state.masks, state.victim.opt_state
    updates, opt_state = tx.update(grads, opt_state, masks)
    masks = optax.apply_updates(masks, updates)
    masks = {path: jnp.clip(m, low[path], 1) for path, m in masks.items()}
    before = state.victim.step
    variables = pruning.scaled({"params": state.suspect, **new}, masks)
    victim = learn.TrainState(variables, opt_state, before + 1)
    metrics = learn.report(value, logits, batch.label, before, lr)
    return Masking(masks, victim, state.suspect), metrics

  return step


def mixed(key: Key, batch: Batch, mixup: Scalar) -> tuple[Array, Labels, Array]:
  """Returns mixed images, the labels of those mixed in, and the others' share.

  One share for all images, in [0, 1].
  """
  k_share, k_order = jax.random.split(key)
  share = jax.random.beta(k_share, mixup, mixup)
  order = jax.random.permutation(k_order, batch.label.size)
  images = share * batch.image + (1 - share) * batch.image[order]
  return images, batch.label[order], share


def entropy(
  logits: Logits, label: Labels, others: Labels, share: Array
) -> Array:
  """Returns the mean cross-entropy of mixed images with both labels."""
  whole, rest = (learn.entropy(logits, one) for one in (label, others))
  return share * whole + (1 - share) * rest


def distance(masks: pruning.Masks) -> Array:
  """Returns the sum of the masks' distances from one."""
  return sum(jnp.sum(jnp.abs(1 - mask)) for mask in masks.values())
