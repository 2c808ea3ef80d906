"""Which architecture a suspect has: its file, its user or its weights say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bdjax.cleanse.pictures import printable
from bdjax.interop import layouts, naming, tables
from bdjax.interop.refusals import listed
from bdjax.machine import notes
from bdjax.methods import specs, values


def asked(
  path: Path,
  statements: Mapping[str, tuple[Any, str]],
  given: str | None,
  named: naming.Tensors,
) -> tuple[str, dict[str, Any]]:
  """Returns an architecture, and what the user says of its form.

  If nobody says, it is the one whose names and shapes the tensors have.

  Args:
    path: of the suspect.
    statements: what its file says: value and who says so, by name.
    given: `--arch`.
    named: its tensors.

  Raises:
    ValueError: nobody says, and they fit none, or several; or the file says one
      that is not read; or what the user says cannot be read.
  """
  if given is not None:
    name, bracket, rest = given.partition("(")
    return tables.known(name) or name, _said(given, rest) if bracket else {}
  name = statements.get("model_name", ("", ""))[0]
  known = tables.known(name)
  if known is not None:
    return known, {}
  readable = ", ".join(tables.ARCHITECTURES)
  if name:
    raise ValueError(
      f"{printable(path)} says that it is {printable(name)}, which cleanse "
      f"cannot read; it reads {readable}: give --arch only if it is one of "
      "these."
    )
  fitting = [arch for arch in tables.ARCHITECTURES if _fits(named, arch)]
  if len(fitting) == 1:
    notes.say(
      f"{printable(path)} is taken for a {fitting[0]}, the only architecture "
      "here whose names and shapes it has; --arch says otherwise."
    )
    return fitting[0], {}
  claim = f", and its weights fit {listed(fitting, limit=9)}" if fitting else ""
  raise ValueError(
    f"the architecture of {printable(path)} is not given{claim}; give --arch, "
    f"one of {readable}."
  )


def _said(given: str, rest: str) -> dict[str, Any]:
  """Returns what `--arch` says of a form.

  Args:
    given: all of `--arch`.
    rest: what follows its first bracket.

  Raises:
    ValueError: it cannot be read.
  """
  try:
    (form,) = specs.parse(f"form({rest}")
  except ValueError:
    raise ValueError(
      f"--arch is {values.shown(given)}, which cannot be read; write it as "
      "'resnet18(stem=cifar_pool, activation=relu)'."
    ) from None
  return form.args


def _fits(named: naming.Tensors, arch: str) -> bool:
  """Returns whether tensors have an architecture's names and shapes."""
  if not naming.begun(named, arch):
    return False
  try:
    layouts.to_flax(named, arch)
  except ValueError:
    return False
  return True


def form(
  arch: str, arguments: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns what the user says of a form, as the architecture takes it.

  Args:
    arch: the architecture.
    arguments: that its weights tell.
    given: what the user says.

  Raises:
    ValueError: it is nothing that the weights leave open.
  """
  forms = tables.left_open(arch, arguments)
  chosen = {}
  for name, value in given.items():
    values = {str(one): one for one in forms.get(name, ())}
    if str(value) not in values:
      known = "; ".join(f"{k} {listed(v, limit=9)}" for k, v in forms.items())
      raise ValueError(
        f"--arch says {name}={value} of {arch}, whose weights leave open: "
        f"{known}."
      )
    chosen[name] = values[str(value)]
  return chosen
