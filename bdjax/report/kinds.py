"""Kinds of JSON values, each in words and as a test."""

import math
from typing import Any


def _is_number(value: Any) -> bool:
  number = isinstance(value, int | float) and not isinstance(value, bool)
  return number and math.isfinite(value)


def _is_rate(value: Any) -> bool:
  return _is_number(value) and 0 <= value <= 1


def _is_list(value: Any) -> bool:
  return isinstance(value, list) and all(
    part is None or _is_number(part) for part in value
  )


def _is_whole(value: Any) -> bool:
  return isinstance(value, int) and _is_number(value) and value >= 0


TEXT = "text", lambda value: isinstance(value, str)
RATE = "from 0 to 1", _is_rate
NUMBER = "a number", _is_number
LIST = "a list of numbers", _is_list
WHOLE = "a whole number", _is_whole
