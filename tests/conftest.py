"""What all tests share: strict jax, four CPU devices, a compilation cache."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax import augment, registry
from bdjax.types import Dataset, Recipe, Task

CLASSES = 4


def pytest_configure(config):
  """Makes jax strict before any test runs."""
  cache = config.rootpath / ".jax_cache"
  for name, value in {
    "jax_platforms": "cpu",
    "jax_num_cpu_devices": 4,
    "jax_numpy_rank_promotion": "raise",
    "jax_debug_key_reuse": True,
    "jax_compilation_cache_dir": str(cache),
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
  }.items():
    jax.config.update(name, value)


@pytest.fixture(scope="session")
def toy() -> Dataset:
  """Returns 64 images of 8 x 8 whose bright column tells one of 4 classes."""
  rng = np.random.default_rng(0)
  label = np.arange(64) % CLASSES
  image = rng.integers(0, 100, (64, 8, 8, 3))
  image[np.arange(64), :, 2 * label] = 220
  return Dataset(jnp.asarray(image, jnp.uint8), jnp.asarray(label, jnp.int32))


@pytest.fixture(scope="session")
def model():
  """Returns a tiny classifier for the toy images."""
  make = registry.get("models", "cnn")
  return make(CLASSES, width=4, mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(scope="session")
def task(toy, model) -> Task:
  """Returns a two-epoch task on the toy images."""
  recipe = Recipe(epochs=2, batch_size=16, lr=0.05)
  return Task(toy, model, recipe, view=augment.standard(padding=1))
