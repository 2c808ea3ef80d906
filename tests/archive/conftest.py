"""Records with true names and invented numbers, and experiments of them."""

import json
import types
from pathlib import Path

import pytest

from bdjax.archive import commands, experiment
from bdjax.report import load, results
from bdjax.runs import records, settings
from bdjax.runs.cells import Names

COMMAND = (
  "uv run python -m bdjax.launch --config configs/base.py --workdir runs/x "
  "--config.data.train_images=200 --config.data.test_images=50 "
  "--config.model.name=cnn --config.model.width=4 "
  "--config.attack.name=badnets --config.train.epochs=2 "
  "--config.train.batch_size=32 --config.defense.name='ft(lr=0.05)' "
  "--config.defense.epochs=3 --config.defense.batch_size=5 "
  "--config.seeds='(0, 1)'"
)
SPENT = {"compile": 1.0, "train": 30.0, "eval": 0.5}


def counts(hits, correct=45):
  return {
    "images": 50,
    "correct": correct,
    "triggered": 45,
    "hits": hits,
    "hits_incl": hits + 5,
    "resisted": 45 - hits,
  }


def true_records(text=COMMAND):
  """Returns the records of a command as a run names them, numbers invented."""
  command = commands.parse(text)
  plan = settings.plan(command.config, command.overridden)
  names = Names(plan)
  before = {"ca_before": 0.9, "asr_before": 44 / 45, "ra_before": 1 / 45}
  found = []
  for cell in names.cells():
    hits = 44 if cell.defense is None else 5 + cell.seed
    spent = SPENT | {"eval": 0.5 + cell.seed}
    held = 0 if cell.defense is None else 10
    made = records.of_cell(
      plan, names, cell, counts(hits), spent, before=before, clean_images=held
    )
    found.append(made | {"device": "invented", "git": "0" * 12})
  return json.loads(json.dumps(found))


@pytest.fixture(scope="session")
def _measured():
  return true_records()


@pytest.fixture
def measured(_measured):
  """Returns records of two seeds, undefended and fine-tuned."""
  return [dict(record) for record in _measured]


def workdir(folder, found) -> Path:
  """Fills a work directory with records, and returns it."""
  folder.mkdir()
  results.append(folder / "results.jsonl", found)
  return folder


def invented(attack, regime, defense, seed, **changes):
  """Returns a record of CIFAR-10 whose numbers and names are invented."""
  rates = {"ca": 0.9, "asr": 0.99, "asr_incl": 0.99, "ra": 0.0, "der": 0.5}
  model = f"{attack}|{regime}|{changes.get('dataset')}|{seed}"
  return {
    "cell": f"{model}|{defense}",
    "planted": model,
    **{"dataset": "cifar10", "model": "resnet9", "scenario": "standalone"},
    **{"attack": attack, "regime": regime, "defense": defense, "seed": seed},
    **{"ca_before": 0.9, "asr_before": 0.99, "ra_before": 0.0},
    **rates,
    **{"seconds_compile": 1.0, "seconds_train": 36.0, "seconds_eval": 1.0},
    **{"device_hours": 0.01, "device": "invented", "devices": 1},
    **{"test_images": 10000, "triggered_images": 9000, "clean_images": 2500},
    **{"train_images": 20000, "train_epochs": 80, "width": 24},
    "config.defense.clean_rate": 0.05,
    **changes,
  }


def keep(place, found, **about):
  """Keeps records as an experiment of a folder, and returns it."""
  config = commands.parse(COMMAND.replace("cnn", "resnet9")).config
  said = {
    "title": f"Experiment {place.name}",
    **{"by": "", "note": "", "commands": [COMMAND], "other_code": False},
    "config": config,
    **about,
  }
  place.parent.mkdir(exist_ok=True)
  folder = place.parent / f"{place.name} run"
  experiment.write(place, said, load(workdir(folder, found)))
  return experiment.read(place)


@pytest.fixture
def invent():
  """Returns what makes records, work directories and experiments."""
  return types.SimpleNamespace(
    command=COMMAND,
    record=invented,
    records=true_records,
    workdir=workdir,
    keep=keep,
  )
