"""A small run from Python, shared by the tests of the room."""

import numpy as np
import pytest

import bdjax
from bdjax import data

SMALL = {
  "train.epochs": 2,
  "train.batch_size": 32,
  "defense.clean_rate": 0.5,
  "defense.epochs": 1,
  "defense.batch_size": 16,
  "evaluate.batch_size": 32,
}


def own():
  """Returns few small images as NumPy arrays."""
  given = {}
  for split, count in (("train", 96), ("test", 64)):
    part = data.load("synthetic", split, images=count)
    images = np.asarray(part.image)[:, ::4, ::4]
    given[split] = images, np.asarray(part.label)
  return given


def run(workdir, **changed):
  given = {
    "attack": "badnets(size=2)",
    "defense": "ft",
    "model": "cnn(width=4)",
  }
  given |= {"keys": SMALL, "workdir": workdir, "quiet": True} | changed
  return bdjax.experiment(own(), **given)


@pytest.fixture(scope="session")
def given():
  """Returns the images that runs are given."""
  return own()


@pytest.fixture(scope="session")
def outcome(tmp_path_factory):
  return run(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="session")
def again():
  """Returns what runs the same with changes."""
  return run
