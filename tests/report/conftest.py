"""A fabricated work directory: every number is invented, for tests only."""

import json
import types
from pathlib import Path

import numpy as np
import pytest

from bdjax.report import results

ATTACKS = {"badnets": 0.02, "blended(alpha=0.1)": 0.9, "wanet": 0.3}
DEFENSES = ("none", "ft(lr=0.05)", "super_ft", "nad", "clp")
LEFT = {"super_ft": -0.25, "nad": 0.1, "clp": -0.05}
LOST = {"none": 0.0, "super_ft": 0.004, "nad": 0.02, "clp": 0.06}
REGIMES = ("conventional", "fmn")
EPOCHS = 8


def record(attack, regime, defense, seed, **changes):
  """Return an invented record of one cell."""
  left = ATTACKS.get(attack, 0.5) + LEFT.get(defense, 0.0) + 0.01 * seed
  left = 0.98 if defense == "none" else min(max(left, 0.0), 1.0)
  ca = 0.93 - LOST.get(defense, 0.012) - 0.002 * seed
  planted = f"{''.join(filter(str.isalnum, attack))}-{regime}-{seed}"
  return {
    "cell": f"{attack}|{regime}|{defense}|{seed}",
    "planted": planted,
    "dataset": "cifar10",
    "model": "preact_resnet18",
    "attack": attack,
    "regime": regime,
    "scenario": "standalone",
    "defense": defense,
    "seed": seed,
    "ca_before": 0.93 - 0.002 * seed,
    "asr_before": 0.98,
    "ra_before": 0.01,
    "ca": ca,
    "asr": left,
    "asr_incl": 0.9 * left + 0.1,
    "ra": 0.9 * (1 - left),
    "der": 0.5 + (0.98 - min(left, 0.98)) / 2,
    "seconds_compile": 0.0 if defense == "none" else 12.0,
    "seconds_train": {"none": 0.0, "nad": 61.0, "clp": 0.2}.get(defense, 31.0),
    "seconds_eval": 2.5,
    "device_hours": 0.01,
    "device": "invented accelerator",
    "devices": 1,
    "test_images": 10000,
    "triggered_images": 9000,
    "clean_images": 2500,
    "version_jax": "0.0",
    "version_bdjax": "0.0",
    "git": "0000000",
    "finished": f"2000-01-01T00:00:0{seed}",
    "epochs": EPOCHS,
    **changes,
  }


def curve(cell, stage, *, start=0.98, end=0.1, rates=(0.01,)):
  """Return invented rows of one stage."""
  share = np.linspace(start, end, EPOCHS + 1)[1:]
  for epoch, asr in enumerate(share, start=1):
    row = {"cell": cell, "stage": stage, "epoch": epoch, "loss": 1 / epoch}
    row |= {"accuracy": 0.9, "lr": list(rates)}
    yield row | {"ca": 0.92, "asr": asr, "asr_incl": asr, "ra": 1 - asr}


def write_pictures(folder, planted, attack):
  """Write invented pictures: smooth images and a corner or a faint pattern."""
  folder.mkdir(exist_ok=True)
  wave = np.linspace(0, 3, 32)
  clean = np.stack(
    [
      127
      + 90 * np.sin(wave[:, None, None] * (k + 1) + wave[None, :, None])
      + np.array([0, 12, 25])
      for k in range(4)
    ]
  ).clip(0, 255)
  triggered = clean.copy()
  if attack == "badnets":
    triggered[:, -3:, -3:] = 255
  else:
    triggered += 8 * np.cos(6 * wave)[None, None, :, None]
  np.savez(
    folder / f"{planted}.npz",
    clean=clean.astype(np.uint8),
    triggered=triggered.clip(0, 255).astype(np.uint8),
    label=np.array([1, 2, 3, 4]),
    target=np.zeros(4, np.int32),
    class_names=np.array(["plane", "car", "bird", "cat", "deer"]),
  )


def fabricate(workdir, *, attacks=tuple(ATTACKS), seeds=(0, 1, 2)) -> Path:
  """Fill a work directory as a run would."""
  cells = [
    record(attack, regime, defense, seed)
    for attack in attacks
    for regime in REGIMES
    for defense in DEFENSES
    for seed in seeds
  ]
  results.append(workdir / "results.jsonl", cells)
  cycle = np.concatenate([np.linspace(3e-4, 0.1, 10), np.full(5, 3e-4)])
  rows = []
  for cell in cells:
    if cell["defense"] in ("none", "clp"):
      continue
    stages = ("teacher", "student") if cell["defense"] == "nad" else ("ft",)
    rates = cycle if cell["defense"] == "super_ft" else [0.05] * 5
    for stage in stages:
      rows += curve(cell["cell"], stage, end=cell["asr"], rates=rates)
  for planted in {cell["planted"] for cell in cells}:
    rows += curve(planted, "plant", rates=np.geomspace(0.1, 0.001, 5))
  results.append(workdir / "curves.jsonl", rows, required=results.CURVE)
  for cell in cells:
    write_pictures(workdir / "pictures", cell["planted"], cell["attack"])
  (workdir / "config.json").write_text(json.dumps({"epochs": EPOCHS}))
  return workdir


@pytest.fixture(scope="session")
def fake():
  """Return the makers of invented data and what they are made of."""
  return types.SimpleNamespace(
    record=record,
    curve=curve,
    fabricate=fabricate,
    attacks=tuple(ATTACKS),
    defenses=DEFENSES,
    regimes=REGIMES,
    epochs=EPOCHS,
  )


@pytest.fixture
def workdir(tmp_path):
  """Return a fabricated work directory."""
  return fabricate(tmp_path)
