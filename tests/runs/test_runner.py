import functools
import io

import jax
import numpy as np
import pytest
from rich.console import Console

from bdjax import report
from bdjax.defenses import clp
from bdjax.report import results
from bdjax.runs import experiment, rehearsal, settings
from bdjax.runs import records as records_of
from bdjax.runs.runner import Runner
from bdjax.runs.workdir import Workdir
from bdjax.types import Defense

BOTH = "conventional,fmn"
EXACT = {"precision": "highest"}


@pytest.fixture(scope="module")
def made(config):
  """Returns the maker of this file's configs."""
  return functools.partial(config, defense__epochs=2)


@pytest.fixture(scope="module")
def finished(run, tmp_path_factory, made):
  path = tmp_path_factory.mktemp("run")
  run(made(regime__name=BOTH), path)
  return path


def records(path):
  return results.read(path / "results.jsonl")


def test_a_record_per_cell_with_what_others_rely_on(finished):
  found = records(finished)
  cells = [(r["regime"], r["defense"], r["seed"]) for r in found]
  assert cells == [
    ("conventional", "none", 0),
    ("conventional", "ft", 0),
    ("fmn", "none", 0),
    ("fmn", "ft", 0),
  ]
  wanted = (
    "dataset model attack regime scenario defense seed ca_before asr_before "
    "ra_before ca asr asr_incl ra der seconds_compile seconds_train "
    "seconds_eval device"
  ).split()
  for record in found:
    assert not [k for k in wanted if record.get(k) is None]
    assert all(0 <= record[k] <= 1 for k in ("ca", "asr", "asr_incl", "ra"))
    assert not [v for v in record.values() if isinstance(v, list | dict)]
  none, ft = found[:2]
  assert none["ca"] == none["ca_before"] == ft["ca_before"]
  assert none["der"] == 0.5
  assert ft["clean_images"] == 100 and ft["triggered_images"] == 45


def test_a_stored_models_time_is_of_where_it_was_planted(
  run, made, finished, tmp_path, monkeypatch
):
  none, here = records(finished)[0], records_of.where()
  there = records_of._where() | {"devices": 64, "device": "another"}
  monkeypatch.setattr(records_of, "_where", lambda: there)
  run(made(defense__epochs=0), tmp_path, store=finished / "models")
  again, tuned = records(tmp_path)
  assert again["device_hours"] == none["device_hours"]
  assert (again["devices"], again["device"]) == (
    here["devices"],
    here["device"],
  )
  assert (tuned["devices"], tuned["device"]) == (64, "another")
  hours = tuned["seconds_train"] * 64 / 3600
  assert tuned["device_hours"] == pytest.approx(hours)


def test_curves_and_pictures_are_kept(finished):
  rows = results.read(finished / "curves.jsonl")
  assert all("asr" in row and "ca" in row for row in rows)
  stages = [(r["stage"], r["epoch"], r.get("turn")) for r in rows]
  plain = [("train", 1, None), ("train", 2, None)]
  tuned = [("ft", 1, None), ("ft", 2, None)]
  longer = [("train", e, f"{2 - e % 2}/2") for e in (1, 2, 3, 4)]
  assert stages == plain + tuned + longer + tuned
  assert records(finished)[0]["train_accuracy"] == rows[1]["accuracy"]
  planted = records(finished)[0]["planted"]
  with np.load(finished / "pictures" / f"{planted}.npz") as arrays:
    changed = (arrays["clean"] != arrays["triggered"]).any((0, 3))
    assert changed[-3:, -3:].all() and not changed[:-3].any()
    assert (arrays["target"] == 0).all() and (arrays["label"] != 0).all()
  assert not list((finished / "stages").glob("*"))


