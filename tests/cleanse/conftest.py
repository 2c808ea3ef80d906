"""A small classifier with a backdoor, as a stranger would hand it over."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from bdjax.interop import layouts, tensors
from bdjax.methods import registry
from bdjax.training import loop
from bdjax.types import Dataset, Recipe, Task

ARCH, CLASSES, TARGET = "preact_resnet18", 4, 1
LEVELS = {"mean": (0.3,) * 3, "std": (0.3,) * 3}


class Handed(NamedTuple):
  """What the user has."""

  model: Path
  clean: Path
  suspected: Path


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns images of 8 x 8 whose bright column tells one of four classes."""
  rng = np.random.default_rng(seed)
  label = np.arange(count) % CLASSES
  image = rng.integers(0, 100, (count, 8, 8, 3))
  image[np.arange(count), :, 2 * label] = 220
  return image.astype(np.uint8), label.astype(np.int32)


def save(folder: Path, images: np.ndarray, names: list[str]) -> Path:
  for i, (image, name) in enumerate(zip(images, names, strict=True)):
    (folder / name).mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / name / f"{i:03}.png")
  return folder


def write(path: Path, **given) -> Path:
  """Writes an untrained model."""
  model = registry.get("models", ARCH)(CLASSES, width=4)
  variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
  tensors.write(path, layouts.to_torch(variables, ARCH), given)
  return path


@pytest.fixture(scope="session")
def handed(tmp_path_factory) -> Handed:
  """Returns files of a planted model, clean images and triggered ones."""
  folder = tmp_path_factory.mktemp("handed")
  image, label = draw(256, 0)
  data = Dataset(jnp.asarray(image), jnp.asarray(label))
  model = registry.get("models", ARCH)(CLASSES, width=4, **LEVELS)
  task = Task(data, model, Recipe(epochs=6, batch_size=32, lr=0.05))
  attack = registry.get("attacks", "badnets")(rate=0.2, target=TARGET)
  planted = attack.plant(jax.random.key(0), task, loop.host_fit())
  state = layouts.to_torch(planted.variables, ARCH)
  tensors.write(folder / "suspect.safetensors", state, {})
  sidecar = {"model_name": ARCH, **LEVELS}
  (folder / "suspect.json").write_text(json.dumps(sidecar))
  image, label = draw(64, 1)
  save(folder / "clean", image, ["abcd"[c] for c in label])
  (folder / "clean" / "a" / ".DS_Store").write_bytes(b"no image")
  image, label = draw(40, 2)
  hit = attack.trigger(
    jax.random.key(0), jnp.asarray(image, jnp.float32) / 255, planted.params
  )
  hit = np.round(np.asarray(hit) * 255).astype(np.uint8)
  save(folder / "suspected", hit, ["abcd"[c] for c in label])
  return Handed(
    folder / "suspect.safetensors", folder / "clean", folder / "suspected"
  )
