"""Methods as text: `ft(lr=0.05),super_ft.scarce` names two defenses.

A method is written `name`, `name.preset`, or either with arguments in Python's
call syntax; only literals are read, nothing is executed. A word needs no
quotes: `ft(part=head)`. Several values in brackets are an axis of a sweep:
`ft(lr=(0.01, 0.05))` is two methods. Of an argument that is several numbers
itself, such as one per channel, brackets are one value, `name(mean=(0.5, 0.4,
0.5))`, and an axis is brackets in brackets.
"""

import ast
import itertools
import warnings
from collections.abc import Collection
from typing import Any, NamedTuple

from bdjax.methods import values

# What Python's parser raises; the last two of expressions that are too deep.
_UNREADABLE = (
  *(AttributeError, SyntaxError, SyntaxWarning, TypeError, ValueError),
  *(MemoryError, RecursionError),
)


class Spec(NamedTuple):
  """A method by name, with what its author or user fixed."""

  name: str
  preset: str | None
  args: dict[str, Any]

  def __str__(self) -> str:
    """Returns the spec as text, which `parse` reads back."""
    head = f"{self.name}.{self.preset}" if self.preset else self.name
    args = ", ".join(f"{k}={v!r}" for k, v in self.args.items())
    return f"{head}({args})" if args else head


def parse(text: str | tuple | list) -> list[Spec]:
  """Reads methods separated by commas, or a sequence of such texts.

  Raises:
    ValueError: the text is not of that form.
  """
  if isinstance(text, tuple | list):
    return [spec for one in text for spec in parse(one)]
  if not isinstance(text, str):
    raise ValueError(
      f"{values.shown(text)} is not the name of a method: give a string."
    )
  try:
    body = _tree(text.strip()).body
    items = body.elts if isinstance(body, ast.Tuple | ast.List) else [body]
    return [_spec(item) for item in items]
  except _UNREADABLE as error:
    raise ValueError(
      f"cannot read {values.shown(text)}: write name, name.preset or "
      "name(argument=value), separated by commas."
    ) from error


def _tree(text: str) -> ast.Expression:
  with warnings.catch_warnings():
    warnings.simplefilter("error", SyntaxWarning)  # such as of 1if
    return ast.parse(text, mode="eval")


def _spec(node: ast.expr) -> Spec:
  args = {}
  if isinstance(node, ast.Call):
    names = [keyword.arg for keyword in node.keywords]
    if node.args or None in names or len(set(names)) < len(names):
      raise ValueError("arguments need names of their own")
    args = {k.arg: _value(k.value) for k in node.keywords}
    node = node.func
  elif isinstance(node, ast.Constant):  # in quotes, as of a tuple's text
    (spec,) = parse(node.value)
    return spec
  if isinstance(node, ast.Attribute):
    return Spec(node.value.id, node.attr, args)
  return Spec(node.id, None, args)


def _value(node: ast.expr) -> Any:
  return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def swept(spec: Spec, sequences: Collection[str] = ()) -> dict[str, tuple]:
  """Returns the arguments to which a spec's text gives several values.

  Args:
    spec: as `parse` reads it.
    sequences: arguments that are several numbers themselves.

  Raises:
    ValueError: an axis has no values, or one twice.
  """
  return {
    name: _axis(name, given)
    for name, given in spec.args.items()
    if isinstance(given, tuple | list)
    and (name not in sequences or _nested(given))
  }


def expand(
  spec: Spec, axes: dict[str, tuple], sequences: Collection[str] = ()
) -> list[Spec]:
  """Returns a spec for each combination of its arguments' values.

  Args:
    spec: an argument of it may be a tuple or list of values.
    axes: further arguments with their values; its own come first.
    sequences: arguments that are several numbers themselves.

  Raises:
    ValueError: an axis has no values, or one twice, or single numbers as values
      of an argument that is several.
  """
  for name, given in axes.items():
    if name in sequences and not _nested(given):
      raise ValueError(
        f"the axis {name} is {values.shown(given)}, but every value of {name} "
        f"is several numbers: give each its own brackets, such as {name}="
        "((0.1, 0.2), (0.3, 0.4))."
      )
  single = {name: (value,) for name, value in spec.args.items()}
  several = axes | single | swept(spec, sequences)
  return [
    spec._replace(args=dict(zip(several, combination, strict=True)))
    for combination in itertools.product(*several.values())
  ]


def _nested(given: tuple | list) -> bool:
  return any(isinstance(value, tuple | list) for value in given)


def axes(text: str) -> dict[str, tuple]:
  """Reads the axes of a sweep: `lr=(0.01, 0.05), rate=(0.05, 0.1)`.

  Raises:
    ValueError: the text is not of that form, or an axis has no values, or one
      twice.
  """
  try:
    sweeps = parse(f"sweep({text})")
  except ValueError:
    sweeps = []
  if len(sweeps) != 1:
    raise ValueError(
      f"sweep.axes is {values.shown(text)}, but must be axes alone, such as "
      "lr=(0.01, 0.05), schedule=('constant', 'cosine')."
    )
  return {k: _axis(k, given) for k, given in sweeps[0].args.items()}


def _axis(name: str, given: Any) -> tuple:
  """Returns an axis' values.

  Raises:
    ValueError: there are none, or one comes twice.
  """
  if not isinstance(given, tuple | list) or not given:
    raise ValueError(
      f"the axis {name} is {values.shown(given)}: give its values in "
      f"brackets, such as {name}=(0.1, 0.2)."
    )
  for i, value in enumerate(given):
    if value in given[:i]:
      raise ValueError(
        f"the axis {name} has {values.shown(value)} twice: leave one out."
      )
  return tuple(given)
