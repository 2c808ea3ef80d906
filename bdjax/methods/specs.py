"""Methods as text: `ft(lr=0.05),super_ft.scarce` names two defenses.

A method is written `name`, `name.preset`, or either with arguments in Python's
call syntax; only literals are read, nothing is executed. A word needs no
quotes: `ft(part=head)`. Several values in brackets are an axis of a sweep:
`ft(lr=(0.01, 0.05))` is two methods.
"""

import ast
import itertools
from typing import Any, NamedTuple


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
    raise ValueError(f"{text!r} is not the name of a method: give a string.")
  try:
    body = ast.parse(text.strip(), mode="eval").body
    items = body.elts if isinstance(body, ast.Tuple | ast.List) else [body]
    return [_spec(item) for item in items]
  except (SyntaxError, ValueError, AttributeError) as error:
    raise ValueError(
      f"cannot read {text!r}: write name, name.preset or name(argument=value), "
      "separated by commas."
    ) from error


def _spec(node: ast.expr) -> Spec:
  args = {}
  if isinstance(node, ast.Call):
    if node.args:
      raise ValueError("arguments need their names")
    args = {k.arg: _value(k.value) for k in node.keywords}
    node = node.func
  if isinstance(node, ast.Constant) and isinstance(node.value, str):
    return parse(node.value)[0]
  if isinstance(node, ast.Attribute):
    return Spec(node.value.id, node.attr, args)
  return Spec(node.id, None, args)


def _value(node: ast.expr) -> Any:
  return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def expand(spec: Spec, axes: dict[str, tuple]) -> list[Spec]:
  """Returns a spec for each combination of its arguments' values.

  Args:
    spec: an argument of it may be a tuple or list of values.
    axes: further arguments with their values; its own come first.
  """
  given = axes | spec.args
  several = {
    k: v if isinstance(v, tuple | list) else (v,) for k, v in given.items()
  }
  return [
    spec._replace(args=dict(zip(several, values, strict=True)))
    for values in itertools.product(*several.values())
  ]


def axes(text: str) -> dict[str, tuple]:
  """Reads the axes of a sweep: `lr=(0.01, 0.05), rate=(0.05, 0.1)`.

  Raises:
    ValueError: the text is not of that form, or an axis has no values.
  """
  found = parse(f"sweep({text})")[0].args if text else {}
  for name, values in found.items():
    if not isinstance(values, tuple | list) or not values:
      raise ValueError(
        f"the sweep's axis {name} is {values!r}: give its values in brackets, "
        f"such as {name}=(0.1, 0.2)."
      )
  return found
