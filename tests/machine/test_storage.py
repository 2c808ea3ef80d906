"""Folders and buckets do the same for a run; all else is refused."""

import importlib.util
import os
from pathlib import Path

import pytest

from bdjax.machine import storage
from bdjax.report import results

ROW = {"cell": "c", "stage": "s", "epoch": 1}


def test_what_is_written_is_read_listed_and_removed(either):
  folder = either
  assert storage.names(folder) == [] and storage.read(folder / "a") is None
  storage.make(folder)
  for name, content in (("b", b"\x00\xff"), ("a", "é"), ("b", b"new")):
    assert storage.write(folder / name, content) == folder / name
  storage.make(folder / "c")
  storage.write(folder / "c" / "d", "deep")
  assert storage.names(folder) == ["a", "b", "c"]
  paths = [folder / name for name in ("a", "none", "b", "a/none")]
  assert storage.read_all(paths) == ["é".encode(), None, b"new", None]
  storage.remove(folder / "c")
  assert storage.names(folder) == ["a", "b"]
  storage.remove(folder / "c")


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
  monkeypatch.setattr(storage.secrets, "token_hex", lambda n: "0" * n)
  mine = tmp_path / "mine"
  mine.write_text("kept")
  (tmp_path / ".a.0000.tmp").symlink_to(mine)
  for attempt in (lambda p: storage.write(p, "x"), storage.probe):
    with pytest.raises(OSError, match="File exists"):
      attempt(tmp_path / "a")
  assert mine.read_text() == "kept" and not (tmp_path / "a").exists()


def test_what_is_written_may_be_read_by_those_who_read_others(tmp_path):
  (tmp_path / "plain").write_text("")
  storage.write(tmp_path / "a", "")
  assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_probe_leaves_nothing(tmp_path):
  (tmp_path / "a").write_text("kept")
  storage.probe(tmp_path / "a")
  assert [path.name for path in tmp_path.iterdir()] == ["a"]
  assert (tmp_path / "a").read_text() == "kept"
  for path in (Path("/proc/x"), tmp_path / "b" / "c", tmp_path / ("x" * 250)):
    with pytest.raises(OSError):
      storage.probe(path)


def test_regular_files_alone_are_opened(tmp_path):
  (tmp_path / "a").write_bytes(b"text")
  (tmp_path / "link").symlink_to("a")
  with storage.regular(tmp_path / "link") as file:
    assert file.read() == b"text"
  os.mkfifo(tmp_path / "pipe")
  for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
    with pytest.raises(OSError, match="no regular file"):
      storage.regular(path)


def test_a_log_keeps_its_order(either):
  storage.make(either)
  log = either / "curves.jsonl"
  assert results.read(log) == []
  rows = [ROW | {"cell": cell} for cell in "cabc"]
  results.append(log, rows[:1], required=results.CURVE)
  results.append(log, rows[1:3], required=results.CURVE)
  results.append(log, rows[3:], required=results.CURVE)
  results.append(log, [], required=results.CURVE)
  assert results.read(log) == rows


def test_a_local_log_is_one_file(tmp_path):
  log = tmp_path / "curves.jsonl"
  for _ in range(2):
    results.append(log, [ROW], required=results.CURVE)
  assert [path.name for path in tmp_path.iterdir()] == ["curves.jsonl"]
  line = b'{"cell": "c", "stage": "s", "epoch": 1}\n'
  assert log.read_bytes() == 2 * line


def test_a_log_in_a_bucket_is_an_object_per_call(bucket):
  log = storage.place("gs://bucket/run") / "curves.jsonl"
  for _ in range(2):
    results.append(log, [ROW, ROW], required=results.CURVE)
  names = bucket.names()
  assert len(names) == 2 and bucket.wrote == names
  assert all(n.startswith("run/curves/") for n in names)
  assert all(n.endswith("-c.jsonl") for n in names)
  line = b'{"cell": "c", "stage": "s", "epoch": 1}\n'
  assert set(bucket.objects.values()) == {2 * line}


def test_a_log_that_was_copied_is_read(bucket, tmp_path):
  there = storage.place("gs://bucket/run") / "curves.jsonl"
  results.append(there, [ROW], required=results.CURVE)
  here = tmp_path / "curves.jsonl"
  for name, content in bucket.objects.items():
    path = tmp_path / name.removeprefix("run/")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
  assert results.read(here) == [ROW]
  later = ROW | {"epoch": 2}
  results.append(here, [later], required=results.CURVE)
  assert results.read(here) == [later, ROW]
  bucket.put("run/curves.jsonl", here.read_bytes())
  assert results.read(there) == [later, ROW]


