"""What is said when a file is not read, in one printable line."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

_SHOWN = 80  # characters of a name that are repeated to the reader
_LONGEST = 300  # characters of a path; only a strange one has more
RESAVE = (
  "load it in PyTorch, if you trust its maker, and save only its weights: "
  "torch.save(model.state_dict(), ...)."
)


class Refused(ValueError):
  """A file that is not read, and why."""


class UnsafeFile(Refused):
  """A file that asks for code to be called; none of it was."""


@contextmanager
def about(path: Path) -> Iterator[None]:
  """Puts the file's name before what is said about it within."""
  try:
    yield
  except Refused as fault:
    name = ascii(str(path))[1:-1]
    if len(name) > _LONGEST:
      name = f"{name[:_SHOWN]}..."
    raise type(fault)(f"{name}: {fault}") from None


def shown(text: object) -> str:
  """Returns a stranger's text in printable ASCII, shortened."""
  line = ascii(str(text)[: _SHOWN + 1])[1:-1]
  return line if len(line) <= _SHOWN else line[:_SHOWN] + "..."


def listed(names: Collection[str], *, limit: int = 4) -> str:
  """Returns the first few names and the number of the others."""
  some = ", ".join(shown(name) for name in list(names)[:limit])
  more = len(names) - limit
  return f"{some} and {more} more" if more > 0 else some
