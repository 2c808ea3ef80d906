"""Loads the data of both sides: the adversary's task, and the user's."""

import re
from typing import Any, NamedTuple

import numpy as np

from bdjax import data
from bdjax.runs import sources
from bdjax.runs.methods import Method
from bdjax.types import Dataset

OWN = "own arrays"  # what data is called that no name loads
BY_SEED = "seed"
DRAWS = ("fixed", BY_SEED)  # whose the training images are: all seeds', or each


class TaskData(NamedTuple):
  """One task's data, and what a model must know of it."""

  info: data.Info
  train: Dataset
  test: Dataset


def drawn(config: dict[str, Any], section: str) -> bool:
  """Returns whether each seed has training images of its own.

  Args:
    config: a whole config.
    section: whose: data or downstream.
  """
  given = config[section]
  return (
    config["data"]["draw"] == BY_SEED
    and given["train_images"] is not None
    and given["name"] not in (None, "synthetic")
  )


def source(config: dict[str, Any], seed: int) -> TaskData:
  """Loads the adversary's data.

  Args:
    config: a whole config.
    seed: draws the training images, if seeds do.

  Raises:
    ValueError: the dataset is unknown or not there, or its crop is too wide.
  """
  return _load_all("data", config["data"], _draw(config, "data", seed))


def user(
  config: dict[str, Any], scenario: Method, source: TaskData, seed: int
) -> TaskData:
  """Loads the data of the user whom a scenario's model reaches.

  Args:
    source: the adversary's, which is the user's too in standalone.
    seed: draws the training images, if seeds do.

  Raises:
    ValueError: `downstream` is missing, needless, or of another image size.
  """
  section, label = config["downstream"], scenario.label
  if not scenario.built.elsewhere:
    if section["name"] is not None:
      raise ValueError(
        f"downstream.name is {section['name']!r}, but the scenario {label} has "
        "no second task: use the scenario transfer or encoder, or leave it out."
      )
    return source
  if section["name"] is None:
    raise ValueError(
      f"the scenario {label} needs the user's data: give "
      "--config.downstream.name, such as gtsrb."
    )
  places = {k: config["data"][k] for k in ("dir", "cache")}
  draw = _draw(config, "downstream", seed)
  loaded = _load_all("downstream", section | places, draw)
  if loaded.info.shape != source.info.shape:
    height, width = source.info.shape[:2]
    raise ValueError(
      f"downstream.name is {loaded.info.name!r} with images of "
      f"{loaded.info.shape[0]}x{loaded.info.shape[1]}, but those of "
      f"{source.info.name} are {height}x{width}: resize one, as in "
      f"{loaded.info.name.partition('@')[0]}@{height}."
    )
  return loaded


def _draw(config: dict[str, Any], section: str, seed: int) -> int:
  return seed if drawn(config, section) else 0


def _load_all(label: str, section: dict[str, Any], draw: int) -> TaskData:
  with sources.named(f"{label}.name"):
    info = data.info(section["name"], data_dir=section["dir"])
  if section["crop"] is not None:
    info = info._replace(crop=_crop(label, section["crop"], info))
  if section["flip"] is not None:
    info = info._replace(flip=section["flip"])

  def load(split, images, draw=0):
    try:
      return data.load(
        section["name"],
        split,
        images=images,
        draw=draw,
        data_dir=section["dir"],
        cache_dir=section["cache"],
      )
    except ValueError as error:
      key = f"{label}.{split}_images is"
      raise ValueError(re.sub("^images is", key, str(error))) from error

  train = load("train", section["train_images"], draw)
  _check_classes(label, section, info, train, draw)
  return TaskData(info, train, load("test", section["test_images"]))


def _check_classes(
  label: str,
  section: dict[str, Any],
  info: data.Info,
  train: Dataset,
  draw: int,
) -> None:
  """Refuses a training set that shows nothing of a class."""
  present = np.unique(np.asarray(train.label)).tolist()
  missing = min(set(range(info.num_classes)) - set(present), default=None)
  if missing is None:
    return
  images = section["train_images"]
  lacking = f"class {missing} has no image"
  where = {"data_dir": section["dir"], "cache_dir": section["cache"]}
  enough = images and data.enough(info.name, draw=draw, **where)
  if images and images < enough:
    raise ValueError(
      f"{label}.train_images is {images}, of which {lacking}: give at least "
      f"{enough}."
    )
  raise ValueError(
    f"{label}.name is {info.name!r}, where {lacking} to train on: add some."
  )


def _crop(label: str, pixels: int, info: data.Info) -> int:
  if not 0 <= pixels < min(info.shape[:2]):
    raise ValueError(
      f"{label}.crop is {pixels}, but images are {info.shape[0]}x"
      f"{info.shape[1]}: give 0 (no random crop) or a few pixels, such as 4."
    )
  return pixels
