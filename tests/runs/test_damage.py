"""A run goes on past damaged models, and stops for a disk that refuses."""

import contextlib
import errno
import os
import shutil
import threading
import time

import jax.numpy as jnp
import pytest

from bdjax.machine import locks, storage
from bdjax.machine.faults import Fault
from bdjax.report import results
from bdjax.runs import settings, workdir
from bdjax.training import checkpoint

TIMES = ("finished", "device_hours", "seconds")
TREE = {"w": jnp.zeros(1)}
LOGS = ("results", "sequela")
PATIENCE = 200  # seconds; far more than needed


def measured(path):
  """Returns what a run has found, without what differs between any two."""
  return [
    {k: v for k, v in record.items() if not k.startswith(TIMES)}
    for name in LOGS
    for record in results.read(path / f"{name}.jsonl")
  ]


@pytest.fixture(scope="module")
def made(config):
  """Returns a config with a sequel that learns from a shadow model."""
  own = {"defense__epochs": 1, "train__epochs": 1, "evaluate__curve_images": 0}
  return config(**own, sequela={"name": "membership(epochs=1)"})


@pytest.fixture(scope="module")
def finished(run, made, tmp_path_factory):
  path = tmp_path_factory.mktemp("run")
  run(made, path)
  return path


def test_every_damaged_model_of_a_store_is_made_again(
  run, made, finished, tmp_path, caplog
):
  store = tmp_path / "store"
  shutil.copytree(finished / "models", store)
  names = storage.names(store)
  # planted, clean, shadow, its lessons, repaired, and clean repaired alike
  assert len(names) == 6
  for name in names:
    path = max(
      (p for p in (store / name).rglob("*") if p.is_file()),
      key=lambda p: p.stat().st_size,
    )
    path.write_bytes(path.read_bytes()[:-1])
  run(made, tmp_path / "again", store=store)
  assert measured(tmp_path / "again") == measured(finished)
  aside = [f"{name}.damaged-1" for name in names]
  assert storage.names(store) == sorted(names + aside)
  said = caplog.text
  assert [f"checkpoint {store / n} is damaged" in said for n in names] == [
    True
  ] * 6


def test_a_damaged_member_of_a_sweep_is_planted_again(
  run, config, tmp_path, caplog
):
  sweep = {"sweep__axes": "rate=(0.1, 0.2)", "sweep__width": 2}
  more = {"train__epochs": 1, "evaluate__curve_images": 0}
  run(config(defense__name="none", **sweep, **more), tmp_path)
  first, _ = storage.names(tmp_path / "models")
  (tmp_path / "models" / first / "_CHECKPOINT_METADATA").write_text("")
  before = results.read(tmp_path / "results.jsonl")
  (tmp_path / "results.jsonl").unlink()
  run(config(defense__name="none", **sweep, **more), tmp_path)
  after = results.read(tmp_path / "results.jsonl")
  assert [r["asr"] for r in after] == [r["asr"] for r in before]
  assert f"{first} is damaged: its _CHECKPOINT_METADATA is n" in caplog.text


def test_a_full_disk_stops_the_run_and_blames_no_cell(
  run, made, tmp_path, monkeypatch, finished
):
  write, full = os.write, []

  def refuse(descriptor, content):
    if content.startswith(b'{"cell"') and b'"defense": "ft"' in content:
      full.append(content)
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return write(descriptor, content)

  with monkeypatch.context() as patch, pytest.raises(Fault, match="No space"):
    patch.setattr(os, "write", refuse)
    run(made, tmp_path, store=finished / "models")
  assert len(full) == 1 and not (tmp_path / "failures").exists()
  assert not (tmp_path / "lock").exists()
  run(made, tmp_path, store=finished / "models")
  assert measured(tmp_path) == measured(finished)


