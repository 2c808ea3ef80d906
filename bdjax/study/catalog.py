"""The studies there are: a published table or figure each."""

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from bdjax.machine import shipped
from bdjax.methods import signature, specs
from bdjax.study import published

STATED = (  # sections that a paper's protocol decides
  *("data", "downstream", "model", "attack", "regime", "train"),
  *("scenario", "defense"),
)
FREE = {  # and what it leaves to a run, or is compared cell by cell
  *(f"{name}.name" for name in STATED if name != "model"),
  *("data.dir", "data.cache", "model.dtype", "train.match"),
}
_UNNAMED = "imagenet10"  # of classes and a size that Forget-Me-Not leaves open
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
  "fmn_a6": Study(
    "Appendix A.6: LIRA with FMN under other defenses",
    "fmn",
    ("heat", "scatter", "rates"),
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
  "later_work": Study(
    "Defenses and durable attacks published since", "", ("heat", "scatter")
  ),
}


def of(config: dict[str, Any]) -> list[str]:
  """Returns the studies that a config names, with commas between them."""
  return [name for name in config.get("study", "").split(",") if name]


def check(config: dict[str, Any]) -> None:
  """Checks a config's studies, before anything is run.

  Args:
    config: a run's; the key may be missing.

  Raises:
    ValueError: it is unknown, or the published numbers are not at hand.
  """
  for name in of(config):
    if name not in STUDIES:
      raise ValueError(
        f"unknown study {name!r}: {signature.nearest(name, STUDIES)}"
      )
    published.folder()


def follows(study: str, config: dict[str, Any]) -> bool:
  """Returns whether a run has the sizes and settings of its study's paper.

  They are those of the preset `paper` in configs/papers.

  Args:
    study: its name.
    config: the run's.
  """
  if not STUDIES[study].paper or "data" not in config:
    return False
  names = [config[k]["name"] for k in ("data", "downstream") if config.get(k)]
  if any(str(name).startswith(_UNNAMED) for name in names):
    return False
  preset = _presets(study)
  try:
    wanted = preset(",".join(("paper", *filter(None, names))))
  except ValueError:  # as many data sets as the study has not
    wanted = preset("paper")
  return _stated(config) == _stated(wanted.to_dict())


def stated(study: str, methods: Sequence[specs.Spec]) -> bool:
  """Returns whether methods have no arguments but those of the paper's preset.

  Args:
    study: its name.
    methods: attack, regime and defense of a record.
  """
  config = _presets(study)("paper")
  sections = (config[name]["name"] for name in ("attack", "regime", "defense"))
  known = [
    one
    for text in sections
    for spec in specs.parse(text)
    for one in specs.expand(spec, {})
  ]
  return all(not spec.args or spec in known for spec in methods)


def scenario(study: str) -> str:
  """Returns the scenario that a study is of, by its name alone.

  Args:
    study: its name.
  """
  (spec,) = specs.parse(_presets(study)("paper").scenario)
  return spec.name


def _presets(study: str) -> Any:
  shipped.importable()
  return importlib.import_module(f"configs.papers.{study}").get_config


def _stated(config: dict[str, Any]) -> dict[str, Any]:
  leaves = {}
  for section in STATED:
    value = config.get(section)
    keys = value if isinstance(value, dict) else {section: value}
    leaves |= {f"{section}.{key}": leaf for key, leaf in keys.items()}
  return {k: v for k, v in leaves.items() if v is not None and k not in FREE}


def words(name: str) -> tuple[str, str]:
  """Returns a study's title and the paper that it is of."""
  study = STUDIES[name]
  return study.title, PAPERS[study.paper]
