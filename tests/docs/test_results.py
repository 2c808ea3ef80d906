"""What the docs say of measurements is what the kept records say."""

import json

import pytest

from bdjax.archive import checks, command, commands, experiment

FOLDER = experiment.folder()
KEPT = experiment.read_all(FOLDER)


@pytest.mark.parametrize("name", ["results.md", "claims.md"])
def test_pages_are_those_that_the_records_give(name):
  text = (FOLDER.parent / name).read_text()
  again = command.written(KEPT)[name]
  assert text == again, "run: uv run python -m bdjax.launch results"


def test_every_folder_is_an_experiment():
  there = {path.name for path in FOLDER.glob("*") if path.is_dir()}
  assert there == {one.name for one in KEPT}


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize("one", KEPT, ids=lambda one: one.name)
def test_an_experiment_says_what_its_records_say(one):
  about = one.about | experiment.facts(one.run.cells)
  assert json.loads(json.dumps(about)) == one.about
  configs = [checks.recorded(record) for record in one.run.cells]
  if not one.about["other_code"]:
    configs += [commands.parse(text).config for text in one.about["commands"]]
  kept = checks.identity(one.about["config"])
  assert all(checks.identity(config) == kept for config in configs)
