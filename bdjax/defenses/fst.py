"""FST: feature-shift tuning, away from the suspect's last layer.

Min et al., "Towards Stable Backdoor Purification through Feature Shift
Tuning", arXiv 2310.01875. With logits z = W^T phi(x) + b, features phi(x) [d],
W [d, classes], b [classes] and the suspect's W0, over the clean images,

    min  mean CE(z, y) + alpha <W, W0>    such that |W| = |W0|

over all parameters, norm and product over all entries of W:

1. W and b are drawn anew, uniformly between -1/sqrt(d) and 1/sqrt(d).
2. A step of SGD on both terms, batch norm in training mode: the second adds
   alpha W0 to W's gradient. A pass costs what one of fine-tuning does.
3. W <- W |W0| / |W| after each step, and not before the first.

Constants are those of the authors' code (fine_tune/ft.py) and of the command
for CIFAR-10 in its README: alpha .1 (.2 where the code is given none), SGD at
.01 with cosine, momentum .9, no weight decay, 10 epochs of batch 128. Presets:

- `official`: the defaults with as much clean data as in the README, 2 %.

Where a head has several layers, W is that of the last. Deviation: the cosine
moves with every step, there once an epoch.
"""

import jax.numpy as jnp

from bdjax.defenses.parts import last
from bdjax.methods.signature import NonNegative, Training, validated
from bdjax.training import optimizers
from bdjax.types import Defense

PRESETS = {"official": last.OFFICIAL}


@validated
def make(
  *,
  alpha: NonNegative = 0.1,
  recipe: Training = last.RECIPE,
) -> Defense:
  """Returns the defense.

  Args:
    alpha: weight of the product of the last layer's weights with the suspect's.
    recipe: of training on the clean subset.
  """

  def likeness(params, suspect):
    return alpha * jnp.sum(last.kernel(params) * suspect)

  def repelled(tx, suspect):
    return optimizers.penalized(tx, likeness, memory=last.kernel(suspect))

  return last.redrawn(recipe, name="fst", keep_norm=True, wrap=repelled)
