"""What there is to choose from: `python -m bdjax.launch list`."""

import inspect
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from bdjax import data
from bdjax.methods import registry, signature
from bdjax.runs import methods
from bdjax.training import regimes


def show(name: str | None, console: Console) -> None:
  """Lists everything by kind, or one method's arguments.

  Args:
    name: of the method; None for everything.
    console: where it is printed.
  """
  if name:
    _method(console, name)
    return
  for kind in registry.KINDS:
    _table(console, kind, registry.describe(kind))
  summaries = {
    k: v.__doc__.partition("\n")[0] for k, v in regimes.REGIMES.items()
  }
  _table(console, "regimes", summaries)
  _table(console, "datasets", data.names())
  console.print(
    "[dim]python -m bdjax.launch list NAME shows its arguments[/dim]"
  )


def _method(console: Console, name: str) -> None:
  """Prints a method's docstring, arguments and presets."""
  kinds = {n: kind for kind in registry.KINDS for n in registry.names(kind)}
  if name in regimes.REGIMES:
    make = regimes.REGIMES[name]
    _arguments(console, name, inspect.getdoc(make), make)
    return
  if name not in kinds:
    known = {**kinds, **regimes.REGIMES}
    raise ValueError(
      f"unknown method {name!r}: {signature.nearest(name, known)}"
    )
  module = registry.module(kinds[name], name)
  _arguments(console, name, module.__doc__.strip(), module.make)
  for preset, args in registry.presets(kinds[name], name).items():
    console.print(f"preset {name}.{preset}: {args or 'the defaults'}")


def _arguments(
  console: Console, name: str, text: str, make: Callable[..., Any]
) -> None:
  console.print(text, markup=False, highlight=False)
  table = Table("argument", "default", "may be", title=f"{name}'s arguments")
  for argument in signature.arguments(make).values():
    if argument.name not in methods.GIVEN:
      table.add_row(argument.name, repr(argument.default), str(argument))
  console.print(table)


def _table(console: Console, title: str, rows: dict[str, str]) -> None:
  console.print(f"[bold]{title}[/bold]")
  grid = Table.grid(padding=(0, 2))
  for name, text in rows.items():
    grid.add_row(f"  {name}", text)
  console.print(grid)
