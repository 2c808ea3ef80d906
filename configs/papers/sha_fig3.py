"""Figure 3 of Sha et al.: backdoors in a model that is adapted to another task.

    python -m bdjax.launch --config configs/papers/sha_fig3.py
    python -m bdjax.launch \\
        --config configs/papers/sha_fig3.py:paper,cifar100,gtsrb

Source: arXiv 2212.09067, section 5.2: planted on cifar100, the head replaced,
the whole model tuned on cifar10 or gtsrb, conventionally and by
super-fine-tuning. The report's curves are the figure: ASR and CA by epoch.

Published, cifar100 to cifar10: BadNets' ASR 22.1 after 100 epochs of
fine-tuning, 9.6 after three of super-fine-tuning (docs/published/sha_fig3.csv).

Presets, see _presets.py; `small` without the random crop, on 5,000 images of
the user's, 10 epochs, fine-tuning at .01, five epochs of phase 1.
Time: `smoke` took 89 s of processor time (measured, one core); else not run
yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets


def get_config(argument: str = "small") -> ConfigDict:
  """Returns five attacks, adapted in two ways.

  Args:
    argument: "preset" or "preset,source,target".
  """
  preset, source, target = _presets.parse(argument, "cifar100", "cifar10")
  config = _presets.sha("sha_fig3", preset, source)
  config.scenario = "transfer"
  config.downstream.name = target
  config.defense.name = "ft.sha,super_ft.paper"
  if preset == "small":
    config.downstream.train_images = 5_000
    config.defense.name = "ft.sha(lr=0.01),super_ft.paper(phase1_epochs=5)"
    config.defense.epochs = 10
    config.evaluate.curve_every = 1
  if preset == "smoke":
    config.downstream.update({"train_images": 300, "test_images": 200})
  return config
