"""FE-tuning: fine-tuning of the features under a last layer drawn anew.

Min et al., "Towards Stable Backdoor Purification through Feature Shift
Tuning", arXiv 2310.01875, which compares its own method, FST, with it. With
logits z = W^T phi(x) + b, features phi(x) [d], W [d, classes] and b [classes]:

1. W and b are drawn anew, uniformly between -1/sqrt(d) and 1/sqrt(d), and
   frozen.
2. All other parameters minimize the mean cross-entropy over the clean images,
   batch norm in training mode. A pass costs what one of fine-tuning does.

Constants are those of the authors' code (fine_tune/ft.py and its README): SGD
at .01 with cosine, momentum .9, no weight decay, 10 epochs of batch 128.
Presets:

- `official`: what else that code does, with 2 % clean images. After the first
  step the frozen W is multiplied so that it has the norm of the suspect's.

Deviation: the cosine moves with every step, there once an epoch.
"""

from bdjax.defenses.parts import last
from bdjax.methods.signature import Training, validated
from bdjax.training import optimizers
from bdjax.types import Defense

PRESETS = {"official": last.OFFICIAL | {"keep_norm": True}}


@validated
def make(
  *,
  keep_norm: bool = False,
  recipe: Training = last.RECIPE,
) -> Defense:
  """Returns the defense.

  Args:
    keep_norm: hold the last layer's weights at the norm of the suspect's.
    recipe: of training on the clean subset.
  """
  return last.redrawn(
    recipe,
    name="fe_tuning",
    keep_norm=keep_norm,
    wrap=lambda tx, _: optimizers.only(tx, last.others),
  )
