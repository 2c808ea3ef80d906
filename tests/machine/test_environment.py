import json
import subprocess

import jax
import pytest

from bdjax.machine import environment


def test_describe_names_the_machine():
  about = environment.describe()
  assert about["device"] == jax.devices()[0].device_kind
  assert about["platform"] == jax.default_backend()
  assert about["devices"] == jax.device_count()
  assert about["version_jax"] == jax.__version__
  assert about["host_cores"] > 0
  assert json.loads(json.dumps(about)) == about
  assert not [k for k, v in about.items() if isinstance(v, dict | list)]


def fresh(*methods):
  """Returns a digest of the code as it is by now, past the caches."""
  environment._files.cache_clear()
  return environment.code.__wrapped__(methods or None, ("attacks", "defenses"))


@pytest.fixture
def checkout(tmp_path, monkeypatch):
  """Returns a fresh checkout of a package, which counts as bdjax's."""
  package = tmp_path / "bdjax"
  (package / "machine").mkdir(parents=True)
  (package / "machine" / "environment.py").write_text("")
  who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
  for args in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "one")):
    subprocess.run(["git", *args], cwd=tmp_path, check=True)
  where = package / "machine" / "environment.py"
  monkeypatch.setattr(environment, "__file__", str(where))
  return tmp_path


def test_a_digest_is_of_the_packages_python_files(checkout):
  digest = fresh
  before = digest()
  assert len(before) == 12
  (checkout / "bdjax" / "notes.txt").touch()  # no code
  (checkout / "other.py").touch()  # nor of the package
  assert digest() == before
  new = checkout / "bdjax" / "new_defense.py"
  new.touch()
  named = digest()
  new.rename(checkout / "bdjax" / "newer_defense.py")
  assert len({before, named, digest()}) == 3
  (checkout / "bdjax" / "newer_defense.py").unlink()
  assert digest() == before


def test_other_methods_and_who_reads_results_decide_none(checkout):
  package = checkout / "bdjax"
  for name in ("attacks/parts", "defenses", "report", "training"):
    (package / name).mkdir(parents=True)
  for name in ("attacks/badnets", "attacks/__init__", "attacks/parts/poison"):
    (package / f"{name}.py").touch()

  digest = fresh
  before = digest("attacks/badnets.py")
  for name in ("attacks/cross", "defenses/shrink", "report/page", "launch"):
    (package / f"{name}.py").touch()
  assert digest("attacks/badnets.py") == before
  assert digest("attacks/badnets.py", "attacks/cross.py") != before
  (package / "attacks" / "badnets.py").write_text("1")
  changed = digest("attacks/badnets.py")
  (package / "attacks" / "parts" / "poison.py").write_text("1")
  shared = digest("attacks/badnets.py")
  (package / "training" / "learn.py").touch()
  assert len({before, changed, shared, digest("attacks/badnets.py")}) == 4


def test_a_revision_says_whether_the_code_is_its(checkout):
  plain = environment.revision()
  assert len(plain) == 12
  (checkout / "notes.txt").touch()  # no code
  assert environment.revision() == plain
  new = checkout / "bdjax" / "new_defense.py"
  new.touch()
  assert environment.revision() == plain + "+"
  new.unlink()
  (checkout / "bdjax" / "machine" / "environment.py").write_text("1")
  assert environment.revision() == plain + "+"
