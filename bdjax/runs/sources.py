"""Which key of a config says an argument, so that a refusal can name it.

A method refuses `ft.lr` or `batch_size`, its own names. Whoever reads that has
written a key, `defense.batch_size`, or the method's text, `defense.name='ft(
lr=...)'`. What built the method knows which, and words the refusal anew.
"""

import contextlib
import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from bdjax.methods import specs
from bdjax.types import Recipe

_RECIPE = frozenset(f.name for f in dataclasses.fields(Recipe))
_TRAINED = ("attack", "regime")  # sections whose methods train by the recipe
_WHOLE = ("scenario", "seeds", "precision", "study")  # keys without a section


class Source(NamedTuple):
  """Where a config says the arguments of a method.

  Attributes:
    section: of the config, such as attack; or a key that is no section.
    spec: the method's text, read.
    keys: of the section.
    axes: arguments to which sweep.axes gives values.
  """

  section: str
  spec: specs.Spec
  keys: frozenset[str] = frozenset()
  axes: frozenset[str] = frozenset()

  def key(self, argument: str) -> str:
    """Returns the key that says an argument, or would."""
    if argument not in self.spec.args:
      if argument in self.axes:
        return f"sweep.axes='{argument}=...'"
      if argument in self.keys:
        return f"{self.section}.{argument}"
    place = self.section if self.section in _WHOLE else f"{self.section}.name"
    head = str(self.spec._replace(args={}))
    return f"{place}='{head}({argument}=...)'"

  def worded(self, text: str, arguments: Collection[str]) -> str:
    """Returns a refusal that names keys where a method named arguments.

    Args:
      text: names them as `method.argument`, or a clause begins with one: `rate
        is 2, ...`.
      arguments: of the method.
    """
    recipe = _RECIPE - set(arguments) if self.section in _TRAINED else ()
    own = "|".join(map(re.escape, (*arguments, *recipe)))
    if not own:
      return text
    name = re.escape(self.spec.name)
    pattern = rf"(?<![\w.])(?:{name}\.|(?:^|(?<=: ))(?=\w+ is ))({own})\b"

    def key(found: re.Match[str]) -> str:
      argument = found[1]
      return f"train.{argument}" if argument in recipe else self.key(argument)

    return re.sub(pattern, key, text)


def of(
  kind: str, section: dict[str, Any], axes: Collection[str] | None = None
) -> Source:
  """Returns where a section says arguments, for specs to be put in.

  Args:
    kind: attacks, defenses, sequela or models.
    section: its keys.
    axes: arguments of sweep.axes.
  """
  keys = frozenset(section) - {"name"}
  name = kind.removesuffix("s")
  return Source(name, specs.Spec("", None, {}), keys, frozenset(axes or ()))


@contextlib.contextmanager
def named(key: str) -> Iterator[None]:
  """Puts a key before a refusal that names none of its section."""
  section = key.partition(".")[0]
  try:
    yield
  except ValueError as error:
    if re.search(rf"\b{section}(\.\w| is |=)|\bsweep\.axes", str(error)):
      raise
    raise ValueError(f"{key}: {error}") from error


def flagged(text: str, keys: Iterable[str]) -> str:
  """Returns a sentence with keys as a command line has them.

  Args:
    text: names keys: `train.epochs is 0, ...`.
    keys: all of the config, with dots.
  """
  dotted = [re.escape(key) for key in keys if "." in key]
  whole = "|".join(_WHOLE)
  pattern = (
    rf"(?<![\w.'\"-])(?:({'|'.join(dotted)})(?!\w|\.\w)"
    rf"|(?:^|(?<=: ))({whole})(?= is |=|: ))"
  )
  return re.sub(pattern, lambda found: f"--config.{found[0]}", text)
