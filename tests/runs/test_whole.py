"""A work directory is run to its end, and says what it has from before."""

import io
import json

import pytest
from rich.console import Console

from bdjax.report import commands
from bdjax.runs import settings, whole


@pytest.fixture
def finish(config, tmp_path):
  """Returns what runs a plan of two models in a directory, and what is said."""
  plan = settings.plan(
    config(defense__name="none", train__epochs=1, seeds=(0, 1))
  )

  def finish(command="python this"):
    console = Console(file=io.StringIO(), width=40)
    done = whole.finish(plan, tmp_path, console, command=command)
    assert done == (tmp_path, {})
    return console.file.getvalue().splitlines()

  return finish


def test_cells_of_other_code_are_kept_and_named(finish, tmp_path):
  first, *_, last = finish()
  assert first == f"2 cells to run, in {tmp_path}"
  assert last.endswith("(2 of 2 cells)")
  done = f"nothing to do: all 2 cells in {tmp_path} are done"
  assert finish() == [done]
  path = tmp_path / "results.jsonl"
  one, other = map(json.loads, path.read_text().splitlines())
  del other["code"]  # as earlier versions recorded
  rows = one | {"code": "0" * 12}, other
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  assert finish() == [
    "1 of 2 finished cells are of other code than this, and are kept: another "
    "--workdir computes them anew.",
    done,
  ]
  assert commands.read(tmp_path) == ["python this"]


def test_seeds_of_other_settings_are_refused_before_anything_runs(
  finish, tmp_path
):
  finish()
  path = tmp_path / "results.jsonl"
  one, other = map(json.loads, path.read_text().splitlines())
  text = json.dumps(other | {"seed": 7, "protocol": "0" * 16}) + "\n"
  path.write_text(json.dumps(one) + "\n" + text)
  config = (tmp_path / "config.json").read_text()
  with pytest.raises(ValueError, match="/ none of seed 7 in other settings"):
    finish(command="python that")
  assert commands.read(tmp_path) == ["python this"]
  assert (tmp_path / "config.json").read_text() == config
  path.write_text(json.dumps(one) + "\n")
  shard = tmp_path / "shard-1-of-2"  # another job's
  shard.mkdir()
  (shard / "results.jsonl").write_text(text)
  with pytest.raises(ValueError, match="use another --workdir"):
    finish()
