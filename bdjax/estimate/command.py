"""What a run will take: `python -m bdjax.launch estimate --config ...`.

seconds = multiplications and additions of all stages / how many a second this
machine does. The first are counted in the traced methods (`runs.work`); the
second is measured in a few steps of plain training of the config's model, at
each batch size that occurs, on all devices as the run would use them. Scoring,
on the test set and for curves, is counted likewise and taken to be as fast.
What a method does between its stages (scores of filters, masks of pruning) and
compiling come on top; searches that may stop early are counted in full. Of
sequela, shadow models, retraining and perturbations are counted, these with
what is asked of models after it.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
from jax.sharding import Mesh
from rich.console import Console
from rich.table import Table

from bdjax.aot.targets import Target
from bdjax.estimate import ahead, asked, filling, memory
from bdjax.report.results import Record
from bdjax.runs import experiment, knowledge, plans, sequel_cells, speed, work
from bdjax.runs.cells import Cell, Names
from bdjax.runs.speed import Speed
from bdjax.runs.work import Stage
from bdjax.types import Backdoor, Defended, Fit, Task


class Item(NamedTuple):
  """Trainings that are alike.

  Attributes:
    label: what is trained.
    cells: names of the cells that it trains.
    count: how often the run does it.
    stages: what it consists of.
    scoring: floating-point operations of scoring one, after and during it.
  """

  label: str
  cells: tuple[str, ...]
  count: int
  stages: list[Stage]
  scoring: float = 0.0


def show(
  plan: plans.Plan,
  records: Iterable[Record],
  console: Console,
  mesh: Mesh | None = None,
  target: Target | None = None,
) -> None:
  """Prints what a plan will take, beside what its finished cells took.

  Args:
    records: of cells that may be finished.
    mesh: devices that share a cell's batches; None for one.
    target: devices to compile for, instead of measuring here.
  """
  with console.status("counting the work of every method"):
    entries = items(plan)
  sizes = sorted({s.batch_size for item in entries for s in item.stages})
  speeds = {}
  for size in sizes:
    if target is not None:
      with console.status(f"compiling {size} images for {target.name}"):
        speeds[size] = ahead.speed(plan, size, target)
      continue
    with console.status(f"measuring training steps of {size} images"):
      speeds[size] = speed.measure(plan, size, mesh)
  filled = filling.shares(plan) if plan.together and target is None else {}
  console.print(_table(entries, speeds, filled, list(records)))
  training = sum(seconds(item, speeds, filled) for item in entries)
  scoring = sum(item.count * scored(item, speeds) for item in entries)
  where = "on this machine now" if target is None else ahead.basis(target)
  console.print(
    f"in all {_duration(training)} of training and {_duration(scoring)} of "
    f"scoring, {where};"
  )
  compiling = max((s.compile_seconds for s in speeds.values()), default=0.0)
  console.print(
    f"beside it up to {_duration(compiling)} of compiling a stage, the first "
    "time."
  )
  together = None if target is None else ahead.width(plan)
  stages = [stage for item in entries for stage in item.stages]
  needs = memory.needed(plan, stages, speeds, together)
  parts = ", ".join(f"{k} {v / 2**20:,.0f}" for k, v in needs.items())
  total = sum(needs.values()) / 2**20
  console.print(f"memory of a device: {total:,.0f} MiB ({parts})")
  if target is not None:
    console.print(f"{ahead.verdict(sum(needs.values()), target)}.")


def items(plan: plans.Plan) -> list[Item]:
  """Returns all that a plan trains."""
  names, entries = Names(plan), []
  groups: dict[tuple[str, str], list[Cell]] = {}
  for cell in names.cells():
    if cell.defense is None:
      groups.setdefault((cell.attack.label, cell.regime.label), []).append(cell)
  starts_clean, shapes, scoring = False, {}, 0.0
  for (attack, regime), cells in groups.items():
    shapes[attack], stages, needs = _planted(plan, cells[0])
    starts_clean = starts_clean or needs
    ids = tuple(names.id(cell) for cell in cells)
    scoring = _scoring(plan, cells[0], shapes[attack])
    label = f"plant {attack}, {regime}"
    often = 1 + _points(plan, stages)
    entries.append(Item(label, ids, len(cells), stages, often * scoring))
  compares = plan.elsewhere and plan.defenses
  if starts_clean or compares or plan.floor or plan.sequela:
    stages = _clean(plan, names.cells()[0])
    entries.insert(0, Item("train clean victims", (), len(plan.seeds), stages))
  for defense in plan.defenses:
    cells = [c for c in names.cells() if c.defense is defense]
    ids = tuple(names.id(cell) for cell in cells)
    beside = plan.floor or plan.sequela
    compares = beside and not defense.built.needs_train
    repeats = len(plan.seeds) if plan.elsewhere or compares else 0
    stages = _defended(plan, cells[0], shapes[cells[0].attack.label])
    often = 1 + _points(plan, stages)
    count = len(cells) + repeats
    entries.append(Item(defense.label, ids, count, stages, often * scoring))
  return entries + _sequela(plan, names, shapes, scoring)


def seconds(
  item: Item, speeds: dict[int, Speed], filled: dict[str, float]
) -> float:
  """Returns the predicted seconds of training of all of an item.

  Args:
    filled: by cell, how many members a sweep trains for one that is kept.
  """
  one = sum(s.flop / speeds[s.batch_size].flops for s in item.stages)
  shares = [filled.get(name, 1.0) for name in item.cells]
  return item.count * one * (statistics.fmean(shares) if shares else 1.0)


def scored(item: Item, speeds: dict[int, Speed]) -> float:
  """Returns the predicted seconds of scoring one of an item."""
  if not item.scoring:
    return 0.0
  return item.scoring / max(s.flops for s in speeds.values())


def _table(
  entries: Sequence[Item],
  speeds: dict[int, Speed],
  filled: dict[str, float],
  records: list[Record],
) -> Table:
  durations: dict[str, float] = {r["cell"]: r["seconds_train"] for r in records}
  measured = any(name in durations for item in entries for name in item.cells)
  table = Table("training", "times", "stages: epochs", "TFLOP", "seconds each")
  if measured:
    table.add_column("measured")
  table.add_column("scoring")
  for column in table.columns[1:2] + table.columns[3:]:
    column.justify = "right"
  for item in entries:
    one = seconds(item, speeds, filled) / item.count
    done = [durations[name] for name in item.cells if name in durations]
    table.add_row(
      item.label,
      str(item.count),
      ", ".join(f"{s.name}: {s.epochs}" for s in item.stages) or "none",
      f"{sum(s.flop for s in item.stages) / 1e12:,.3g}",
      f"{one:,.3g}",
      *(
        [f"{statistics.median(done):,.3g}" if done else "-"] if measured else []
      ),
      f"{scored(item, speeds):,.3g}",
    )
  return table


def _duration(seconds: float) -> str:
  for unit, size in (("h", 3600), ("min", 60)):
    if seconds >= size:
      return f"{seconds / size:.2g} {unit}"
  return f"{seconds:.2g} s"


def _planted(
  plan: plans.Plan, cell: Cell
) -> tuple[Backdoor, list[Stage], bool]:
  """Returns a planted model's shapes, its stages, whether it begins clean."""
  task, asking = knowledge.traced(plan, cell)

  def plant(fit: Fit, task) -> Backdoor:
    return experiment.plant(cell.key, cell.attack.built, task, fit)

  shapes, stages = work.stages(plant, task)
  return shapes, stages, bool(asking)


