"""Methods as text: `ft(lr=0.05),super_ft.scarce` names two defenses.

A method is written `name`, `name.preset`, or either with arguments in Python's
call syntax; only literals are read, nothing is executed. A word needs no
quotes: `ft(part=head)`.
"""

import ast
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
