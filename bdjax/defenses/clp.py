"""CLP: channels whose Lipschitz constant stands out are cut, without any data.

Zheng et al., "Data-free Backdoor Removal based on Channel Lipschitzness",
arXiv 2208.03111. The bound of channel k of a convolution and the batch norm
after it is the largest singular value of its kernel, written as a matrix
[inputs, height * width], times |scale| / standard deviation. In each layer the
channels above mean + u standard deviations (unbiased) lose scale and bias.

Deviations:
- a pair must be exclusive: the norm is all that reads the convolution. The
  authors' code, and BackdoorBench's, pair every batch norm with the convolution
  defined before it. In a pre-activation network that pairs a block's first norm
  with the stem, with the last convolution of the block before or with its
  shortcut's, while the norm reads a sum. Here only the inner pair (conv1, bn2)
  of each block is looked at, unless `compat="backdoorbench"`;
- the standard deviation includes batch norm's epsilon, as the network computes
  it, so that a channel which is always zero stays finite.
Presets: `bb` (u = 3 as well, its pairs), `tiny` (u = 5, that benchmark's for
Tiny ImageNet).
"""

import functools
from collections.abc import Sequence

from bdjax.defenses.parts import pruning
from bdjax.machine import programs
from bdjax.machine.backend import exact
from bdjax.methods.signature import Compat, NonNegative, validated
from bdjax.models.parts import lipschitz, pairs
from bdjax.types import Array, Defended, Defense, Params, Scalar

PRESETS = {
  "bb": {"compat": "backdoorbench"},
  "tiny": {"u": 5.0},
}


@validated
def make(*, u: NonNegative = 3.0, compat: Compat = "paper") -> Defense:
  """Returns the defense.

  Args:
    u: standard deviations above a layer's mean from which a channel is cut.
    compat: "backdoorbench" pairs layers in the order of their definition.
  """
  adjacent = compat == "backdoorbench"

  def defend(key, access, fit):
    del key, fit
    layers = pairs.find(access.variables["params"], adjacent=adjacent)
    prune = programs.jit(functools.partial(_prune, layers))
    variables, memo = prune(access.variables, u)
    return Defended(variables, memo=memo)

  return Defense(defend, tunes=False)


@exact
def _prune(
  layers: Sequence[pairs.Pair], variables: Params, u: Scalar
) -> tuple[Params, dict[str, Array]]:
  bounds = {p.norm: lipschitz.bound(variables, p) for p in layers}
  which = {k: lipschitz.outliers(values, u) for k, values in bounds.items()}
  memo = {"pruned": pruning.count(which)}
  return pruning.cut(variables, which, bias=True), memo
