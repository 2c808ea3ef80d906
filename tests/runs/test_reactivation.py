"""Sequela that show models the trigger: who is asked, and what is counted."""

import pytest

from bdjax.estimate import command
from bdjax.report import leftovers, results
from bdjax.report.results import CLEAN_MODEL
from bdjax.runs import sequel_cells, settings
from bdjax.runs.cells import Names

SMALL = "images=40, epochs=2, batch_size=20"
REACTIVATION = f"reactivation({SMALL}, rounds=3, bound=0.2)"
QRA = f"qra({SMALL}, rate=0.25, width=16)"
FT = "ft(lr=0.02)"
MODELS = (CLEAN_MODEL, "none", f"{CLEAN_MODEL}, {FT}", FT)


@pytest.fixture(scope="module")
def made(config):
  """Returns the maker of this file's configs."""
  own = {"train__epochs": 4, "train__lr": 0.1, "evaluate__curve_images": 0}
  own |= {"defense__name": FT, "defense__epochs": 2}
  own |= {"sequela": {"name": f"{REACTIVATION},{QRA}"}}
  return lambda **changes: config(**(own | changes))


@pytest.fixture(scope="module")
def finished(run, tmp_path_factory, made):
  path = tmp_path_factory.mktemp("run")
  run(made(), path)
  return path


def test_every_model_is_asked_with_the_trigger(finished):
  records = results.read(finished / "sequela.jsonl")
  found = {(r["kind"], leftovers.named(r)): r for r in records}
  assert set(found) == {(k, m) for k in ("reactivation", "qra") for m in MODELS}
  assert {r["attack"] for r in records} == {"badnets"}  # of clean models too
  cells = {r["defense"]: r for r in results.read(finished / "results.jsonl")}
  for (kind, model), record in found.items():
    if model in cells:  # they were scored as everywhere
      asr = cells[model]["asr"]
      assert record["asr_before"] == pytest.approx(asr, abs=1e-6), (kind, model)
    assert record["seconds_train"] > 0 and record["seconds_eval"] > 0
  bec = {m: found["reactivation", m]["bec"] for m in MODELS}
  assert bec["none"] == pytest.approx(1, abs=1e-4) and bec[CLEAN_MODEL] == 0
  assert 0 < bec[FT] < 1  # or else it would say little
  itself = found["reactivation", CLEAN_MODEL]
  assert itself["reactivated"] == itself["on_clean"]
  assert not list((finished / "stages").glob("*"))


def test_attacks_without_poisons_are_asked_too(made):
  plan = settings.plan(made(attack__name="clean"))
  asked = sequel_cells.of(plan, Names(plan)).values()
  assert len(asked) == 2 * len(MODELS)
  alone = [x for x in asked if x.clean and x.cell.defense]
  assert len(alone) == 2 and all(x.planted for x in alone)


@pytest.mark.parametrize(
  ("name", "text"),
  [
    ("reactivation(images=190)", "needs 190 training images .* there are 1"),
    ("qra(images=390)", "needs 195 training images .* badnets"),
    ("reactivation(images=40)", "batch_size=....' is 128, .* 40"),
    ("reactivation(norm='l1')", "reactivation.norm=....' is 'l1'"),
    ("qra(teacher='me')", "qra.teacher=....' is 'me'"),
  ],
)
def test_what_cannot_be_asked_is_refused_at_once(made, name, text):
  with pytest.raises(ValueError, match=text) as error:
    settings.plan(made(sequela={"name": name}))
  assert "\n" not in str(error.value)


def test_an_estimate_counts_searches_and_what_follows(made):
  plan = settings.plan(made())
  found = {item.label: item for item in command.items(plan)}
  assert "train shadow models" not in found
  assert found["train clean victims"].count == 1
  assert found[FT].count == 2  # of the clean model as well
  stages = {
    label: {s.name: s.steps for s in found[label].stages}
    for label in (REACTIVATION, QRA)
  }
  assert stages[REACTIVATION] == {"reactivation": 4, "universal": 4}
  # Batches of 50 out of a quarter of 200 images, for 5 epochs.
  assert stages[QRA] == {"teacher": 5, "qra": 4}
  one, other = found[REACTIVATION].stages
  assert one.flop == other.flop
  # A forward pass, and back to the images, of 20 of them, 4 x 3 times; scoring
  # is of a planted model's 50 images, clean and triggered.
  forward = found["plant badnets, conventional"].scoring / 100
  assert one.flop == pytest.approx(2 * 240 * forward, rel=0.01)
  # 250 answers; of 50 images, layers of three models and those of a pair.
  passes = found[REACTIVATION].scoring / forward
  assert 250 + 3 * 50 + 100 <= passes < 600
  assert found[QRA].scoring >= 200 * forward
  assert found[QRA].count == found[REACTIVATION].count == len(MODELS)