def test_equal_steps_a_planted_start_and_the_floor(run, made, tmp_path):
  config = made(
    regime__name="conventional,fmn(start=planted)",
    train__match="steps",
    train__epochs=4,
    evaluate__floor=True,
  )
  run(config, tmp_path)
  rows = results.read(tmp_path / "curves.jsonl")
  fmn = records(tmp_path)[2]["planted"]
  stages = [(r["stage"], r["epoch"]) for r in rows if r["cell"] == fmn]
  halves = [(stage, e) for stage in ("planted", "train") for e in (1, 2)]
  assert stages == halves
  none, ft, other, again = records(tmp_path)
  assert none["clean_asr"] == other["clean_asr"] < 1
  assert (ft["clean_ca"], ft["clean_asr"]) == (
    again["clean_ca"],
    again["clean_asr"],
  )
  assert none["planted"] != other["planted"]


def test_a_finished_run_does_nothing(run, made, finished):
  before = (finished / "results.jsonl").read_bytes()
  runner, _ = run(made(regime__name=BOTH), finished)
  assert runner.todo() == []
  assert (finished / "results.jsonl").read_bytes() == before


def test_another_defense_reuses_the_planted_models(run, made, finished):
  models = {p.name: p.stat().st_mtime_ns for p in finished.glob("models/*")}
  assert len(models) == 2
  run(made(defense__name="ft,ft(lr=0.05)"), finished)
  found = records(finished)
  assert [r["defense"] for r in found][4:] == ["ft(lr=0.05)"]
  assert found[4]["planted"] == found[0]["planted"]
  assert models == {
    p.name: p.stat().st_mtime_ns for p in finished.glob("models/*")
  }


def test_attacks_share_the_clean_classifier_and_the_regimes_that_apply(
  run, made, tmp_path
):
  edited, excited = "handcrafted(images=32)", "l2_inv(images=8, rounds=2)"
  changes = {"defense__name": "none", "regime__name": BOTH}
  first = made(attack__name=edited, **changes)
  first["attack"].pop("rate")
  run(first, tmp_path)
  found = records(tmp_path)
  assert [r["regime"] for r in found] == ["conventional"]
  (clean,) = {p.name for p in tmp_path.glob("models/*")} - {found[0]["planted"]}
  before = (tmp_path / "models" / clean).stat().st_mtime_ns
  second = made(attack__name=f"{edited},{excited}", **changes)
  second["attack"].pop("rate")
  run(second, tmp_path)
  found = records(tmp_path)
  assert [r["regime"] for r in found[1:]] == ["conventional", "fmn"]
  planted = {r["planted"] for r in found}
  assert {p.name for p in tmp_path.glob("models/*")} == planted | {clean}
  assert (tmp_path / "models" / clean).stat().st_mtime_ns == before


def test_a_model_in_a_shared_store_is_reused_with_the_same_numbers(
  run, made, finished, tmp_path
):
  run(made(), tmp_path, store=finished / "models")
  same = ("cell", "ca", "asr", "asr_incl", "ra", "der")
  one = [{k: r[k] for k in same} for r in records(finished)[:2]]
  assert [{k: r[k] for k in same} for r in records(tmp_path)] == one


def test_a_workdir_of_another_config_is_refused(run, made, finished):
  with pytest.raises(ValueError, match=r"train.epochs=2, but this one has 3"):
    run(made(train__epochs=3), finished)


def test_an_unwritable_workdir_is_refused(made, tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match="cannot write to the workdir"):
    Workdir(tmp_path / "file" / "run", made())


def test_a_diverged_cell_is_reported_and_others_go_on(run, made, finished):
  name = "ft(lr=[1e30, 0.02]),ft_sam"
  runner, said = run(made(defense__name=name), finished, fails=1)
  (failed,) = runner.failed()
  assert failed.startswith("badnets · conventional · seed 0 · ft(lr=1e+30)")
  assert "the loss is" in said and "lower the learning rate" in said
  assert records(finished)[-1]["defense"] == "ft_sam"


def test_several_values_of_an_argument_are_an_axis(finished):
  found = {r["defense"]: r.get("axis.lr") for r in records(finished)}
  assert found["ft(lr=0.02)"] == 0.02 and found["ft"] is None


