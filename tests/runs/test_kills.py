"""However a run is ended, it ends as the run that nothing ended."""

import os
import re
import signal

import pytest

from bdjax.machine import storage
from bdjax.report import results


@pytest.fixture(scope="module")
def killing(beside):
  return beside("killing")


@pytest.fixture(scope="module")
def killed(killing, tmp_path_factory):
  """Returns how often a run was ended, and the workdir of one that was not."""
  path = tmp_path_factory.mktemp("runs")
  return killing.compare(path, kills=2), path / "whole"


def test_killed_twice_it_ends_the_same(killed):
  assert killed[0] >= 1


def kill_at(bucket, process, pattern):
  """Kills a process when it writes such an object, which is then lost."""

  def watch(name):
    if re.search(pattern, name) and process.poll() is None:
      process.send_signal(signal.SIGKILL)
      process.wait()
      raise ConnectionError(f"{name} was under way")

  bucket.before_write = watch


def test_killed_while_it_writes_into_a_bucket_it_ends_the_same(
  killing, killed, bucket
):
  patterns = (
    "stages/.*/000002/.*manifest",  # after the first epoch was saved
    "results/.*[0-9]-",  # after the curves
  )
  for pattern in patterns:
    process = killing.start("gs://bucket/run")
    kill_at(bucket, process, pattern)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, pattern
  bucket.before_write = lambda name: None
  process = killing.start("gs://bucket/run")
  said = process.communicate()[0]
  assert process.returncode == 0 and "gs://bucket/run/report.html" in said
  there = storage.place("gs://bucket/run")
  keys = {"results": ("cell",), "curves": ("cell", "stage", "epoch")}
  for name, key in keys.items():
    found, wanted = (
      [killing.measured(row) for row in results.read(place / f"{name}.jsonl")]
      for place in (there, killed[1])
    )
    assert results.latest(found, *key) == results.latest(wanted, *key)
  assert storage.names(there / "stages") == []
  assert not os.path.exists(killing.TOP / "gs:")
