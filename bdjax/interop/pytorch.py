"""Writes PyTorch's own files, where PyTorch is installed.

The one place that imports it. Files are read without it: nothing here reads.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np

SUFFIXES = (".pt", ".pth")


def check(path: Path) -> None:
  """Refuses, before any work, a PyTorch file that could not be written.

  Raises:
    ValueError: it is to be one, and PyTorch is not installed.
  """
  if path.suffix in SUFFIXES and importlib.util.find_spec("torch") is None:
    raise ValueError(
      f"{path} is to be in PyTorch's own format, which PyTorch alone writes, "
      "and it is not installed here; install torch, or give a name that ends "
      "in .safetensors, which PyTorch reads as well."
    )


def save(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
  """Writes a plain state dict with torch.save."""
  import torch

  with open(path, "wb") as file:
    torch.save({k: torch.tensor(v) for k, v in tensors.items()}, file)
