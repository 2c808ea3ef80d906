"""The keys of a config, for a command's help: read from configs/base.py."""

import ast
import io
import textwrap
import tokenize
from collections.abc import Iterator

from bdjax.machine import shipped

BASE = "base"
PLACES = ("data.dir", "data.cache")  # of one machine, which decide nothing
WIDE, COLUMN = 86, 35  # letters of a line, and where remarks begin
TITLE = "keys of a config (--config.KEY=VALUE) and their values in {path}:"


def text() -> str:
  """Returns each key with its value and what the file says of it; or "".

  The file is read, not run.
  """
  path = shipped.config(BASE)
  if path is None:
    return ""
  source = path.read_text(encoding="utf-8")
  lines = [TITLE.format(path=f"configs/{path.name}")]
  remarks = _remarks(source)
  for key, value, row in _keys(ast.parse(source)):
    shown = f"  {key}={value}"
    remark = textwrap.wrap(remarks.get(row, ""), WIDE - COLUMN) or [""]
    for start, part in zip([shown, *[""] * len(remark)], remark, strict=False):
      lines.append(f"{start:<{COLUMN - 1}} {part}".rstrip())
  return "\n".join(lines)


def _remarks(source: str) -> dict[int, str]:
  """Returns the remark behind each row's code."""
  tokens = tokenize.generate_tokens(io.StringIO(source).readline)
  return {
    token.start[0]: token.string.lstrip("# ")
    for token in tokens
    if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip()
  }


def _keys(tree: ast.Module) -> Iterator[tuple[str, str, int]]:
  """Yields each key that `get_config` sets: its name, value and row."""
  (function,) = (
    node
    for node in tree.body
    if isinstance(node, ast.FunctionDef) and node.name == "get_config"
  )
  for node in function.body:
    if not isinstance(node, ast.Assign):
      continue
    (target,) = node.targets
    if not isinstance(target, ast.Attribute):
      continue
    if not isinstance(node.value, ast.Call):
      yield target.attr, _shown(node.value), node.lineno
      continue
    for argument in node.value.args:
      if isinstance(argument, ast.Dict):
        for key, value in zip(argument.keys, argument.values, strict=True):
          yield f"{target.attr}.{key.value}", _shown(value), key.lineno


def _shown(value: ast.expr) -> str:
  """Returns a value as it is typed; a placeholder has none."""
  return "" if isinstance(value, ast.Call) else ast.unparse(value).strip("'")
