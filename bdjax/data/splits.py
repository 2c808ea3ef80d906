"""Draws subsets of datasets, of static sizes.

`sample` and `clean_subset` draw on the host, the same on every machine;
`hold_out` may be traced, so that defenses can split what they hold.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.types import Array, Dataset, Key


def shuffled(count: int, *, seed: int | list[int] = 0) -> np.ndarray:
  """Returns a permutation of range(count), the same on every machine.

  It sorts raw PCG64 bits, since numpy may change its own shuffle.
  """
  bits = np.random.PCG64(seed).random_raw(count)
  return np.argsort(bits, kind="stable")


def sample(data: Dataset, count: int) -> Dataset:
  """Returns so many examples, all where there are fewer, in a random order.

  The same ones on every machine. The first ones would be of few classes where
  data lies in the order of its classes, as folders of images do.
  """
  return _rows(data, shuffled(data.size)[:count])


def clean_subset(
  key: Key, data: Dataset, *, rate: float, balanced: bool = False
) -> Dataset:
  """Draws the defender's clean subset without replacement.

  Args:
    key: decides the draw.
    data: what to draw from.
    rate: share of the examples in (0, 1].
    balanced: draw the same number of every class, round(rate * N / classes);
      else round(rate * N) uniformly.

  Raises:
    ValueError: the rate is out of range, the subset would be empty, or a class
      has too few examples.
  """
  _check_rate(rate)
  order = _order(key, data.size)
  if not balanced:
    return _take(data, order[: _count(rate, data.size, "examples")])
  label = np.asarray(data.label)[order]
  classes = np.unique(label)
  count = _count(rate, data.size / len(classes), "examples a class")
  return _take(
    data, np.concatenate([_first(order[label == c], count, c) for c in classes])
  )


def hold_out(
  key: Key, data: Dataset, *, rate: float
) -> tuple[Dataset, Dataset]:
  """Splits a dataset in two, to stop training by the second part.

  Args:
    key: decides the draw.
    data: what to split.
    rate: share of the second part, in (0, 1).

  Returns:
    The rest, and the part held out: round(rate * N) examples.

  Raises:
    ValueError: the rate is out of range, or a part would be empty.
  """
  _check_rate(rate)
  count = _count(rate, data.size, "examples")
  if count == data.size:
    raise ValueError(
      f"holding out the share {rate} of {data.size} examples leaves none to "
      "train on; lower the rate."
    )
  order = jax.random.permutation(key, data.size)
  rest, part = jnp.sort(order[count:]), jnp.sort(order[:count])
  return _rows(data, rest), _rows(data, part)


def _check_rate(rate: float) -> None:
  if not 0 < rate <= 1:
    raise ValueError(f"the rate of a subset is {rate}; give one in (0, 1].")


def _count(rate: float, size: float, unit: str) -> int:
  count = round(rate * size)
  if count == 0:
    raise ValueError(
      f"the share {rate} of {size:g} {unit} is an empty subset; give at least "
      f"{1 / size:g}, or load more images."
    )
  return count


def _first(rows: np.ndarray, count: int, label: int) -> np.ndarray:
  if len(rows) < count:
    raise ValueError(
      f"a balanced subset needs {count} examples of class {label}, which has "
      f"{len(rows)}; lower the rate or draw without balance."
    )
  return rows[:count]


def _order(key: Key, count: int) -> np.ndarray:
  seed = np.asarray(jax.random.key_data(key)).ravel()
  return shuffled(count, seed=[int(word) for word in seed])


def _take(data: Dataset, rows: np.ndarray) -> Dataset:
  return _rows(data, np.sort(rows))


def _rows(data: Dataset, rows: np.ndarray | Array) -> Dataset:
  return jax.tree.map(lambda leaf: leaf[rows], data)
