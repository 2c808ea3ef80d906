"""Fixtures that forge files and read them; see `forging`."""

import sys
from pathlib import Path

import pytest

from bdjax.interop import refusals, tensors

sys.path.insert(0, str(Path(__file__).parent))
import forging


@pytest.fixture(scope="session")
def forge():
  """Returns the module that forges files."""
  return forging


@pytest.fixture
def put(tmp_path):
  """Returns a function that writes bytes to a file and returns its path."""

  def write(raw: bytes, name: str = "suspect.pt"):
    path = tmp_path / name
    path.write_bytes(raw)
    return path

  return write


@pytest.fixture(scope="session")
def refusal():
  """Returns a function that returns the sentence a file is refused with."""

  def read(path) -> str:
    with pytest.raises(refusals.Refused) as caught:
      tensors.read(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and said.endswith(".")
    assert said.isascii() and said.isprintable() and len(said) < 600
    return said

  return read


@pytest.fixture(scope="session")
def draw():
  """Returns the function that draws weights."""
  return forging.draw
