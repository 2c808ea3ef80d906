"""Figures 9 to 12 of Sha et al.: does a removed backdoor return sooner?

    python -m bdjax.launch --config configs/papers/sha_reinjection.py
    python -m bdjax.launch --config configs/papers/sha_reinjection.py:gpu

Source: arXiv 2212.09067, supplement A.3, Figures 9 (Blended), 10 (Input-aware),
11 (LF) and 12 (WaNet): defended models are trained on poisoned data again, and
the accuracy on poisons is drawn by epoch. How they train is not in the texts at
hand: here at .01 for 20 epochs on the set that planted the backdoor, and by the
retuning attack (bdjax/sequela). A defended model compares with a clean one
after the same defense.

Published only as drawings, and summaries that contradict each other, so there
is no file of them.

Presets, see _presets.py; `small` without the random crop, with 10 epochs and
three defenses.
Time: `smoke` took 177 s of processor time (measured, one core); else not run
yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets, sha_fig5

LONG = "reinjection(lr=0.01, epochs=20),retuning"
BRIEF = {
  "small": "reinjection(lr=0.01, epochs=10),retuning",
  "smoke": "reinjection(lr=0.01, epochs=2),retuning(rate=0.1, batch_size=30)",
}


def get_config(argument: str = "small") -> ConfigDict:
  """Returns four attacks, defended, then planted again.

  Args:
    argument: "preset" or "preset,dataset".
  """
  preset, dataset = _presets.parse(argument, "cifar10")
  config = _presets.sha("sha_reinjection", preset, dataset)
  config.attack.name = "blended,inputaware,lf,wanet"
  config.defense.name = "ft.sha," + sha_fig5.defenses(preset)
  if preset in BRIEF:
    config.defense.name = "ft.sha,super_ft.paper,nad.bb"
  config.sequela.name = BRIEF.get(preset, LONG)
  return config
