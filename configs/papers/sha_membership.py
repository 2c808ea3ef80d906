"""Membership inference after Sha et al.: do defended models tell their data?

    python -m bdjax.launch --config configs/papers/sha_membership.py
    python -m bdjax.launch --config configs/papers/sha_membership.py:gpu

Source: arXiv 2212.09067, which asks it of backdoored and defended models. Which
attacks were run and how members were drawn is not in the texts at hand: the
protocol is our own (bdjax/sequela/membership.py).

Published: no numbers; summaries say that the risk does not grow. It is judged
only of models that memorize (bdjax/report/leftovers.py), which takes long
training on few images.

Presets, see _presets.py; `small` without the random crop, with BadNets and
Blended.
Time: `smoke` took 58 s of processor time (measured, 2 busy cores); else not
run yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets


def get_config(argument: str = "small") -> ConfigDict:
  """Returns attacks and defenses, each asked for its members.

  Args:
    argument: "preset" or "preset,dataset".
  """
  preset, dataset = _presets.parse(argument, "cifar10")
  config = _presets.sha("sha_membership", preset, dataset)
  config.defense.name = "ft.sha,super_ft.paper,super_ft.fmn,nad.bb"
  if preset in ("small", "smoke"):
    config.attack.name = "badnets,blended"
  config.sequela.name = "membership"
  return config