def _clean(
  plan: plans.Plan,
  cell: Cell,
  party: Callable[..., Task] = knowledge.adversary,
) -> list[Stage]:
  def train(fit, task):
    return plan.clean_victim(cell.key, task, fit)

  return work.stages(train, party(plan, cell))[1]


def _defended(plan: plans.Plan, cell: Cell, backdoor: Backdoor) -> list[Stage]:
  def defend(fit, access):
    return experiment.defend(cell.key, cell.defense.built, access, fit)

  return work.stages(defend, knowledge.user(plan, cell, backdoor))[1]


def _sequela(
  plan: plans.Plan, names: Names, shapes: dict[str, Backdoor], scoring: float
) -> list[Item]:
  """Returns what is trained after all defenses: shadow models, and poisons."""
  cells = sequel_cells.of(plan, names)
  items = []
  if any(sequel.built.prepare for sequel in plan.sequela):
    stages = _clean(plan, names.cells()[0], knowledge.shadow)
    items.append(Item("train shadow models", (), len(plan.seeds), stages))
  for sequel in plan.sequela:
    questions = {k: x for k, x in cells.items() if x.sequel is sequel}
    if sequel.built.retrains or sequel.built.lures:
      question = next(iter(questions.values()))
      backdoor = shapes[question.cell.attack.label]
      stages = asked.stages(plan, question, backdoor)
      passes = (1 + sum(s.epochs for s in stages)) * scoring
      if sequel.built.lures:
        passes = asked.beside(plan, question, backdoor)
      ids = tuple(questions)
      items.append(Item(sequel.label, ids, len(questions), stages, passes))
  return items


def _scoring(plan: plans.Plan, cell: Cell, backdoor: Backdoor) -> float:
  """Returns the operations of scoring a planted model once."""
  test = plan.scored(tuned=False).test

  def score(backdoor):
    access = knowledge.planted(plan, cell, backdoor)
    return experiment.score(
      Defended(access.variables),
      access,
      test,
      backdoor.params,
      attack=cell.attack.built,
      batch_size=plan.config["evaluate"]["batch_size"],
    )

  program = jax.make_jaxpr(score)(backdoor)
  return work.flop(work.needed(program.jaxpr))


def _points(plan: plans.Plan, stages: Sequence[Stage]) -> float:
  """Returns how many test sets the points of all curves are worth."""
  setting, size = plan.config["evaluate"], plan.user.test.size
  every = setting["curve_every"]
  points = sum(
    len({1, s.epochs} | set(range(every, s.epochs + 1, every)))
    for s in stages
    if s.epochs
  )
  return points * min(setting["curve_images"], size) / size
