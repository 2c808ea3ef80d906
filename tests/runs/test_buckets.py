"""A run in a bucket is the run in a folder."""

import json

import pytest

from bdjax import launch, report
from bdjax.machine import storage
from bdjax.report import results
from bdjax.runs import settings
from bdjax.runs.workdir import Workdir

TIMES = ("finished", "device_hours")


def measured(path, name="results"):
  """Returns a log's records without what differs between any two runs."""
  return [
    {
      key: value
      for key, value in record.items()
      if key not in TIMES and not key.startswith("seconds")
    }
    for record in results.read(path / f"{name}.jsonl")
  ]


@pytest.fixture(scope="module")
def made(config):
  """Returns a config whose defense leaves pictures, and a sequel."""
  return config(
    defense__name="neural_cleanse(rounds=1)",
    defense__epochs=1,
    sequela={"name": "reinjection(epochs=1, batch_size=10)"},
  )


@pytest.fixture(scope="module")
def here(run, made, tmp_path_factory):
  path = tmp_path_factory.mktemp("here")
  run(made, path)
  return path


def test_a_run_in_a_bucket_is_the_run_in_a_folder(run, made, here, bucket):
  there = storage.place("gs://bucket/some/run")
  run(made, there)
  for name in ("results", "curves", "sequela"):
    found = measured(there, name)
    assert found == measured(here, name) and found
  local = {p.relative_to(here).as_posix() for p in here.glob("*/*.npz")}
  assert any("findings/" in name for name in local)
  assert local == {
    name.removeprefix("some/run/")
    for name in bucket.names()
    if name.endswith(".npz")
  }
  tops = {name.split("/")[2] for name in bucket.names()}
  assert {name.split("/")[:2] == ["some", "run"] for name in bucket.names()}
  folders = {"results", "curves", "sequela", "pictures", "findings", "models"}
  assert tops == folders | {"config.json"}  # no stages are left
  once = [name for name in bucket.wrote if "/stages/" not in name]
  assert len(once) == len(set(once)), "an object was written again"

  bucket.wrote.clear()
  assert run(made, there)[0].todo() == []
  assert bucket.wrote == ["some/run/config.json"]


def test_a_run_in_a_bucket_is_reported(made, here, bucket, capsys):
  for path in here.rglob("*"):
    if path.is_file() and path.name != "report.html":
      bucket.put(f"run/{path.relative_to(here)}", path.read_bytes())
  bucket.asked.clear()
  assert launch.main(["bdjax", "report", "gs://bucket/run"]) == 0
  assert "report: gs://bucket/run/report.html" in capsys.readouterr().out
  report.write(here)
  local = (here / "report.html").read_bytes()
  assert bucket.objects["run/report.html"] == local
  assert bucket.asked["read"] < 12 and bucket.asked["list"] < 12
  assert launch.main(["bdjax", "gallery", "gs://bucket/run"]) == 0
  report.write_gallery(here)
  local = (here / "gallery.html").read_bytes()
  assert bucket.objects["run/gallery.html"] == local


def test_shards_in_a_bucket_share_a_store_and_are_reported_as_one(
  run, config, bucket
):
  made = config(defense__name="none", seeds=(0, 1))
  there = storage.place("gs://bucket/run")
  for i in range(2):
    path = there / f"shard-{i}-of-2"
    run(made, path, shard=(i, 2), store=there / "models")
  found = report.load(there)
  assert {record["seed"] for record in found.cells} == {0, 1}
  assert len(found.pictures) == 2
  assert found.config == json.loads(json.dumps(settings.plan(made).config))
  assert len(storage.names(there / "models")) == 2


@pytest.mark.parametrize("what", ["POST", "bucket"])
def test_a_bucket_that_refuses_is_a_sentence(made, bucket, what):
  storage._show_bucket.cache_clear()
  there = storage.place("gs://bucket/run")
  bucket.refused = {what}
  said = r"cannot write to the workdir gs://bucket/run \(.*you may not\); give"
  with pytest.raises(ValueError, match=said):
    Workdir(there, made)
  assert bucket.names() == []
