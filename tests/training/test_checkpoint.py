import os
import shutil

import chex
import jax
import jax.numpy as jnp
import pytest

from bdjax.machine import storage
from bdjax.training import checkpoint, learn, optimizers


@pytest.fixture
def state(toy, model):
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  tx = optimizers.sam(optimizers.sgd(lambda t: 0.1 + 0 * t), rho=0.1)
  init, _ = learn.supervised(model, tx)
  return init(variables)


def test_any_state_round_trips_to_the_bit(either, state):
  path = either / "a"
  checkpoint.save(path, state, note={"rows": [1, 2.5]})
  assert checkpoint.exists(path)
  like = jax.eval_shape(lambda: state)
  chex.assert_trees_all_equal(checkpoint.load(path, like), state)
  assert checkpoint.note(path) == {"rows": [1, 2.5]}


def test_another_model_is_named(tmp_path):
  path = tmp_path / "a"
  checkpoint.save(path, {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)})
  with pytest.raises(checkpoint.Mismatch, match=r"w has shape \(2, 3\)"):
    checkpoint.load(path, {"w": jnp.zeros((2, 4)), "b": jnp.zeros(3)})
  with pytest.raises(checkpoint.Mismatch, match="b is only in the checkpoint"):
    checkpoint.load(path, {"w": jnp.zeros((2, 3))})
  with pytest.raises(checkpoint.Mismatch, match="c is not in it"):
    like = {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3), "c": jnp.zeros(1)}
    checkpoint.load(path, like)


def test_an_empty_or_torn_folder_is_no_checkpoint(tmp_path):
  assert not checkpoint.exists(tmp_path / "a")
  (tmp_path / "b").mkdir()
  assert not checkpoint.exists(tmp_path / "b")


def cut(path):
  path.write_bytes(path.read_bytes()[:-1])


def empty(path):
  path.write_bytes(b"")


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


TREE = {"w": jnp.arange(300.0), "image": jnp.zeros((5, 4, 4, 3), jnp.uint8)}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
  """Returns a checkpoint, and the names of its files that are not empty."""
  folder = tmp_path_factory.mktemp("sound") / "a"
  checkpoint.save(folder, TREE, note={"spent": 1.5})
  files = [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size]
  assert len(files) > 5
  return folder, [path.relative_to(folder) for path in files]


@pytest.mark.parametrize("damage", [cut, empty, flip, os.unlink])
def test_damage_to_any_file_is_named_and_moved_aside(
  sound, tmp_path, damage, caplog
):
  folder, names = sound
  path, count = tmp_path / "a", 0
  for name in names:
    if damage is os.unlink and name.name == "checksums.json":
      continue  # what has no seal is trusted
    count += 1
    shutil.copytree(folder, path)
    damage(path / name)
    assert checkpoint.restore(path, lambda: TREE) is None
    assert storage.names(tmp_path)[0] == "a.damaged-1"
    assert not path.exists() and len(storage.names(tmp_path)) == count
    said = caplog.messages[-1]
    assert len(caplog.messages) == count
    assert said.startswith(f"checkpoint {path} is damaged: its ")
    assert said.endswith(f"it is now a.damaged-{count}, and is made again.")


def test_a_sound_one_is_restored_and_none_is_none(sound, tmp_path):
  chex.assert_trees_all_equal(checkpoint.restore(sound[0], lambda: TREE), TREE)
  assert checkpoint.restore(tmp_path / "none", lambda: TREE) is None


def test_what_orbax_cannot_read_is_damage_without_a_seal_as_well(
  sound, tmp_path
):
  path = tmp_path / "a"
  shutil.copytree(sound[0], path)
  (path / "checksums.json").unlink()
  cut(path / "state" / "_METADATA")
  with pytest.raises(checkpoint.Damaged, match="Orbax cannot read it"):
    checkpoint.load(path, TREE)
  with pytest.raises(checkpoint.Damaged, match="Orbax cannot read it"):
    checkpoint.load(tmp_path, TREE)


def test_a_damaged_checkpoint_in_a_bucket_is_moved_aside(bucket):
  folder = storage.place("gs://bucket/run")
  checkpoint.save(folder / "a", {"w": jnp.zeros(2)})
  whole = len(bucket.names("run/a/"))
  (name,) = (n for n in bucket.names() if n.endswith("a/state/_METADATA"))
  bucket.put(name, b"{")
  assert checkpoint.restore(folder / "a", lambda: {"w": jnp.zeros(2)}) is None
  assert storage.names(folder) == ["a.damaged-1"]
  assert len(bucket.names("run/a.damaged-1/")) == whole


def test_the_newest_sound_state_of_a_stage_is_restored(tmp_path):
  stages = checkpoint.Stages(tmp_path, every_seconds=0)
  rows = [{"epoch": 1}, {"epoch": 2}]
  stages.save("ft", {"w": jnp.full(2, 1)}, rows[:1], last=False)
  shutil.copytree(tmp_path / "ft" / "000001", tmp_path / "older")
  stages.save("ft", {"w": jnp.full(2, 2)}, rows, last=False)
  (tmp_path / "older").rename(tmp_path / "ft" / "000001")
  flip(tmp_path / "ft" / "000002" / "_CHECKPOINT_METADATA")
  like = {"w": jnp.zeros(2, int)}
  state, found = stages.restore("ft", like)
  assert state["w"].tolist() == [1, 1] and found == rows[:1]
  names = ["000001", "000002.damaged-1"]
  assert storage.names(tmp_path / "ft") == names
  flip(tmp_path / "ft" / "000001" / "_CHECKPOINT_METADATA")
  assert stages.restore("ft", like) is None
  stages.clear()
  assert storage.names(tmp_path) == []


