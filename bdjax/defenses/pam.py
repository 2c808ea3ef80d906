"""PAM: path-aware minimization, fine-tuning by gradients nearer the suspect.

Min et al., "Uncovering, Explaining, and Mitigating the Superficial Safety of
Backdoor Defense", arXiv 2410.09838. It finds that repaired models have not gone
far from the suspect along the straight path between both, so that few poisoned
images bring the backdoor back. With weights w [P] and those of the suspect w0
[P], which w starts at, each step takes the gradient at a point of that path,

    v = w + rho (w0 - w) / |w0 - w|,    w <- w - lr dL/dv,

L the mean cross-entropy of a batch of clean images and |.| the Euclidean norm
over all weights. What works at v, nearer to the suspect, must not rely on its
neighborhood, so that w is driven further away along the path. At first w = w0
and v = w; and where w is nearer than rho, v lies beyond w0.

Batch norm is in training mode, and its statistics are those of the pass at v.
A step costs what one of fine-tuning does: one pass forward and back. Loss and
accuracy of the curve are those at v; weight decay and momentum act at w.

The step is that of the authors' code (fine_tune/sam.py, class PAM), which adds
1e-12 to the norm and calls the direction that it is given `net_poison`. That
this is w0 - w, from the model to the suspect, is how the paper's abstract is
read here: its algorithm was not at hand, nor was the code that calls it. The
paper's ablation has rho of .3, .5, .7 and .9 on CIFAR-10 (that code's own
default is .05, SAM's); .5 is chosen among them. The other constants are chosen
too, as those of the same authors' FST: SGD at .01 with cosine, momentum .9, no
weight decay, 10 epochs of batch 128. Presets:

- `official`: the defaults with as much clean data as FST has there, 2 %.

rho is a length, not a share: with few steps, or a small network, w may be
nearer to w0 than that for long. The code's `adaptive` form is left out.
"""

import flax.struct
import jax
import jax.numpy as jnp
import optax

from bdjax.defenses.parts import last, tuning
from bdjax.machine.keys import key_for
from bdjax.methods.signature import NonNegative, Training, validated
from bdjax.training import learn
from bdjax.types import (
  Access,
  Defended,
  Defense,
  Params,
  Scalar,
  Schedule,
  Step,
)

PRESETS = {"official": last.OFFICIAL}
EPS = 1e-12  # added to the norm


@flax.struct.dataclass
class Path:
  """The model, and the suspect's parameters, from which it moves away."""

  victim: learn.TrainState
  suspect: Params


@validated
def make(
  *,
  rho: NonNegative = 0.5,
  recipe: Training = last.RECIPE,
) -> Defense:
  """Returns the defense.

  Args:
    rho: distance towards the suspect at which gradients are taken.
    recipe: of training on the clean subset.
  """

  def defend(key, access, fit):
    tx, lr = tuning.stepping(access, recipe)
    start = access.variables
    suspect = jax.tree.map(jnp.array, start["params"])
    state = learn.fitted(
      fit,
      key,
      leaving(access, tx, lr, rho),
      Path(learn.begun(start, tx), suspect),
      access.clean,
      recipe,
      name="pam",
    )
    return Defended(state.victim.variables)

  return Defense(defend)


def leaving(
  access: Access, tx: optax.GradientTransformation, lr: Schedule, rho: Scalar
) -> Step:
  """Returns the step, with the gradient at a point nearer to the suspect.

  Args:
    access: its model is trained and its augmentation used.
    tx: the optimizer.
    lr: the rate that it uses, to report it.
    rho: how much nearer.
  """

  def step(key, state, batch):
    batch = access.view(key, batch)
    k_drop = key_for(key, "dropout")
    params, stats = learn.parted(state.victim.variables)

    def objective(params):
      (logits, _), new = learn.forward(
        access.model, params, stats, batch.image, key=k_drop
      )
      return learn.entropy(logits, batch.label), (logits, new)

    grad = jax.value_and_grad(objective, has_aux=True)
    (value, (logits, new)), grads = grad(nearer(params, state.suspect, rho))
    victim = learn.advance(state.victim, grads, new, tx)
    before = state.victim.step
    metrics = learn.report(value, logits, batch.label, before, lr)
    return state.replace(victim=victim), metrics

  return step


def nearer(params: Params, suspect: Params, rho: Scalar) -> Params:
  """Returns the parameters at a distance of rho from some, to the suspect.

  They are the same where both are the same; see the module for v.
  """
  way = jax.tree.map(jnp.subtract, suspect, params)
  share = rho / (optax.tree.norm(way) + EPS)
  return jax.tree.map(lambda w, x: w + share * x, params, way)