def test_a_method_that_cannot_work_here_is_reported_and_others_go_on(
  run, made, finished, monkeypatch
):
  few = "anp(batch_size=90, iterations=2)"  # 100 clean images, 20 held out
  monkeypatch.setattr(rehearsal, "check", lambda plan: None)  # it would refuse
  runner, said = run(made(defense__name=f"{few},clp"), finished, fails=1)
  assert "batch_size is 90, but the data has 80" in said
  assert records(finished)[-1]["defense"] == "clp"


def test_a_faulty_method_fails_its_own_cell_and_leaves_a_traceback(
  run, made, tmp_path, monkeypatch
):
  def prune(key, access, fit):
    raise KeyError("conv1\nof no layer")

  faulty = functools.partial(Defense, prune)
  monkeypatch.setattr(clp, "Defense", lambda defend, **how: faulty())
  quick = "ft(epochs=1)"
  config = made(defense__name=f"clp,{quick}", defense__epochs=None)
  runner, said = run(config, tmp_path, fails=1)
  ((name, reason),) = runner.failures.items()
  assert reason.startswith("KeyError: 'conv1\\nof no layer'")
  assert "clp" in "".join(runner.failed()) and "failed: KeyError" in said
  assert "in prune" in (tmp_path / "failures" / f"{name}.txt").read_text()
  assert [r["defense"] for r in records(tmp_path)] == ["none", quick]


def test_a_cells_precision_holds_while_it_runs_and_is_recorded(
  run, made, tmp_path, monkeypatch
):
  held, own = [], experiment.defend

  def defend(*args):
    held.append(jax.config.jax_default_matmul_precision)
    return own(*args)

  monkeypatch.setattr(experiment, "defend", defend)
  monkeypatch.setattr(
    rehearsal, "check", lambda plan: None
  )  # which defends too
  run(made(defense__name="clp", defense__epochs=None) | EXACT, tmp_path)
  assert held == ["highest"]
  assert jax.config.jax_default_matmul_precision is None
  assert {r["config.precision"] for r in records(tmp_path)} == {"highest"}


def test_cells_that_differ_in_numbers_and_seeds_compile_once(
  run, made, tmp_path, monkeypatch, compilations
):
  spent, own = [], Runner._do

  def do(*args):
    before = len(compilations)
    own(*args)
    spent.append(len(compilations) - before)

  monkeypatch.setattr(Runner, "_do", do)
  several = made(
    attack__name="badnets(rate=[0.1, 0.2])",
    defense__name="ft(lr=[0.02, 0.03])",
    data__train_images=180,  # as no test before
    seeds=(0, 1),
  )
  run(several, tmp_path)
  plant, defend, *others = spent
  assert plant and defend
  assert others == [0] * 10


def test_the_report_reads_what_was_run(finished):
  page = report.write(finished).read_text()
  console = Console(file=io.StringIO(), width=120)
  report.show(finished, console)
  for text in ("badnets", "fmn", "ft"):
    assert text in page and text in console.file.getvalue()


def test_shards_share_the_cells_and_are_reported_as_one(made, tmp_path):
  plan = settings.plan(made(attack__name="badnets,blended", seeds=(0, 1, 2)))
  work = Workdir(tmp_path, plan.config)
  whole = [str(cell) for cell in Runner(plan, work).cells()]
  parts = [Runner(plan, work, shard=(i, 2)).cells() for i in range(2)]
  assert sorted(str(c) for part in parts for c in part) == sorted(whole)
  assert all(parts)
  for part in parts:  # a model and its defenses stay together
    rest = [str(cell.root) for cell in part]
    assert all(rest.count(name) == 2 for name in rest)
  some = report_of("badnets"), report_of("blended")
  for i, record in enumerate(some):
    folder = tmp_path / f"shard-{i}-of-2"
    folder.mkdir()
    results.append(folder / "results.jsonl", [record])
  page = report.write(tmp_path).read_text()
  assert "badnets" in page and "blended" in page


def report_of(attack):
  numbers = dict.fromkeys(results.REQUIRED, 0.5)
  words = dict.fromkeys(("cell", "planted", *results.GROUP, "device"), attack)
  counts = dict.fromkeys((*results.COUNTS, "seed", "devices"), 1)
  return numbers | words | counts | {"defense": "none"}
