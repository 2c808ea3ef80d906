"""A call runs what a config would, and goes on where it was."""

import sys

import numpy as np
import pytest

import bdjax
from bdjax import data

SMALL = {
  "train.epochs": 2,
  "train.batch_size": 32,
  "defense.clean_rate": 0.5,
  "defense.epochs": 1,
  "defense.batch_size": 16,
  "evaluate.batch_size": 32,
}


def own():
  """Returns few small images as NumPy arrays."""
  given = {}
  for split, count in (("train", 96), ("test", 64)):
    part = data.load("synthetic", split, images=count)
    images = np.asarray(part.image)[:, ::4, ::4]
    given[split] = images, np.asarray(part.label)
  return given


def run(workdir, **changed):
  given = {
    "attack": "badnets(size=2)",
    "defense": "ft",
    "model": "cnn(width=4)",
  }
  given |= {"keys": SMALL, "workdir": workdir, "quiet": True} | changed
  return bdjax.experiment(own(), **given)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
  return run(tmp_path_factory.mktemp("own"))


def test_models_are_scored_by_defense(outcome):
  assert [r["defense"] for r in outcome.records] == ["none", "ft"]
  assert all(0 <= r["ca"] <= 1 and 0 <= r["asr"] <= 1 for r in outcome.records)
  assert {r["dataset"] for r in outcome.records} == {"own arrays"}
  assert repr(outcome) == f"<2 models scored, in {outcome.workdir}>"
  assert "own arrays / cnn(width=4)" in str(outcome)
  assert outcome.page().exists()


def test_the_same_call_computes_nothing_and_more_seeds_are_added(outcome):
  before = (outcome.workdir / "results.jsonl").read_bytes()
  assert run(outcome.workdir).records == outcome.records
  assert (outcome.workdir / "results.jsonl").read_bytes() == before
  more = run(outcome.workdir, seeds=(0, 1))
  assert sorted({r["seed"] for r in more.records}) == [0, 1]
  assert bdjax.load(outcome.workdir).records == more.records


def test_without_pandas_the_remedy_is_said(outcome, monkeypatch):
  monkeypatch.setitem(sys.modules, "pandas", None)
  with pytest.raises(
    ModuleNotFoundError, match="pip install 'bdjax.frames"
  ):
    outcome.frame()


def test_a_frame_has_a_row_for_each_record(outcome):
  pytest.importorskip("pandas", reason="pandas is not installed")
  frame = outcome.frame()
  assert list(frame["defense"]) == [r["defense"] for r in outcome.records]
  assert "config" not in frame


@pytest.mark.parametrize("key", ["train.epocs", "trian.epochs", "epochs"])
def test_an_unknown_key_is_refused(key, tmp_path):
  with pytest.raises(ValueError, match="unknown config key"):
    run(tmp_path / "w", keys=SMALL | {key: 3})
  assert not (tmp_path / "w").exists()
