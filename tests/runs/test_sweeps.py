"""Cells that run as one program give what they give alone."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from bdjax import report
from bdjax.report import results
from bdjax.runs import models, rehearsal, settings, sweeps, widths
from bdjax.runs.cells import Names
from bdjax.training import finite

AXES = "lr=(0.01, 0.05, 1e20)"
SAME = ("attack", "defense", "seed", "ca", "asr", "asr_incl", "ra", "der")


def records(path):
  return results.read(path / "results.jsonl")


@pytest.fixture(scope="module")
def sweeping(config):
  def make(**changes):
    changes = {
      "sweep__axes": AXES,
      "sweep__width": 2,
      "seeds": (0, 1),
    } | changes
    made = config(defense__name="ft(epochs=2)", **changes)
    made["data"] |= {"train_images": 96}
    return made

  return make


@pytest.fixture(scope="module")
def finished(run, sweeping, tmp_path_factory):
  """Returns the workdir of a sweep whose last member diverges."""
  path = tmp_path_factory.mktemp("sweep")
  return path, run(sweeping(), path, fails=2)[0]


def test_members_are_the_cells_alone(run, sweeping, finished, tmp_path):
  path, _ = finished
  # The divergent one is left out: alone, it stops its run's cell as well.
  name = "ft(lr=0.01, epochs=2),ft(lr=0.05, epochs=2)"
  alone = sweeping(sweep__axes="", sweep__width=None)
  alone["defense"]["name"] = name
  run(alone, tmp_path)
  wanted = {(r["seed"], r["defense"]): r for r in records(tmp_path)}
  found = {(r["seed"], r["defense"]): r for r in records(path)}
  assert found.keys() == wanted.keys() and len(found) == 6
  for key, record in found.items():
    for name in SAME:
      assert record[name] == pytest.approx(wanted[key][name], abs=0.045), name
    assert record["cell"] == wanted[key]["cell"]


def test_members_keep_their_curves(sweeping, finished):
  path, _ = finished
  rows = results.read(path / "curves.jsonl")
  found = {
    r["cell"]: r["seed"] for r in records(path) if "0.05" in r["defense"]
  }
  for cell, seed in found.items():
    own = [r for r in rows if r["cell"] == cell]
    assert [(r["stage"], r["epoch"]) for r in own] == [("ft", 1), ("ft", 2)]
    rates = [r["lr"] for r in own]  # of the steps of each epoch
    assert rates == [[pytest.approx(0.05)] * len(rates[0])] * 2, seed
    assert all(0 <= r["accuracy"] <= 1 and r["loss"] > 0 for r in own)
  planted = {r["planted"] for r in records(path)}
  stages = {(r["cell"], r["stage"]) for r in rows}
  assert {(name, "train") for name in planted} <= stages


def test_a_member_that_diverges_fails_alone(finished):
  path, runner = finished
  assert list(runner.failures.values()) == [finite.DIVERGED] * 2
  assert {r["defense"] for r in records(path)} == {
    "none",
    "ft(lr=0.01, epochs=2)",
    "ft(lr=0.05, epochs=2)",
  }


def test_members_that_diverged_are_recorded_and_counted(finished):
  path, _ = finished
  lost = results.read(path / "diverged.jsonl")
  (name,) = {r["defense"] for r in lost}
  assert name.startswith("ft(lr=1e+20") and {r["axis.lr"] for r in lost} == {
    1e20
  }
  assert [r["seed"] for r in lost] == [0, 1]
  found = records(path)[-1]
  for key in ("dataset", "model", "attack", "regime", "scenario"):
    assert {r[key] for r in lost} == {found[key]}
  console = Console(file=io.StringIO(), width=160)
  report.show(path, console)
  assert "2 diverged" in console.file.getvalue()
  assert "lr = 1e+20: 2 of 2 seeds" in report.write(path).read_text()


@pytest.mark.parametrize("together", [True, False])
def test_what_was_planted_by_diverging_loses_its_defenses_too(
  run, sweeping, tmp_path, together
):
  made = sweeping(train__lr=1e20, sweep__axes="", seeds=(0,))
  if together:
    made["sweep"]["axes"] = "lr=(0.01, 0.05)"
  else:
    made["sweep"]["width"] = None
  run(made, tmp_path, fails=2 + together)
  lost = [r["defense"] for r in results.read(tmp_path / "diverged.jsonl")]
  assert lost[0] == "none" and len(lost) == 2 + together
  assert not (tmp_path / "results.jsonl").exists()


def test_a_clean_victim_that_diverges_loses_its_own_seed_alone(
  run, config, tmp_path, monkeypatch
):
  true = models.clean

  def clean(session, cell):
    if cell.seed == 1:
      raise FloatingPointError(finite.DIVERGED)
    return true(session, cell)

  monkeypatch.setattr(models, "clean", clean)
  made = config(
    attack__name="handcrafted",
    attack__rate=None,
    sweep__width=1,
    seeds=(0, 1, 2),
    train__epochs=1,
    defense__name="none",
  )
  run(made, tmp_path, fails=1)
  assert [r["seed"] for r in records(tmp_path)] == [0, 2]
  lost = results.read(tmp_path / "diverged.jsonl", required=results.DIVERGED)
  assert {r["seed"] for r in lost} == {1}


def test_a_program_that_cannot_be_made_fails_its_cells_alone(
  run, sweeping, finished, tmp_path, monkeypatch
):
  path, _ = finished
  monkeypatch.setattr(rehearsal, "check", lambda plan: None)  # it would refuse
  made = sweeping(sweep__axes="", scenario="standalone")
  made["defense"]["name"] = "ft(part=head),clp"
  runner, _ = run(made, tmp_path, store=path / "models", fails=2)
  assert all("no head apart" in text for text in runner.failures.values())
  assert [r["defense"] for r in records(tmp_path)] == ["none"] * 2 + ["clp"] * 2


def test_only_what_is_missing_runs_again(run, sweeping, finished):
  path, _ = finished
  lines = (path / "results.jsonl").read_text().splitlines(keepends=True)
  (path / "results.jsonl").write_text("".join(lines[:-1]))
  before = {p.name: p.stat().st_mtime_ns for p in path.glob("models/*")}
  changed = sweeping(sweep__axes="lr=(0.01, 0.05)", sweep__width=1)
  run(changed, path)
  last = json.loads(lines[-1])
  again = records(path)[-1]
  assert again["cell"] == last["cell"]
  for name in SAME:
    assert again[name] == pytest.approx(last[name], abs=0.045)
  after = {p.name: p.stat().st_mtime_ns for p in path.glob("models/*")}
  assert after == before


def planned(config, **changes):
  return settings.plan(config(**changes))


def test_groups_differ_in_numbers_and_seeds_only(config):
  plan = planned(
    config,
    attack__name="badnets(rate=(0.1, 0.2)),badnets(size=4)",
    defense__name="ft,super_ft(phase1_epochs=(1, 2))",
    sweep__axes="momentum=(0.5, 0.9)",
    seeds=(0, 1),
  )
  cells = Names(plan).cells()
  defending = sweeps.defending([cell for cell in cells if cell.defense])
  # 3 attacks x 2 seeds x 2 momenta each.
  assert [len(g.cells) for g in defending] == [12, 12, 12]
  for group in defending:
    assert list(group.numbers) == ["momentum"]
    assert sorted(set(group.numbers["momentum"].tolist())) == pytest.approx(
      [0.5, 0.9]
    )
  planting = sweeps.planting([cell for cell in cells if not cell.defense])
  assert [len(g.cells) for g in planting] == [4, 2]
  np.testing.assert_allclose(planting[0].numbers["rate"], [0.1, 0.2, 0.1, 0.2])
  assert planting[1].numbers == {}


def test_axes_reach_who_takes_them(config):
  plan = planned(
    config,
    defense__name="ft(lr=0.5),ft_sam",
    sweep__axes="lr=(0.1, 0.2), rho=(1, 2)",
  )
  assert [d.label for d in plan.defenses] == [
    "ft(lr=0.5)",
    *(f"ft_sam(lr={a}, rho={b})" for a in (0.1, 0.2) for b in (1, 2)),
  ]
  with pytest.raises(ValueError, match="no attack or defense here takes rhoo"):
    planned(config, sweep__axes="rhoo=(1, 2)")
  with pytest.raises(ValueError, match="axis lr is 0.1: give its values in"):
    planned(config, sweep__axes="lr=0.1")


def test_the_width_is_given_or_measured_once(config, monkeypatch, tmp_path):
  assert widths.chosen(planned(config, sweep__width=3)) == 3
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  speeds = {1: 10.0, 2: 19.0, 4: 30.0, 8: 31.0, 16: 99.0}
  asked = []

  def rate(plan, width):
    asked.append(width)
    return speeds[width]

  monkeypatch.setattr(widths, "rate", rate)
  plan = planned(config, sweep__axes="lr=(0.1, 0.2)")
  assert widths.chosen(plan) == 4  # 8 at once are not worth it
  assert widths.chosen(plan) == 4 and asked == [1, 2, 4, 8]
  other = planned(config, sweep__axes="lr=(0.1, 0.2)", train__batch_size=16)
  speeds[2] = 10.4
  assert widths.chosen(other) == 1


@pytest.mark.parametrize(
  ("rates", "said"), [("0.1", "defend"), ("0.1, 0.2", "defend 2 together")]
)
def test_a_group_of_one_is_called_as_a_cell_is(config, rates, said):
  made = config(defense__name="ft", sweep__axes=f"lr=({rates},)")
  names = Names(settings.plan(made))
  (group,) = sweeps.defending([c for c in names.cells() if c.defense])
  assert group.title(group.cells[0].defense, "defend") == f"ft · {said}"
