"""A folder of another config, which has computed something or nothing."""

import json

import pytest

from bdjax.machine import storage
from bdjax.report import commands
from bdjax.runs import workdir


@pytest.fixture
def begun(either, config):
  """Returns a folder that a run has only opened, and its command."""
  with workdir.opened(either, config()) as work:
    work.commanded("bdjax run --config wrong")
  return either


def epochs(folder):
  content = storage.read(folder / "config.json")
  return json.loads(content)["train"]["epochs"]


def test_a_run_that_computed_nothing_is_replaced(begun, config):
  if not storage.remote(begun):  # as kills leave them
    (begun / "models" / "0123.lock").touch()
    (begun / "stages").mkdir()
  with workdir.opened(begun, config(train__epochs=3)):
    assert epochs(begun) == 3
    assert commands.read(begun) == []


def test_commands_of_the_same_config_are_kept(begun, config):
  with workdir.opened(begun, config(seeds=(0, 1))):
    assert commands.read(begun) == ["bdjax run --config wrong"]


@pytest.mark.parametrize(
  "name",
  [
    "results.jsonl",
    "results/20260101-0.jsonl",
    "curves.jsonl",
    "sequela.jsonl",
    "diverged.jsonl",
    "models/0123/array",
    "stages/0123/victim/000001/array",
    "pictures/0123.npz",
    "findings/0123.npz",
    "failures/0123.txt",
    "shard-0-of-2/config.json",
  ],
)
def test_a_run_that_computed_anything_is_not(begun, config, name):
  if not storage.remote(begun):
    (begun / name).parent.mkdir(parents=True, exist_ok=True)
  storage.write(begun / name, b"")
  said = "holds a run with train.epochs=2, but this one has 3; use another"
  with pytest.raises(ValueError, match=said):
    workdir.Workdir(begun, config(train__epochs=3))
  assert epochs(begun) == 2
  assert commands.read(begun) == ["bdjax run --config wrong"]
