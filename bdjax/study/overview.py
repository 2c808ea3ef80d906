"""All that is shown of runs: their tables, their pages, and their studies'."""

import contextlib
from collections.abc import Iterator, Sequence

from rich.console import Console

from bdjax import report
from bdjax.machine.storage import Place
from bdjax.study import page


def write(folders: Sequence[Place | str], console: Console) -> None:
  """Prints runs' tables and writes their pages, and one for each study.

  Several runs also have a page that compares them, in the first one's folder.

  Raises:
    ValueError: a folder holds no results, or what no run writes.
  """
  with readable(folders):
    runs = [report.load(folder) for folder in folders]
    for run in runs:
      report.show(run, console)
      console.print(f"report: {report.write(run)}", soft_wrap=True)
    if len({run.workdir for run in runs}) > 1:
      path = report.write_comparison(runs)
      console.print(f"comparison: {path}", soft_wrap=True)
    page.write(runs, console)


@contextlib.contextmanager
def readable(folders: Sequence[Place | str]) -> Iterator[None]:
  """Has records whose values make no sense end the block in a sentence.

  Args:
    folders: whose records are shown in the block.

  Raises:
    ValueError: some make none.
  """
  try:
    yield
  except (OSError, ValueError):
    raise
  except Exception as error:  # code that trusts its records raises anything
    names = ", ".join(map(str, folders))
    raise ValueError(
      f"{names}: some record holds what no run writes, so that it cannot be "
      f"shown ({type(error).__name__}: {error}); mend or delete it."
    ) from error
