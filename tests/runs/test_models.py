"""Models of a run are made once, and read from the store after that."""

import types

import jax
import jax.numpy as jnp
import pytest

from bdjax.runs import models
from bdjax.runs.workdir import Workdir


@pytest.fixture
def session(tmp_path):
  """Returns what models ask of a run's session."""
  return types.SimpleNamespace(
    workdir=Workdir(tmp_path, {}), shapes={}, fit=lambda name: None
  )


def test_shapes_are_asked_once_and_keep_no_model(session):
  asked = []

  def kept(likes):
    def like():
      asked.append(likes)
      return likes

    return models.kept(session, "m", lambda fit: {"w": jnp.ones(3)}, like=like)

  first = kept(None)
  assert asked == []  # what it made tells
  session.shapes.clear()  # as another run finds it
  for _ in range(2):
    assert kept(first)["w"].tolist() == [1, 1, 1]
  assert asked == [first]
  assert session.shapes == {"m": {"w": jax.ShapeDtypeStruct((3,), jnp.float32)}}
