"""A plan, run to its end in a work directory."""

from collections.abc import Sequence
from typing import Any

from jax.sharding import Mesh
from rich.console import Console

from bdjax.machine.storage import Place
from bdjax.report.load import recorded
from bdjax.runs import plans, records, settings
from bdjax.runs import workdir as workdirs
from bdjax.runs.cells import Names
from bdjax.runs.runner import Runner
from bdjax.training.progress import Display


def finish(
  plan: plans.Plan,
  path: Place,
  console: Console,
  *,
  store: Place | None = None,
  save_seconds: float = 20.0,
  mesh: Mesh | None = None,
  shard: tuple[int, int] = (0, 1),
  log_to: Sequence[str] = (),
  command: str = "",
) -> tuple[Place | None, dict[str, str]]:
  """Runs the cells that a work directory lacks.

  Args:
    plan: what is to be there.
    path: the directory, which is made.
    console: where progress is shown.
    store: where planted models are kept; None keeps them in the directory.
    save_seconds: how often training under way is saved.
    mesh: devices that share a cell's batches; None takes one.
    shard: which of how many shares of the cells is run.
    log_to: tensorboard, wandb, mlflow: what is told of finished cells, too.
    command: what the user ran, which the directory keeps.

  Returns:
    The directory, or None if it holds no record; and why cells failed, by name.

  Raises:
    ValueError: the directory cannot be used, or holds another config's results.
  """
  records.where()  # notes the code as it is now: files may change meanwhile
  parts = settings.by_seed(plan)
  _check_known(path.parent if shard[1] > 1 else path, parts)
  with workdirs.opened(
    path, plan.config, store=store, save_seconds=save_seconds, log_to=log_to
  ) as workdir:
    if command:
      workdir.commanded(command)
    share: dict[str, Any] = {"mesh": mesh, "shard": shard}
    runners = [Runner(part, workdir, **share) for part in parts]
    _tell_other_code(workdir, console)
    todo, cells = map(sum, zip(*(r.counts() for r in runners), strict=True))
    if todo:
      finished = f", {cells - todo} finished before" if todo < cells else ""
      count = "1 cell" if todo == 1 else f"{todo} cells"
      console.print(
        f"{count} to run{finished}, in {workdir.path}", soft_wrap=True
      )
      kinds = [kind for runner in runners for kind in runner.kinds()]
      with Display(console, cells=todo, kinds=kinds).running() as display:
        for runner in runners:
          runner.run(display)
    else:
      console.print(
        f"nothing to do: all {cells} cells in {workdir.path} are done",
        soft_wrap=True,
      )
    failures = {k: v for r in runners for k, v in r.failed().items()}
    return workdir.path if workdir.records() else None, failures


def _check_known(path: Place, parts: Sequence[plans.Plan]) -> None:
  """Refuses to add seeds to results of other settings, shards' among them.

  A key set on the command line wins over a preset's, and a config is none the
  other for it.

  Args:
    path: of the run; of a shard, the folder that all of them lie in.
    parts: the plans of the seeds.
  """
  ours = {
    cell.called: names.protocol(cell)
    for names in map(Names, parts)
    for cell in names.cells()
  }
  for record in recorded(path):
    called = tuple(record[k] for k in ("attack", "regime", "defense"))
    known = record.get("protocol")
    if known and ours.get(called, known) != known:
      raise ValueError(
        f"{path} holds {' / '.join(called)} of seed {record['seed']} in other "
        "settings than these (keys given in the command count too); use "
        "another --workdir."
      )


def _tell_other_code(workdir: workdirs.Workdir, console: Console) -> None:
  """Says that cells are kept although the package was another then."""
  known = workdir.records().values()
  count = sum(
    record["code"] != records.code(record)
    for record in known
    if "code" in record
  )
  if count:
    console.print(
      f"{count} of {len(known)} finished cells are of other code than this, "
      "and are kept: another --workdir computes them anew.",
      soft_wrap=True,
    )
