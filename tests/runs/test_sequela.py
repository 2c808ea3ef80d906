import io
import json

import pytest
from rich.console import Console

from bdjax import report
from bdjax.estimate import command
from bdjax.report import leftovers, results
from bdjax.report.results import CLEAN_MODEL
from bdjax.runs import sequel_cells, settings
from bdjax.runs.cells import Names
from bdjax.runs.runner import Runner
from bdjax.runs.workdir import Workdir

MEMBERSHIP = "membership(epochs=2)"
REINJECTION = "reinjection(lr=0.05, epochs=2, batch_size=50)"
RETUNING = "retuning(rate=0.25, epochs=1, batch_size=50)"
ALL = ",".join((MEMBERSHIP, REINJECTION, RETUNING))
FT = "ft(lr=0.02)"
MODELS = (CLEAN_MODEL, f"{CLEAN_MODEL}, {FT}", "none", FT)


@pytest.fixture(scope="module")
def made(config):
  """Returns the maker of this file's configs."""
  own = {"train__epochs": 8, "train__lr": 0.1, "evaluate__curve_images": 0}
  own |= {"defense__name": FT, "defense__epochs": 2}
  return lambda **changes: config(**(own | changes))


@pytest.fixture(scope="module")
def earlier(run, tmp_path_factory, made):
  """Returns a workdir that was finished without sequela, and its bytes."""
  path = tmp_path_factory.mktemp("run")
  run(made(), path)
  return path, (path / "results.jsonl").read_bytes()


@pytest.fixture(scope="module")
def finished(run, earlier, made):
  path, _ = earlier
  run(made(sequela={"name": ALL}), path)
  return path


@pytest.fixture(scope="module")
def found(finished):
  records = results.read(finished / "sequela.jsonl")
  return {(r["kind"], leftovers.named(r)): r for r in records}


def test_every_model_is_asked_and_clean_ones_first(finished, found):
  records = results.read(finished / "sequela.jsonl")
  assert len(records) == len(found) == 12
  order = [leftovers.named(r) for r in records if r["kind"] == "retuning"]
  assert order == [MODELS[i] for i in (0, 2, 1, 3)]
  kinds = ("membership", "reinjection", "retuning")
  assert set(found) == {(kind, model) for kind in kinds for model in MODELS}
  for (kind, model), record in found.items():
    clean = model.startswith(CLEAN_MODEL)
    assert (record["defense"] == CLEAN_MODEL) == clean
    stays_clean = kind == "membership" and clean
    assert record["attack"] == (None if stays_clean else "badnets")
    assert record["seed"] == 0 and record["sequel"].startswith(f"{kind}(")


def test_what_was_finished_before_is_repaired_again_and_the_same(
  earlier, finished, found
):
  path, before = earlier
  assert (path / "results.jsonl").read_bytes() == before
  for record in results.read(path / "results.jsonl"):  # of none and FT
    mine = found["reinjection", record["defense"]]
    for name in ("ca", "asr"):
      assert mine[f"{name}_before"] == record[name], record["defense"]
  rates = [found["reinjection", model]["asr_before"] for model in MODELS]
  assert len(set(rates)) == 4  # or else it would say little


def test_the_baseline_is_the_clean_model_after_the_same_defense(
  run, made, finished, found, tmp_path
):
  """As the floor of a run without sequela has it."""
  run(made(evaluate__floor=True), tmp_path, store=finished / "models")
  assert len(list((finished / "models").iterdir())) == 6  # nothing is trained
  floors = {r["defense"]: r for r in results.read(tmp_path / "results.jsonl")}
  for model, defense in zip(MODELS[:2], ("none", FT), strict=True):
    for name in ("ca", "asr"):
      mine = found["reinjection", model][f"{name}_before"]
      assert mine == floors[defense][f"clean_{name}"], (model, name)


