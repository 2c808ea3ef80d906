"""A call runs what a config would, and goes on where it was."""

import re
import shutil
import sys

import pytest

import bdjax
from bdjax.api import experiment
from bdjax.archive import commands
from bdjax.runs import plans


def test_models_are_scored_by_defense(outcome):
  assert [r["defense"] for r in outcome.records] == ["none", "ft"]
  assert all(0 <= r["ca"] <= 1 and 0 <= r["asr"] <= 1 for r in outcome.records)
  assert {r["dataset"] for r in outcome.records} == {"own arrays"}
  assert repr(outcome) == f"<2 models scored, in {outcome.workdir}>"
  assert "own arrays / cnn(width=4)" in str(outcome)
  assert outcome.page().exists()


def test_the_same_call_computes_nothing_and_more_seeds_are_added(
  outcome, again, tmp_path
):
  copy = shutil.copytree(outcome.workdir, tmp_path / "copy")
  before = (copy / "results.jsonl").read_bytes()
  assert again(copy).records == outcome.records
  assert (copy / "results.jsonl").read_bytes() == before
  more = again(copy, seeds=(0, 1))
  assert sorted({r["seed"] for r in more.records}) == [0, 1]
  assert bdjax.load(copy).records == more.records


def test_without_pandas_the_remedy_is_said(outcome, monkeypatch):
  monkeypatch.setitem(sys.modules, "pandas", None)
  with pytest.raises(ModuleNotFoundError, match="pip install 'bdjax.frames"):
    outcome.frame()


def test_a_frame_has_a_row_for_each_record(outcome):
  frame = outcome.frame()
  assert list(frame["defense"]) == [r["defense"] for r in outcome.records]
  assert "config" not in frame
  assert list(frame)[:3] == ["dataset", "model", "scenario"]
  assert frame["ca"].tolist() == [r["ca"] for r in outcome.records]
  hopeless = [r["asr_before"] < 0.9 for r in outcome.records]
  assert (~frame["judged"][hopeless]).all() and any(hopeless)


@pytest.mark.parametrize("key", ["train.epocs", "trian.epochs", "epochs"])
def test_an_unknown_key_is_refused(key, tmp_path, again):
  with pytest.raises(ValueError, match="unknown config key"):
    again(tmp_path / "w", keys={key: 3})
  assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
  ("data", "said"),
  [
    (([[0]], [0]), "is of the type tuple"),
    ({"trian": ()}, "'trian' is none of them: did you mean train?"),
  ],
)
def test_data_that_is_none_is_refused(data, said, tmp_path):
  text = rf"data must be a dataset's name or a dict with .*{re.escape(said)}"
  with pytest.raises(ValueError, match=text):
    bdjax.experiment(data, workdir=tmp_path / "w")
  assert not (tmp_path / "w").exists()


@pytest.fixture
def noted(monkeypatch):
  """Returns what a call, which runs nothing, would run and note."""
  held = {}

  def finish(plan, path, console, *, command, **more):
    held.update(plan=plan, command=command)
    return None, {"badnets": "stopped"}

  monkeypatch.setattr(experiment.whole, "finish", finish)

  def ask(keys):
    with pytest.raises(RuntimeError, match="stopped"):
      bdjax.experiment(
        defense="ft(lr=0.05),super_ft.fmn",
        model="cnn(width=4)",
        seeds=[0, 1],
        keys={"defense.batch_size": 50, "data.crop": 0} | keys,
      )
    return held["plan"], held["command"]

  return ask


def test_the_command_that_is_noted_runs_the_same(noted, tmp_path):
  keys = {"data.dir": str(tmp_path), "defense.epochs": None}
  plan, text = noted(keys | {"model.dtype": "bfloat16"})
  command = commands.parse(text)
  assert "data.dir" not in text
  ran = plans.completed(plan.config)
  assert command.overridden | keys.keys() == set(ran[plans.OVERRIDDEN])
  assert command.config["data"] | {"dir": str(tmp_path)} == ran["data"]
  apart = dict.fromkeys(("data", plans.OVERRIDDEN))
  assert plans.completed(command.config) | apart == ran | apart


def test_what_no_words_say_is_not_noted(noted):
  assert noted({"train.schedule": "cosine"})[1]
  assert noted({"attack.target": None})[1] == ""
