"""Invented records of studies, for tests only."""

import importlib
import json
import types
from pathlib import Path

import pytest

from bdjax.report import results
from bdjax.report.load import load
from bdjax.study import comparison

KEYS = ("cell", "planted")  # which differ between seeds


def record(attack, regime, defense, seed=0, **changes):
  """Return an invented record: planted, and left alone."""
  dataset = changes.get("dataset", "cifar10")
  scenario = changes.get("scenario", "standalone")
  rates = {"ca": 0.9, "asr": 0.99, "asr_incl": 0.99, "ra": 0.0, "der": 0.5}
  return {
    "cell": f"{dataset}|{attack}|{regime}|{defense}|{seed}",
    "planted": f"{dataset}|{attack}|{regime}|{seed}",
    "dataset": dataset,
    "model": "preact_resnet18",
    "attack": attack,
    "regime": regime,
    "scenario": scenario,
    "defense": defense,
    "seed": seed,
    **{"ca_before": 0.9, "asr_before": 0.99, "ra_before": 0.0},
    **rates,
    **{"seconds_compile": 1.0, "seconds_train": 36.0, "seconds_eval": 1.0},
    "device_hours": 0.01,
    "device": "invented accelerator",
    "devices": 1,
    "test_images": 10000,
    "triggered_images": 9000,
    "clean_images": 2500,
    "config.defense.clean_rate": 0.05,
    **changes,
  }


def curve(cell, values, stage="ft", **more):
  """Return rows of a cell whose ASR goes through the values."""
  return [
    {"cell": cell, "stage": stage, "epoch": i, "asr": asr, "ca": 0.9, **more}
    for i, asr in enumerate(values, start=1)
  ]


def twins(rows):
  """Return rows of seed 0 and the same of seed 1."""
  second = [{k: f"{v}'" for k in KEYS if (v := row.get(k))} for row in rows]
  seeds = [{"seed": 1} if "seed" in row else {} for row in rows]
  return [
    *rows,
    *(a | b | c for a, b, c in zip(rows, second, seeds, strict=True)),
  ]


def workdir(
  folder,
  study,
  records,
  *,
  rows=(),
  sequela=(),
  diverged=(),
  protocol="own",
  twice=True,
) -> Path:
  """Fill a work directory as a run of a study would.

  Records of one seed are there twice, as of two seeds, since one decides
  nothing.
  """
  folder.mkdir(parents=True, exist_ok=True)
  if twice and {record["seed"] for record in records} == {0}:
    records, rows, sequela = map(twins, (records, rows, sequela))
  results.append(folder / "results.jsonl", records)
  if rows:
    results.append(folder / "curves.jsonl", rows, required=results.CURVE)
  if sequela:
    file = folder / "sequela.jsonl"
    results.append(file, sequela, required=results.SEQUEL)
  if diverged:
    file = folder / "diverged.jsonl"
    results.append(file, diverged, required=results.DIVERGED)
  config = {}
  if protocol == "paper":
    module = importlib.import_module(f"configs.papers.{study}")
    config = module.get_config("paper").to_dict()
  config["study"] = study
  (folder / "config.json").write_text(json.dumps(config))
  return folder


def sequel(kind, defense, attack="blended", **found):
  """Return an invented record of what a defense left behind."""
  return {
    "cell": f"{kind}|{attack}|{defense}",
    **{"dataset": "cifar10", "model": "preact_resnet18"},
    **{"scenario": "standalone", "attack": attack, "regime": "conventional"},
    **{"defense": defense, "seed": 0, "sequel": kind, "kind": kind},
    **{"device": "invented accelerator", "devices": 1},
    **found,
  }


@pytest.fixture(scope="session")
def fake():
  """Return the makers of invented records."""
  return types.SimpleNamespace(
    record=record, curve=curve, workdir=workdir, sequel=sequel
  )


@pytest.fixture
def evidence(tmp_path):
  """Return the maker of what was measured for a study."""

  def make(study, records, **how):
    path = workdir(tmp_path / study, study, records, **how)
    return comparison.gather(study, [load(path)])

  return make
