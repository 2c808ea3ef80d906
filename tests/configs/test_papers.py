"""The papers' studies: every config and preset makes a plan, and says whose."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from bdjax import data
from bdjax.data import catalog
from bdjax.runs import rehearsal, settings
from bdjax.study import catalog as study_catalog
from bdjax.types import Dataset

TOP = Path(__file__).parents[2]
FOLDER = TOP / "configs" / "papers"
STUDIES = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem[0] != "_")
PRESETS = ("paper", "gpu", "small", "evidence", "smoke")
BEYOND = ("super_ft_sensitivity", "later_work")  # no studies of the papers
UNPUBLISHED = {  # words of docs/published/README.md's list of what has no file
  "fmn_a6": "LIRA with FMN under other defenses (A.6)",
  "sha_fig14": "Figure 14",
  "sha_membership": "membership inference",
  "sha_reinjection": "re-injection",
}
SIZES = {"imagenet10": 13_000, "stl10@32": 5_000}  # others: 50,000


def module(study):
  return importlib.import_module(f"configs.papers.{study}")


def made(study, argument):
  return module(study).get_config(argument)


@pytest.fixture
def nowhere(monkeypatch):
  """Makes every dataset one of black images, which need no memory."""

  def info(name, *, data_dir=None):
    base, size = catalog.parse(name)
    found = catalog.KNOWN[base]._replace(name=name)
    return found._replace(shape=(size, size, 3)) if size else found

  def load(name, split, *, images=None, **places):
    count = images or SIZES.get(name, 50_000)
    black = np.broadcast_to(np.uint8(0), (count, *info(name).shape))
    label = np.arange(count, dtype=np.int32) % info(name).num_classes
    return Dataset(black, label)

  monkeypatch.setattr(data, "info", info)
  monkeypatch.setattr(data, "load", load)


def test_all_studies_are_here():
  published = {p.stem for p in (TOP / "docs" / "published").glob("*.csv")}
  assert set(STUDIES) == published | UNPUBLISHED.keys() | {*BEYOND}


@pytest.mark.parametrize("study", UNPUBLISHED)
def test_what_has_no_published_file_is_said_to_have_none(study):
  readme = (TOP / "docs" / "published" / "README.md").read_text()
  none = re.search(r"^No file: .*?\n\n", readme, re.DOTALL | re.MULTILINE)
  assert UNPUBLISHED[study] in " ".join(none.group().split())
  assert not (TOP / "docs" / "published" / f"{study}.csv").exists()


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_makes_a_plan(study, preset, nowhere, monkeypatch):
  """And its methods can work there, which is tried for two sizes."""
  if preset not in ("paper", "small"):
    monkeypatch.setattr(rehearsal, "check", lambda plan: None)
  config = made(study, preset)
  assert study in study_catalog.of(config)
  papers = preset == "paper" and study not in (*BEYOND, "fmn_table3")
  assert study_catalog.follows(study, config.to_dict()) == papers
  plan = settings.plan(config.to_dict())
  assert plan.attacks
  assert plan.defenses or study == "fmn_table1"
  if preset == "smoke":
    assert plan.info.name == plan.user.info.name == "synthetic"


@pytest.mark.parametrize("study", STUDIES)
def test_a_docstring_gives_command_source_and_time(study):
  text = module(study).__doc__
  command = f"python -m bdjax.launch --config configs/papers/{study}.py"
  assert f"\n    {command}\n" in text
  assert "arXiv 2212.09067" in text or "Forget-Me-Not" in text
  assert re.search(r"^Time: .*(not run yet|estimated|measured)", text, re.M)
  named = re.findall(r"docs/published/(\w+)\.csv", text)
  assert named == [study] or study in {*UNPUBLISHED, *BEYOND}


@pytest.mark.parametrize("study", STUDIES)
def test_small_is_the_default(study):
  assert module(study).get_config() == made(study, "small")


@pytest.mark.parametrize("study", STUDIES)
def test_an_unknown_preset_is_refused_in_one_sentence(study):
  text = f"there is no preset 'tiny': choose one of {', '.join(PRESETS)}."
  with pytest.raises(ValueError, match=re.escape(text)):
    made(study, "tiny")


def test_other_datasets_may_be_named():
  config = made("fmn_table1", "gpu,celeba8")
  assert config.data.name == "celeba8" and config.model.name == "resnet18"
  assert "l0_inv" not in config.attack.name  # the paper has it on CIFAR-10 only
  config = made("sha_fig3", "small,cifar100,gtsrb")
  assert (config.data.name, config.downstream.name) == ("cifar100", "gtsrb")
  with pytest.raises(
    ValueError, match="names 1 datasets, but this study has 2"
  ):
    made("sha_fig3", "small,gtsrb")
  assert made("fmn_table3", "paper").data.name == "imagenet10"
  assert made("fmn_table3", "small").data.name == "cifar100"


def test_constants_are_those_of_the_papers(nowhere):
  """FMN, section 4.3; Sha et al., supplement A.2."""
  plan = settings.plan(made("fmn_table2", "paper").to_dict())
  assert {attack.args["rate"] for attack in plan.attacks} == {0.05}
  guards = {guard.label: guard for guard in plan.defenses}
  shares = {label: guard.holding.rate for label, guard in guards.items()}
  assert shares.pop("super_ft.fmn") == 0.2
  assert set(shares.values()) == {0.05}
  epochs = {label: guard.args["epochs"] for label, guard in guards.items()}
  assert epochs.pop("nad.fmn") == 20 == guards["nad.fmn"].args["teacher_epochs"]
  assert set(epochs.values()) == {100}
  plan = settings.plan(made("sha_fig4", "paper").to_dict())
  recipe = plan.recipe
  assert (recipe.epochs, recipe.batch_size, recipe.lr) == (200, 256, 1e-3)
  assert {attack.args["rate"] for attack in plan.attacks} == {0.1}
  for guard in plan.defenses:
    assert guard.holding.rate == 1 and guard.args["epochs"] == 100


@pytest.mark.parametrize("study", [s for s in STUDIES if "sha" in s])
def test_badnets_is_small_without_the_crop(study):
  config = made(study, "small")
  assert "badnets" not in config.attack.name or config.data.crop == 0
