"""Loads the data of both sides: the adversary's task, and the user's."""

from typing import Any, NamedTuple

from bdjax import data
from bdjax.runs.methods import Method
from bdjax.types import Dataset


class TaskData(NamedTuple):
  """One task's data, and what a model must know of it."""

  info: data.Info
  train: Dataset
  test: Dataset


def source(config: dict[str, Any]) -> TaskData:
  """Loads the adversary's data.

  Args:
    config: a whole config.

  Raises:
    ValueError: the dataset is unknown or not there, or its crop is too wide.
  """
  return _load_all("data", config["data"])


def user(
  config: dict[str, Any], scenario: Method, source: TaskData
) -> TaskData:
  """Loads the data of the user whom a scenario's model reaches.

  Args:
    config: a whole config.
    scenario: its scenario.
    source: the adversary's, which is the user's too in standalone.

  Raises:
    ValueError: `downstream` is missing, needless, or of another image size.
  """
  section, label = config["downstream"], scenario.label
  if not scenario.made.elsewhere:
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
  loaded = _load_all("downstream", section | places)
  if loaded.info.shape != source.info.shape:
    height, width = source.info.shape[:2]
    raise ValueError(
      f"downstream.name is {loaded.info.name!r} with images of "
      f"{loaded.info.shape[0]}x{loaded.info.shape[1]}, but those of "
      f"{source.info.name} are {height}x{width}: resize one, as in "
      f"{loaded.info.name.partition('@')[0]}@{height}."
    )
  return loaded


def _load_all(label: str, section: dict[str, Any]) -> TaskData:
  info = data.info(section["name"], data_dir=section["dir"])
  if section["crop"] is not None:
    info = info._replace(crop=_crop(label, section["crop"], info))

  def load(split, images):
    return data.load(
      section["name"],
      split,
      images=images,
      data_dir=section["dir"],
      cache_dir=section["cache"],
    )

  return TaskData(
    info,
    load("train", section["train_images"]),
    load("test", section["test_images"]),
  )


def _crop(label: str, pixels: int, info: data.Info) -> int:
  if not 0 <= pixels < min(info.shape[:2]):
    raise ValueError(
      f"{label}.crop is {pixels}, but images are {info.shape[0]}x"
      f"{info.shape[1]}: give 0 (no random crop) or a few pixels, such as 4."
    )
  return pixels
