"""FT-init: fine-tuning from a last layer that is drawn anew.

Min et al., "Towards Stable Backdoor Purification through Feature Shift
Tuning", arXiv 2310.01875, which compares its own method, FST, with it. With
logits z = W^T phi(x) + b, features phi(x) [d], W [d, classes] and b [classes]:

1. W and b are drawn anew, uniformly between -1/sqrt(d) and 1/sqrt(d).
2. All parameters minimize the mean cross-entropy over the clean images, batch
   norm in training mode. A pass costs what one of fine-tuning does.

Constants are those of the authors' code (fine_tune/ft.py and its README): SGD
at .01 with cosine, momentum .9, no weight decay, 10 epochs of batch 128, hard
labels. That code also multiplies W, after each step, so that it has the norm
that the suspect's had, which the paper asks of FST alone. Presets:

- `official`: so it is here, with 2 % clean images, as in the README.

Deviation: the cosine moves with every step, there once an epoch.
"""

from bdjax.defenses.parts import last
from bdjax.methods.signature import Training, validated
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
    name="ft_init",
    keep_norm=keep_norm,
  )
