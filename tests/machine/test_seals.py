"""A folder that has changed since it was sealed is known."""

import os

import pytest

from bdjax.machine import seals


def cut(path):
  path.write_bytes(path.read_bytes()[:-1])


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


@pytest.fixture
def folder(tmp_path):
  for name in ("a", "deep/er/b"):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(range(256)))
  seals.seal(tmp_path)
  return tmp_path


@pytest.mark.parametrize("name", ["a", "deep/er/b"])
@pytest.mark.parametrize("damage", [cut, flip, os.unlink])
def test_damage_is_named(folder, name, damage):
  assert seals.damage(folder) is None
  damage(folder / name)
  words = "is missing" if damage is os.unlink else "is not what was written"
  assert seals.damage(folder) == f"its {name} {words}"


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a":' * 100_000])
def test_a_damaged_seal_is_damage(folder, content):
  (folder / "checksums.json").write_text(content)
  assert seals.damage(folder) == "its checksums.json cannot be read"


def test_what_was_never_sealed_is_trusted_and_what_is_added_ignored(folder):
  (folder / ".nfs01").write_text("of the disk's own")
  assert seals.damage(folder) is None
  (folder / "checksums.json").unlink()
  cut(folder / "a")
  assert seals.damage(folder) is None