def test_members_are_those_of_each_model(found):
  def count(model, group):
    record = found["membership", model]
    return tuple(record[f"loss.{group}.{k}"] for k in ("members", "others"))

  assert count(CLEAN_MODEL, "members") == (200, 50)
  assert count(CLEAN_MODEL, "tuned")[0] == 0
  assert count(MODELS[1], "members") == (200, 50)
  assert count(MODELS[1], "tuned")[0] == count(MODELS[1], "rest")[0] == 100
  for model in ("none", FT):
    assert count(model, "members") == (180, 50)  # less 20 poisons
    assert count(model, "poisons")[0] == 20
  assert count("none", "tuned")[0] == 0
  tuned, rest = count(FT, "tuned")[0], count(FT, "rest")[0]
  assert tuned + rest == 180 and 80 <= tuned <= 100  # of 100 clean images
  for model in MODELS:
    assert 0 <= found["membership", model]["network.members.auroc"] <= 1


def test_a_success_rate_per_epoch_is_kept(finished, found):
  rows = results.read(finished / "curves.jsonl")
  for model in MODELS:
    record = found["reinjection", model]
    mine = [r for r in rows if r["cell"] == record["cell"]]
    assert [(r["stage"], r["epoch"]) for r in mine] == [
      ("reinjection", e) for e in range(3)
    ]
    asr = [r["asr"] for r in mine]
    assert (asr[0], asr[-1]) == (record["asr_before"], record["asr"])
    assert record["area"] == pytest.approx((asr[0] + asr[2]) / 4 + asr[1] / 2)
    assert all(0 <= r["poison_accuracy"] <= 1 for r in mine)
    assert (record["epochs"], record["poisons"]) == (2, 20)
  assert found["retuning", FT]["epochs"] == 1


def test_shadow_and_repaired_models_are_kept_once(finished, found):
  # Planted, clean, its shadow, what was learned of it, and ft's of both.
  assert len(list((finished / "models").iterdir())) == 6
  assert not list((finished / "stages").glob("*"))


def test_a_lost_answer_is_asked_again_and_no_other(
  run, made, finished, tmp_path
):
  file = tmp_path / "sequela.jsonl"
  before = (finished / "sequela.jsonl").read_bytes().splitlines(keepends=True)
  file.write_bytes(b"".join(before[:-1]))
  before_results = (finished / "results.jsonl").read_bytes()
  (tmp_path / "results.jsonl").write_bytes(before_results)
  run(made(sequela={"name": ALL}), tmp_path, store=finished / "models")
  after = file.read_bytes().splitlines(keepends=True)
  assert after[:-1] == before[:-1]
  one, other = json.loads(before[-1]), json.loads(after[-1])
  for name in ("cell", "defense", "sequel", "asr_before", "asr", "area"):
    assert one[name] == other[name], name
  assert (tmp_path / "results.jsonl").read_bytes() == before_results
  runner, said = run(
    made(sequela={"name": ALL}), tmp_path, store=finished / "models"
  )
  assert runner.counts() == (0, 14) and said == ""


def test_shards_ask_everything_once(made, tmp_path):
  plan = settings.plan(
    made(
      attack__name="badnets,blended,clean",
      seeds=(0, 1),
      sequela={"name": f"{MEMBERSHIP},{REINJECTION}"},
    )
  )
  work = Workdir(tmp_path, plan.config)
  whole = Runner(plan, work)
  parts = [Runner(plan, work, shard=(i, 2)) for i in range(2)]
  # Cells: 3 attacks, 2 seeds, 2 models. Membership of each, and of 2 clean
  # models, tuned and not; re-injection with 2 attacks into 4 models each.
  assert whole.counts()[1] == 12 + (12 + 4) + 16
  counts = [part.counts()[1] for part in parts]
  assert all(counts) and sum(counts) == whole.counts()[1]


def test_a_lost_model_is_asked_nothing_and_others_go_on(run, made, finished):
  lost = made(defense__name="ft(lr=1e30)", sequela={"name": REINJECTION})
  # Three: the cell, and what was asked of it and of the clean model after it.
  runner, said = run(lost, finished, fails=3)
  assert len(set(runner.failures.values())) == 1
  assert said.count("lower the learning rate") >= 2


