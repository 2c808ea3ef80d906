"""What all tests share: strict jax, four CPU devices, quick compilation."""

import contextlib
import gc
import importlib.util
import io
import logging
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from bdjax.data import augment
from bdjax.machine import storage
from bdjax.methods import registry
from bdjax.runs import settings, workdir
from bdjax.runs.runner import Runner
from bdjax.training.progress import Display
from bdjax.types import Dataset, Recipe, Task

CLASSES = 4


def pytest_configure(config):
  """Makes jax strict before any test runs, and programs quick to compile.

  Most of the suite's time is compilation, and most of that is optimization,
  which programs this small do not repay; nor do they repay the fusion emitters,
  three quarters of what is left, or being cut into parts. Processes that tests
  start do so too, use the same programs, and may keep what Python compiles:
  else each spends seconds on its imports.
  Tracing makes objects by the million and few circles of them: looking for
  those as often as Python does takes a seventh of its time.
  """
  gc.set_threshold(200_000, 20, 50)
  os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
  flags = os.environ.get("XLA_FLAGS", "")
  flags += " --xla_cpu_use_fusion_emitters=false"
  os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_parallel_codegen_split_count=1"
  os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
  cache = config.rootpath / ".jax_cache"
  os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
  for name, value in {
    "jax_platforms": "cpu",
    "jax_num_cpu_devices": 4,
    "jax_numpy_rank_promotion": "raise",
    "jax_debug_key_reuse": True,
    "jax_disable_most_optimizations": True,
    "jax_compilation_cache_dir": str(cache),
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
  }.items():
    jax.config.update(name, value)


def module_beside(name):
  """Returns a module that lies beside this one."""
  where = Path(__file__).parent / f"{name}.py"
  spec = importlib.util.spec_from_file_location(name, where)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(autouse=True)
def _log():
  """Puts the log back as it was: the program has it printed and kept."""
  log = logging.getLogger("bdjax")
  before = log.level, log.propagate, [*log.handlers]
  yield
  log.setLevel(before[0])
  log.propagate, log.handlers = before[1:]


@pytest.fixture(scope="session")
def beside():
  """Returns what loads a module of tests/ by its name."""
  return module_beside


@pytest.fixture(scope="session")
def reused():
  """Returns what finds keys that a program derives twice; see keys.py."""
  return module_beside("keys").reused


@pytest.fixture(scope="session")
def _bucket():
  """Leads all clients of buckets to one that is here."""
  with (
    module_beside("bucket").serving() as made,
    pytest.MonkeyPatch.context() as patch,
  ):
    for name, value in made.environ.items():
      patch.setenv(name, value)
    yield made


@pytest.fixture
def bucket(_bucket):
  """Returns the bucket gs://bucket, empty; see bucket.py."""
  _bucket.clear()
  return _bucket


@pytest.fixture(params=["local", "bucket"])
def either(request, tmp_path):
  """Returns a folder that does not exist yet, here or in a bucket."""
  if request.param == "local":
    return tmp_path / "run"
  request.getfixturevalue("bucket")
  return storage.place("gs://bucket/run")


@contextlib.contextmanager
def _heard(name):
  """Yields a list that grows with every event of jax of such a name."""
  seen = []

  def note(event, seconds, **more):
    if event == f"/jax/core/compile/{name}_duration":
      seen.append(seconds)

  jax.monitoring.register_event_duration_secs_listener(note)
  yield seen
  jax.monitoring.unregister_event_duration_listener(note)


@pytest.fixture
def compilations():
  """Returns a list that grows with every program compiled or loaded."""
  with _heard("backend_compile") as seen:
    yield seen


@pytest.fixture
def traces():
  """Returns a list that grows with every function that is traced."""
  with _heard("jaxpr_trace") as seen:
    yield seen


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


def small_config(**changes):
  """Returns a small config with dotted keys changed."""
  made = {
    "data": {
      "name": "synthetic",
      "train_images": 200,
      "test_images": 50,
      "crop": None,
      "dir": None,
      "cache": None,
    },
    "model": {"name": "cnn", "width": 4, "dtype": None},
    "attack": {"name": "badnets", "rate": 0.1, "target": 0, "mode": "all2one"},
    "regime": {"name": "conventional"},
    "train": {
      "epochs": 2,
      "batch_size": 32,
      "lr": 0.05,
      "momentum": 0.9,
      "weight_decay": 5e-4,
      "schedule": "cosine",
    },
    "scenario": "standalone",
    "downstream": {
      "name": None,
      "train_images": None,
      "test_images": None,
      "crop": None,
    },
    "defense": {
      "name": "ft",
      "clean_rate": 0.5,
      "balanced": False,
      "epochs": None,
      "batch_size": 16,
    },
    "sweep": {"axes": "", "width": None},
    "evaluate": {"batch_size": 50, "curve_images": 20, "curve_every": 1},
    "seeds": (0,),
  }
  for key, value in changes.items():
    section, _, name = key.partition("__")
    if name:
      made[section][name] = value
    else:
      made[section] = value
  return made


@pytest.fixture(scope="session")
def config():
  """Returns the maker of small configs."""
  return small_config


def run_config(config, path, *, fails=0, shard=(0, 1), store=None):
  """Runs a config in a workdir; so many cells and sequela may fail.

  Returns:
    The runner, and what was shown.
  """
  plan = settings.plan(config)
  with workdir.opened(path, plan.config, store=store) as work:
    runner = Runner(plan, work, shard=shard)
    console = Console(file=io.StringIO(), width=100)
    with Display(console, cells=runner.counts()[0]).running() as display:
      runner.run(display)
  assert len(runner.failures) == fails, runner.failures
  return runner, console.file.getvalue()


@pytest.fixture(scope="session")
def run():
  """Returns what runs a config in a workdir."""
  return run_config
