"""What programs are lowered for: shapes of data, tasks and models."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from bdjax.data import augment
from bdjax.methods import registry
from bdjax.training import learn, regimes
from bdjax.types import Access, Dataset, Params, Recipe, Task


class Images(NamedTuple):
  """A dataset's shape."""

  count: int
  shape: tuple[int, int, int]  # height, width, channels
  classes: int


CIFAR10 = Images(50000, (32, 32, 3), 10)
TEST = CIFAR10._replace(count=10000)


def model(name: str, images: Images, args: dict[str, Any]) -> nn.Module:
  """Returns a registered model for the images' classes."""
  return registry.get("models", name)(images.classes, **args)


def task(
  model: nn.Module, batch: int, regime: str
) -> Callable[[Dataset], Task]:
  """Returns what makes a training set the adversary's task.

  Args:
    model: of the victim.
    batch: images of a step.
    regime: by name.
  """
  return lambda data: Task(
    data,
    model,
    recipe=Recipe(epochs=2, batch_size=batch),
    regime=regimes.REGIMES[regime](),
    view=augment.standard(),
  )


def access(model: nn.Module, images: Images, rate: float) -> Access:
  """Returns what a defender has.

  Args:
    model: of the suspect.
    images: the training set.
    rate: share of it that the defender holds.
  """
  whole = dataset(images)
  clean = dataset(images._replace(count=round(rate * images.count)))
  variables = jax.eval_shape(
    lambda key, data: learn.init_variables(key, data, model=model),
    key(),
    whole,
  )
  return Access(
    variables, clean, whole, model, augment.standard(), Recipe(epochs=2)
  )


def dataset(images: Images) -> Dataset:
  """Returns a dataset of shapes."""
  shape = (images.count, *images.shape)
  return Dataset(
    jax.ShapeDtypeStruct(shape, jnp.uint8),
    jax.ShapeDtypeStruct(shape[:1], jnp.int32),
  )


def key() -> jax.ShapeDtypeStruct:
  """Returns a random key's shape."""
  return jax.eval_shape(lambda: jax.random.key(0))


def shape(x: Any) -> jax.ShapeDtypeStruct:
  """Returns an array's shape and dtype, also of one that is traced."""
  return jax.ShapeDtypeStruct(jnp.shape(x), x.dtype)


def laid(tree: Params, sharding: NamedSharding) -> Params:
  """Returns shapes that lie on described devices."""
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
  )