def test_a_bad_object_is_named(bucket):
  log = storage.place("gs://bucket/run") / "curves.jsonl"
  bucket.put("run/curves/1-c.jsonl", b"[1]\n")
  with pytest.raises(ValueError, match=r"gs://bucket/run/curves/1-c.jsonl, li"):
    results.read(log)


@pytest.mark.parametrize("count", [1, 40])
def test_a_log_is_listed_once_and_each_object_read_once(bucket, count):
  log = storage.place("gs://bucket/run") / "curves.jsonl"
  for i in range(count):
    bucket.put(f"run/curves/{i:03}-c.jsonl", b'{"epoch": %d}\n' % i)
  bucket.asked.clear()
  assert results.read(log) == [{"epoch": i} for i in range(count)]
  # and once for the file that a local log is
  assert bucket.asked == {"list": 1, "get": 1, "read": count}


def test_an_appended_record_is_one_request(bucket):
  log = storage.place("gs://bucket/run") / "curves.jsonl"
  bucket.asked.clear()
  results.append(log, [ROW], required=results.CURVE)
  assert bucket.asked == {"write": 1}


def test_what_another_process_writes_is_seen(bucket):
  folder = storage.place("gs://bucket/run")
  storage.write(folder / "a", "mine")
  assert storage.names(folder) == ["a"]
  assert not storage.committed(folder / "model")
  bucket.put("run/b", b"another's")
  bucket.put("run/model/commit_success.txt", b"")
  assert storage.names(folder) == ["a", "b", "model"]
  assert storage.committed(folder / "model")


@pytest.mark.parametrize(
  "path",
  [
    "s3://b/run",
    "az://b/run",
    "file:///run",
    "gs:/b/run",
    "gs://",
    "gs:///run",
  ],
)
def test_other_schemes_are_refused(path):
  with pytest.raises(ValueError) as caught:
    storage.place(path)
  assert str(caught.value).startswith(f"{path} is neither a local folder nor")


def test_folders_with_a_colon_are_local(tmp_path):
  for name in ("a:b", "12:30/run", "runs/gs:/x"):
    assert storage.place(tmp_path / name) == tmp_path / name
    assert str(storage.place(name)) == name


def test_a_bucket_without_its_packages_says_how_to_get_them(monkeypatch):
  find = importlib.util.find_spec
  absent = {"gcsfs": None}
  monkeypatch.setattr(
    importlib.util, "find_spec", lambda name: absent.get(name, find(name))
  )
  with pytest.raises(ValueError, match="gs://b/run.*`uv sync --extra gcs`"):
    storage.place("gs://b/run")


def test_a_bucket_that_lets_nobody_in_is_named(bucket):
  bucket.refused = {"GET"}
  with pytest.raises(ValueError, match="cannot reach gs://bucket.*you may not"):
    storage.place("gs://bucket/run")


def test_what_must_be_local_is_refused_elsewhere(tmp_path):
  assert storage.local(str(tmp_path), "--out") == tmp_path
  for path in ("gs://b/x", "s3://b/x", "gs:/b/x"):
    with pytest.raises(ValueError, match=f"--out is {path}, but must be a loc"):
      storage.local(path, "--out")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
  path = tmp_path / "one"
  storage.write(path, "old")
  with storage.replacing(path) as one, storage.replacing(path) as other:
    assert one != other  # two that write the same do not meet
    one.write_text("new")
    other.write_text("newer")
    assert path.read_text() == "old"
  assert path.read_text() == "new"  # of the block that ended last
  with pytest.raises(ZeroDivisionError), storage.replacing(path) as half:
    half.write_text("half")
    raise ZeroDivisionError
  assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("home", [None, "", "cache", "./here"])
def test_a_cache_never_lies_in_the_current_folder(home, monkeypatch):
  monkeypatch.setattr(storage.Path, "home", lambda: storage.Path("/home/one"))
  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  if home is not None:
    monkeypatch.setenv("XDG_CACHE_HOME", home)
  wanted = storage.Path("/home/one/.cache/bdjax/xla")
  assert storage.cache("xla") == wanted


def test_a_cache_lies_where_the_user_keeps_caches(monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
  assert storage.cache("xla") == storage.Path("/elsewhere/bdjax/xla")
