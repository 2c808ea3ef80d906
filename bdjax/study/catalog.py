"""The studies there are: a published table or figure each."""

from typing import Any, NamedTuple

from bdjax.methods import signature
from bdjax.study import published

PROTOCOLS = ("paper", "own")
PAPERS = {
  "fmn": (
    "Forget-Me-Not: Making Backdoor Hard to be Forgotten in Finetuning, "
    "anonymous submission to ICLR 2024"
  ),
  "sha": (
    "Sha, He, Berrang, Humbert, Zhang: Fine-Tuning Is All You Need to Mitigate "
    "Backdoor Attacks, arXiv 2212.09067"
  ),
  "": "",  # beyond them
}


class Study(NamedTuple):
  """One published table or figure.

  Attributes:
    title: where it is, and what it shows.
    paper: fmn, sha, or "" for what no paper shows.
    figures: what is redrawn of it: heat, curves, scatter, costs, rates, or
      "by x" and "by x, y": over a setting, a line for each value of another.
    datasets: what its rows leave out; () where they name it, or nobody does.
    wanted: settings of its defenses that its columns leave out.
  """

  title: str
  paper: str
  figures: tuple[str, ...]
  datasets: tuple[str, ...] = ()
  wanted: dict[str, Any] = {}


_CIFAR, _MOVED = ("cifar10",), ("imagenet10", "imagenet10_ft")
STUDIES = {
  "fmn_table1": Study(
    "Table 1: models trained with FMN", "fmn", ("heat", "rates")
  ),
  "fmn_table2": Study(
    "Table 2: defenses on CIFAR-10", "fmn", ("heat", "rates"), _CIFAR
  ),
  "fmn_table3": Study(
    "Table 3: transfer from ImageNet-10 to ten other classes",
    "fmn",
    ("curves",),
    _MOVED,
  ),
  "fmn_table4": Study(
    "Table 4: FMN's two ingredients, CIFAR-10",
    "fmn",
    ("heat", "rates"),
    _CIFAR,
  ),
  "sha_fig2": Study("Figure 2: encoder", "sha", ("curves",)),
  "sha_fig3": Study("Figure 3: transfer", "sha", ("curves", "rates")),
  "sha_fig4": Study("Figure 4: standalone", "sha", ("curves", "rates")),
  "sha_fig5": Study(
    "Figures 5, 7 and 8: comparison of defenses", "sha", ("scatter", "heat")
  ),
  "sha_fig6": Study("Figure 6: cost of defenses", "sha", ("costs",)),
  "sha_fig13": Study(
    "Figure 13: size of the clean set", "sha", ("by clean_rate", "heat")
  ),
  "sha_fig14": Study(
    "Figure 14: rates of conventional fine-tuning", "sha", ("curves",)
  ),
  "sha_fig15": Study(
    "Figure 15: LR MAX1 at a tenth of the clean data",
    "sha",
    ("by lr_max1", "heat", "rates"),
    wanted={"clean_rate": 0.1},
  ),
  "sha_table1": Study(
    "Table 1: super-fine-tuning of three more attacks",
    "sha",
    ("heat",),
    _CIFAR,  # not stated; the dataset of most of its examples
  ),
  "sha_reinjection": Study(
    "Figures 9 to 12: re-injection of a backdoor", "sha", ()
  ),
  "sha_membership": Study("Sequela: membership inference", "sha", ()),
  "super_ft_sensitivity": Study(
    "Which constants super-fine-tuning depends on",
    "",
    ("by cycle_steps, lr_max1", "rates"),
  ),
}


def check(config: dict[str, Any]) -> None:
  """Checks a config's study and protocol, before anything is run.

  Args:
    config: a run's; both keys may be missing.

  Raises:
    ValueError: one is unknown, or the published numbers are not at hand.
  """
  name, protocol = config.get("study", ""), config.get("protocol", "own")
  if name and name not in STUDIES:
    raise ValueError(
      f"unknown study {name!r}: {signature.nearest(name, STUDIES)}"
    )
  if protocol not in PROTOCOLS:
    raise ValueError(
      f"protocol is {protocol!r}, but must be paper, where a config follows "
      "its paper's sizes, or own."
    )
  if name:
    published.folder()


def words(name: str) -> tuple[str, str]:
  """Returns a study's title and the paper that it is of."""
  study = STUDIES[name]
  return study.title, PAPERS[study.paper]