@pytest.mark.parametrize(
  ("changes", "text"),
  [
    (
      {
        "scenario": "transfer",
        "downstream__name": "synthetic",
      },
      "standalone alone, not in transfer",
    ),
    ({"sweep__axes": "lr=(0.1, 0.2)"}, "do not go with a sweep"),
    ({"train__batch_size": 101}, r"shadow: train.batch_size is 101, .* 100"),
    ({"sequela": {"name": "retuning"}}, "leaves 4, .* at least 0.64"),
    ({"sequela": {"name": "membershp"}}, "unknown sequela 'membershp': did"),
    ({"sequela": {"name": "membership(lr=0)"}}, "membership.lr=....' is 0"),
    (
      {"sequela": {"name": REINJECTION}, "attack__name": "clean"},
      "clean has no poisoned training set",
    ),
  ],
)
def test_what_cannot_be_asked_is_refused_at_once(config, changes, text):
  with pytest.raises(ValueError, match=text) as error:
    settings.plan(config(**({"sequela": {"name": ALL}} | changes)))
  assert "\n" not in str(error.value)


def test_an_estimate_counts_shadow_models_and_retraining(made):
  plan = settings.plan(made(seeds=(0, 1), sequela={"name": ALL}))
  found = {item.label: item for item in command.items(plan)}
  counts = {label: item.count for label, item in found.items()}
  steps = {label: sum(s.steps for s in i.stages) for label, i in found.items()}
  assert counts.keys() - {"plant badnets, conventional", FT} == {
    *("train clean victims", "train shadow models", REINJECTION, RETUNING),
  }
  assert counts["train clean victims"] == counts["train shadow models"] == 2
  assert counts[FT] == 4  # of clean models as well
  assert counts[REINJECTION] == counts[RETUNING] == 2 * len(MODELS)
  # Batches of 32 out of 200 and of 100 images; of 50 out of 200 and of 50.
  assert steps["train clean victims"] == 8 * 7
  assert steps["train shadow models"] == 8 * 4
  assert (steps[REINJECTION], steps[RETUNING]) == (2 * 4, 1)
  ca = found["plant badnets, conventional"].scoring
  assert found[REINJECTION].scoring == 3 * ca


def test_page_and_console_show_it(finished):
  page = report.write(finished).read_text()
  console = Console(file=io.StringIO(), width=160)
  report.show(finished, console)
  said = console.file.getvalue()
  assert "What the defense left behind" in page
  for text in ("not tuned on", CLEAN_MODEL, "reinjection(", "retuning("):
    assert text in page and text in said, text
  assert "epochs to 90 %" in page
  assert page.count("epoch with poisons") == 2  # a figure per sequel


def test_defenses_that_need_the_training_set_have_no_baseline(made):
  plan = settings.plan(
    made(
      defense__name=f"{FT},spectral,nad(teacher_epochs=1)",
      sequela={"name": f"{MEMBERSHIP},{REINJECTION}"},
    )
  )
  asked = sequel_cells.of(plan, Names(plan)).values()
  for kind in ("membership", "reinjection"):
    clean = [
      question.cell.defense and question.cell.defense.name
      for question in asked
      if question.clean and question.sequel.name == kind
    ]
    assert clean == [None, "ft", "nad"]


def test_what_older_runs_answered_is_not_asked_again(made, finished, tmp_path):
  """They knew the clean model only as it was, and did not say so."""
  old = []
  for record in results.read(finished / "sequela.jsonl"):
    if record.pop("clean_defense") in (None, "none"):
      old.append(json.dumps(record) + "\n")
  assert len(old) == 9
  (tmp_path / "sequela.jsonl").write_text("".join(old))
  name = "results.jsonl"
  (tmp_path / name).write_bytes((finished / name).read_bytes())
  plan = settings.plan(made(sequela={"name": ALL}))
  work = Workdir(tmp_path, plan.config, store=finished / "models")
  todo = Runner(plan, work).questions().values()
  assert len(todo) == 3 and all(x.clean and x.cell.defense for x in todo)
  text = report.write(tmp_path).read_text()
  assert CLEAN_MODEL in text and MODELS[1] not in text


def test_a_run_without_sequela_shows_none(finished, tmp_path):
  name = "results.jsonl"
  (tmp_path / name).write_bytes((finished / name).read_bytes())
  assert "left behind" not in report.write(tmp_path).read_text()