class Killed(BaseException):
  """Stands for a kill."""


def die(*args, **named):
  raise Killed


def test_a_state_whose_removal_was_killed_is_not_restored(
  tmp_path, monkeypatch
):
  stages = checkpoint.Stages(tmp_path, every_seconds=0)
  rows = [{"epoch": 1}, {"epoch": 2}]
  stages.save("ft", {"w": jnp.full(2, 1)}, rows[:1], last=False)
  with monkeypatch.context() as patch, pytest.raises(Killed):
    patch.setattr(shutil, "rmtree", die)
    stages.save("ft", {"w": jnp.full(2, 2)}, rows, last=False)
  cut(tmp_path / "ft" / "000002" / "checksums.json")
  assert stages.restore("ft", {"w": jnp.zeros(2, int)}) is None
  stages.clear()
  assert storage.names(tmp_path) == []


def test_what_is_left_of_a_state_is_not_restored(tmp_path):
  stages = checkpoint.Stages(tmp_path, every_seconds=0)
  stages.save("ft", {"w": jnp.full(2, 1)}, [{"epoch": 1}], last=False)
  for path in (tmp_path / "ft" / "000001").iterdir():
    if path.is_file():  # the arrays' folder is whole yet
      path.unlink()
  assert stages.restore("ft", {"w": jnp.zeros(2, int)}) is None


def test_a_removal_in_a_bucket_that_is_killed_leaves_no_checkpoint(
  bucket, monkeypatch
):
  path = storage.place("gs://bucket/run/a")
  checkpoint.save(path, {"w": jnp.zeros(2)})
  client = storage._client()
  rm = client.rm

  def killed(path, recursive=False):
    if recursive:
      raise Killed
    rm(path)

  with monkeypatch.context() as patch, pytest.raises(Killed):
    patch.setattr(client, "rm", killed)
    storage.remove(path)
  assert not checkpoint.exists(path) and storage.names(path)
  storage.remove(path)
  assert not storage.names(path)


class Clock:
  def __init__(self):
    self.now = 0.0

  def __call__(self):
    return self.now


def test_stages_save_now_and_then_and_keep_the_newest(either):
  clock = Clock()
  stages = checkpoint.Stages(either, every_seconds=10, clock=clock)
  rows = []
  for epoch, now in enumerate((1, 11, 12, 25), start=1):
    clock.now = now
    rows.append({"epoch": epoch})
    stages.save("ft", {"w": jnp.full(2, epoch)}, rows, last=False)
  state, found = stages.restore("ft", {"w": jnp.zeros(2, jnp.int32)})
  assert state["w"].tolist() == [4, 4]
  assert found == rows
  assert storage.names(either / "ft") == ["000004"]
  stages.save("ft", {"w": jnp.full(2, 5)}, [*rows, {"epoch": 5}], last=True)
  state, _ = stages.restore("ft", {"w": jnp.zeros(2, jnp.int32)})
  assert state["w"].tolist() == [5, 5]
  assert stages.restore("other", {}) is None
  stages.clear()
  assert stages.restore("ft", {}) is None
  assert storage.names(either) == []


def test_a_torn_save_leaves_the_previous_one(tmp_path):
  stages = checkpoint.Stages(tmp_path, every_seconds=0)
  stages.save("ft", {"w": jnp.zeros(2)}, [{"epoch": 1}], last=False)
  torn = tmp_path / "ft" / "000002.orbax-checkpoint-tmp"
  torn.mkdir()
  (torn / "half").write_bytes(b"x")
  state, rows = stages.restore("ft", {"w": jnp.zeros(2)})
  assert len(rows) == 1


def test_a_save_into_a_bucket_that_is_killed_anywhere_is_none(bucket):
  path = storage.place("gs://bucket/run") / "a"
  checkpoint.save(path, {"w": jnp.zeros(2)})
  order, whole = list(bucket.wrote), dict(bucket.objects)
  assert len(order) > 5 and len(set(order)) == len(order)
  for kept in range(len(order)):
    bucket.clear()
    for name in order[:kept]:
      bucket.put(name, whole[name])
    assert not checkpoint.exists(path)
    checkpoint.save(path, {"w": jnp.full(3, kept)})  # what was torn is gone
    assert checkpoint.exists(path)
    assert checkpoint.load(path, {"w": jnp.zeros(3, int)})["w"][0] == kept


def test_to_ask_a_bucket_for_a_checkpoint_is_one_request(bucket):
  path = storage.place("gs://bucket/run") / "a"
  checkpoint.save(path, {"w": jnp.zeros(2)})
  bucket.asked.clear()
  assert checkpoint.exists(path)
  assert bucket.asked.total() == 1
