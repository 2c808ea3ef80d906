"""LP: linear probing, training of the last layer alone.

A baseline of Min et al., "Towards Stable Backdoor Purification through Feature
Shift Tuning", arXiv 2310.01875. Over the clean images, with features phi(x)
[d] that do not change, it minimizes the mean cross-entropy of

    z = W^T phi(x) + b,    W [d, classes], b [classes],

over W and b, from the suspect's. A step costs a forward pass and no backward
pass but the last layer's. Where a head has several layers, the last of them is
meant; `ft(part=head)` trains all of a head.

Constants are those of the authors' code (fine_tune/ft.py and its README): SGD
at .01 with cosine, momentum .9, no weight decay, 10 epochs of batch 128.
Presets:

- `official`: what else that code does, with 2 % clean images. Batch norm is in
  training mode, so that features do change, with its statistics; W is
  multiplied after each step so that it keeps its norm.

Deviation: the cosine moves with every step, there once an epoch.
"""

from bdjax.defenses.parts import last, tuning
from bdjax.methods.signature import Training, validated
from bdjax.training import optimizers
from bdjax.types import Defended, Defense

PRESETS = {"official": last.OFFICIAL | {"moving": True, "keep_norm": True}}


@validated
def make(
  *,
  moving: bool = False,
  keep_norm: bool = False,
  recipe: Training = last.RECIPE,
) -> Defense:
  """Returns the defense.

  Args:
    moving: batch norm is in training mode, and its statistics move.
    keep_norm: hold the last layer's weights at the norm of the suspect's.
    recipe: of training on the clean subset.
  """

  def defend(key, access, fit):
    norm = last.size(access.variables["params"])

    def wrap(tx):
      tx = optimizers.only(tx, last.alone)
      return last.held(tx, norm) if keep_norm else tx

    variables = tuning.fine_tune(
      key,
      access.replace(model=last.Probed(access.model, moving)),
      fit,
      recipe,
      wrap=wrap,
      name="lp",
    )
    return Defended(variables)

  return Defense(defend)
