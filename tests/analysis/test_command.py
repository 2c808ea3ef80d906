"""The command on a tiny run, and what it says where it cannot work."""

import io
import json
import re

import pytest
from rich.console import Console

from bdjax import report
from bdjax.analysis import cases, command, features, norms
from bdjax.analysis.asked import PARTS, Asked
from bdjax.cli import looking, program
from bdjax.runs import settings
from bdjax.runs.cells import Names

FEW = {
  **{"images": 50, "points": 3, "grid": 3, "surface_images": 20, "span": 0.1},
  **{"embedding": "pca", "embedding_images": 30, "layers": 1},
}


def looked(workdir, **more):
  """Runs the command and returns what it says."""
  console = Console(file=io.StringIO(), width=200)
  asked = Asked(str(workdir), **(FEW | more))
  assert command.run(asked, console) == {}
  return console.file.getvalue()


@pytest.fixture(scope="module")
def done(config, run, tmp_path_factory):
  """Returns a run's workdir that was looked into, and what was said."""
  path = tmp_path_factory.mktemp("run") / "w"
  few = {"train__epochs": 1, "defense__epochs": 1, "evaluate__curve_images": 0}
  run(config(**few), path)
  return path, looked(path)


def read(path, kind):
  """Returns the parts of a kind, the planted model's first."""
  files = (path / "analysis").glob(f"{kind}-*.json")
  found = [json.loads(file.read_text()) for file in files]
  return sorted(found, key=lambda part: part["about"]["defense"] != "none")


def test_the_ends_of_the_line_are_what_the_run_recorded(done):
  path, said = done
  assert "5 parts to compute" in said
  (line,) = read(path, "line")
  (record,) = [r for r in report.load(path).cells if r["defense"] == "ft"]
  for name in ("ca", "asr"):
    values = line["numbers"][name]
    assert values[0] == pytest.approx(record[f"{name}_before"], abs=1e-5)
    assert values[-1] == pytest.approx(record[name], abs=1e-5)
  assert line["about"]["cell"] == record["cell"]
  assert line["summary"].keys() == {"barrier", "half"}


def test_parts_hold_what_was_asked_for(done):
  path, _ = done
  (tac,), (surface,) = read(path, "tac"), read(path, "surface")
  planted, repaired = read(path, "features")
  (layer,) = tac["numbers"]["layers"]
  assert layer["layer"] == "layer3" and len(layer["after"]["tac"]) == 16
  assert len(surface["numbers"]["asr"]) == 3 == len(surface["numbers"]["steps"])
  assert planted["about"]["defense"] == "none"
  assert repaired["about"]["defense"] == "ft"
  assert len(planted["numbers"]["clean"]) == 30
  for kind, count in (("svg", 7), ("png", 7)):
    assert len(list((path / "analysis").glob(f"*.{kind}"))) == count


def test_the_page_shows_why(done):
  path, _ = done
  page = report.write(path).read_text()
  assert '<h2 id="why">Why</h2>' in page and 'href="#why"' in page
  section = page.partition('id="why"')[2].partition("<h2")[0]
  labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', section)
  assert len(labels) == 7 and len(set(labels)) == 7


def test_what_is_there_is_kept_and_other_numbers_replace_it(done):
  path, _ = done
  before = {p: p.stat().st_mtime_ns for p in (path / "analysis").iterdir()}
  assert "0 parts to compute, 5 are there" in looked(path)
  after = {p: p.stat().st_mtime_ns for p in (path / "analysis").iterdir()}
  assert before == after
  said = looked(path, parts=("line",), points=2, statistics="recomputed")
  assert "1 parts to compute, in" in said
  (line,) = read(path, "line")
  assert line["numbers"]["share"] == [0, 1]
  assert line["settings"]["statistics"] == "recomputed"


def test_a_damaged_part_is_computed_again(done):
  path, _ = done
  file = next((path / "analysis").glob("tac-*.json"))
  whole = file.read_text()
  file.write_text(whole[:50])
  assert "1 parts to compute, in" in looked(path, parts=("tac",))
  assert file.read_text() == whole


def test_cells_may_be_chosen(done, tmp_path):
  path, _ = done
  said = looked(
    path, cells=("*/*/none",), parts=("features",), out=str(tmp_path / "o")
  )
  assert "1 parts to compute" in said
  with pytest.raises(ValueError) as raised:
    looked(path, cells=("wanet",))
  assert str(raised.value) == (
    f"--cells is 'wanet', but {path} has no such finished cell: one that it "
    "has is 'badnets/conventional/ft/0'."
  )


def test_a_planted_model_that_is_elsewhere_is_asked_for(done, tmp_path):
  path, _ = done
  with pytest.raises(ValueError, match="is not at .*: give .* with --store"):
    looked(path, store=str(tmp_path))


def test_other_scenarios_are_refused(config):
  encoder = config(scenario="transfer", downstream__name="synthetic")
  with pytest.raises(ValueError, match="scenario is transfer, but analysis"):
    cases.plan(encoder)


RECORD = {
  **{"cell": "abc", "attack": "lf", "regime": "fmn(lr_min=0.1)", "seed": 3},
  "defense": "ft(lr=0.05)",
}


@pytest.mark.parametrize(
  ("pattern", "is_like"),
  [
    ("lf", True),
    ("l*", True),
    ("lf/fmn", False),
    ("lf/fmn*", True),
    ("//ft*/3", True),
    ("*/*/ft(lr=0.05)", True),
    ("*/*/*/4", False),
    ("*/*/*/3/x", False),
    ("abc", True),
    ("ab", False),
  ],
)
def test_patterns(pattern, is_like):
  assert cases.like(RECORD, pattern) is is_like


def test_keys_that_the_command_line_set_are_found_again(config):
  changed = config(defense__name="ft,super_ft.scarce", defense__lr_max1=0.07)
  set_there = settings.plan(changed, frozenset({"defense.lr_max1"}))
  kept = json.loads(json.dumps(set_there.config))  # as its folder has it
  done, again, plain = (
    [names.id(cell) for cell in names.cells()]
    for names in map(Names, (set_there, cases.plan(kept), cases.plan(changed)))
  )
  assert again == done
  assert plain[-1] != done[-1]


def test_a_cell_that_other_code_has_named_is_known_by_its_methods(config):
  names = Names(settings.plan(config()))
  root, cell = names.cells()
  record = RECORD | {"attack": "badnets", "regime": "conventional", "seed": 0}
  assert cases.finished(names, [record]) == {}
  record["defense"] = "ft"
  assert cases.finished(names, [record]) == {cell: record}


def test_flags_say_what_the_analysis_takes():
  given = vars(program.parse(["analysis", "w"], "bdjax"))
  defaults = Asked("w")._asdict() | {"cells": []}
  assert {name: given[name] for name in defaults} == defaults
  assert looking.PARTS == PARTS
  assert looking.STATISTICS == norms.STATISTICS
  assert looking.EMBEDDINGS == features.EMBEDDINGS
  given = program.parse(["analysis", "w", "--parts=line,tac,line"], "bdjax")
  assert given.parts == ("line", "tac")
  wrongs = ("--parts=lin", "--span=0", "--span=x", "--points=1", "--grid=4")
  for wrong in wrongs:
    with pytest.raises(ValueError, match=wrong[2:6]):
      program.parse(["analysis", "w", wrong], "bdjax")