def test_a_workdir_that_is_removed_or_taken_is_not_written(run, made, tmp_path):
  path = tmp_path / "run"
  plan = settings.plan(made)
  with workdir.opened(path, plan.config) as work:
    with pytest.raises(ValueError, match="is in use by process"):
      run(made, path)
    shutil.rmtree(path)
    checkpoint.save(path / "stages" / "x" / "000001", TREE)  # makes folders
    with pytest.raises(Fault, match="lock .*was removed meanwhile"):
      work.failure("cell", "text")
  assert storage.names(path) == ["stages"]


def test_a_path_that_is_too_long_is_refused(run, made, tmp_path):
  with pytest.raises(ValueError, match=r"\(File name too long\); give anoth"):
    run(made, tmp_path / ("x" * 300))


def test_a_store_that_cannot_be_made_is_not_the_workdir_s_fault(
  run, made, tmp_path
):
  (tmp_path / "file").write_text("")
  store = tmp_path / "file" / "models"
  said = f"cannot write to the store {store} .Not a directory.; .* with --store"
  with pytest.raises(ValueError, match=said):
    run(made, tmp_path / "run", store=store)


@pytest.mark.parametrize("content", ["[]", "{", '{"data":' * 100_000])
def test_a_config_of_another_shape_is_named(run, made, tmp_path, content):
  (tmp_path / "config.json").write_text(content)
  with pytest.raises(ValueError, match="config.json is not what a run writes"):
    run(made, tmp_path)


def test_of_two_runs_on_a_store_one_makes_a_model(made, tmp_path):
  store = tmp_path / "store"
  one, other = (
    workdir.Workdir(tmp_path / name, made, store=store) for name in "ab"
  )
  order = []

  def second():
    with other.reserved("model"):
      order.append(checkpoint.exists(other.model("model")))

  with one.reserved("model"), one.reserved("model"):  # its own is no obstacle
    thread = threading.Thread(target=second)
    thread.start()
    checkpoint.save(one.model("model"), TREE)
    order.append("made")
  thread.join()
  assert order == ["made", True] and storage.names(store) == ["model"]


def test_runs_that_want_the_same_models_do_not_wait_in_a_circle(
  made, tmp_path, monkeypatch
):
  reserved = locks.reserved

  @contextlib.contextmanager
  def slowly(path, what):
    with reserved(path, what):
      time.sleep(0.2)  # in which the other run takes its first
      yield

  monkeypatch.setattr(locks, "reserved", slowly)
  store, done = tmp_path / "store", []

  def take(place, *names):
    work = workdir.Workdir(tmp_path / str(place), made, store=store)
    with work.reserved(*names):
      done.append(place)

  threads = [
    threading.Thread(target=take, args=args, daemon=True)
    for args in ((1, "a", "b", "c"), (2, "c", "b", "d"))
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(PATIENCE)
  assert sorted(done) == [1, 2] and storage.names(store) == []


def test_a_sweep_leaves_out_what_another_run_plants_meanwhile(
  run, config, tmp_path, caplog
):
  own = {"defense__name": "none", "train__epochs": 1, "sweep__width": 2}
  asked = config(sweep__axes="rate=(0.1, 0.2)", evaluate__curve_images=0, **own)
  run(asked, tmp_path / "before")
  first, second = storage.names(tmp_path / "before" / "models")
  store = tmp_path / "store"
  other = workdir.Workdir(tmp_path / "other", asked, store=store)
  args = (asked, tmp_path / "run")
  thread = threading.Thread(target=run, args=args, kwargs={"store": store})
  with other.reserved(first):
    thread.start()
    until = time.monotonic() + PATIENCE
    while f"waiting for model {first}" not in caplog.text:
      assert time.monotonic() < until
      time.sleep(0.01)
    shutil.copytree(tmp_path / "before" / "models" / first, store / first)
  thread.join()
  rows = results.read(tmp_path / "run" / "curves.jsonl")
  assert {row["cell"] for row in rows} == {second}
  assert len(results.read(tmp_path / "run" / "results.jsonl")) == 2
  assert storage.names(store) == [first, second]
