"""What each command does with its arguments.

Functions are named as their commands; each imports what it needs, since all of
it takes seconds.
"""

import argparse
from typing import TYPE_CHECKING

from rich.console import Console

from bdjax.cli import program, sayings

if TYPE_CHECKING:
  from jax.sharding import Mesh

  from bdjax.machine.storage import Place
  from bdjax.runs import plans
  from bdjax.runs.configs import Config

Given = argparse.Namespace


def run(given: Given) -> int:
  """Runs the config's cells that are not finished, then reports."""
  from bdjax.machine import hosts
  from bdjax.study import overview

  config = _config(given)
  mesh = _devices(given, config)
  console = _console(given)
  path, failures = _finish(given, config, _planned(config), console, mesh)
  if path is not None and hosts.first():
    overview.write([path], console)
  return _failed(failures)


def gallery(given: Given) -> int:
  """Plants the config's attacks, or takes a run's, and shows their triggers."""
  from bdjax import report as reports
  from bdjax.machine import hosts, storage
  from bdjax.study import overview

  path, failures = None, {}
  console = sayings.console(given)
  if given.folder:
    path = storage.place(given.folder)
  else:
    given.config = given.config or "gallery"
    config = _config(given)
    config.values["defense"]["name"] = "none"
    mesh = _devices(given, config)
    console = _console(given)
    path, failures = _finish(given, config, _planned(config), console, mesh)
  if path is not None and (given.folder or hosts.first()):
    with overview.readable([path]):
      page = reports.write_gallery(path)
    console.print(f"gallery: {page}", soft_wrap=True)
  return _failed(failures)


def estimate(given: Given) -> int:
  """Says what the config's cells will take, beside what finished ones took."""
  import jax

  from bdjax.estimate import ahead
  from bdjax.estimate import command as estimates
  from bdjax.report import results

  config = _config(given)
  mesh, target = None, None
  if given.target:
    target = ahead.parse(given.target)
    jax.config.update("jax_platforms", "cpu")  # only to count and compile
  else:
    mesh = _devices(given, config)
  path = _workdir(given, config) / "results.jsonl"
  records = results.read(path, required=results.REQUIRED)
  plan = _planned(config)
  with jax.default_matmul_precision(plan.precision):
    estimates.show(plan, records, _console(given), mesh, target)
  return 0


def listing(given: Given) -> int:
  """Lists everything by kind, or one method's arguments."""
  from bdjax.runs import listing as lists

  lists.show(given.name, sayings.console(given))
  return 0


def report(given: Given) -> int:
  """Prints runs' tables, writes their pages, and one for each study."""
  from bdjax.study import overview

  overview.write(given.folders, sayings.console(given))
  return 0


def prepare(given: Given) -> int:
  """Downloads a dataset and prepares it for tfds."""
  from bdjax import data

  data.prepare(given.name, data_dir=given.data_dir)
  sayings.console(given).print(f"{given.name} is ready.", markup=False)
  return 0


def cleanse(given: Given) -> int:
  """Repairs a stranger's classifier with clean images, and reports."""
  from bdjax.cleanse import command
  from bdjax.machine import backend, programs

  programs.keep()
  backend.require()
  names = ("model", "images", "out", "arch", "weights", "defense", "audit")
  more = ("triggered", "class_order", "image_size", "mean", "std", "held_out")
  rest = ("seed", "force", "budget", "data_dir")
  arguments = {name: getattr(given, name) for name in (*names, *more, *rest)}
  return command.run(**arguments, console=sayings.console(given))


def analysis(given: Given) -> int:
  """Shows why a run's backdoors were removed, or were not."""
  from bdjax.analysis import command
  from bdjax.analysis.asked import Asked
  from bdjax.machine import backend, programs

  programs.keep()
  backend.require()
  asked = Asked(**{name: getattr(given, name) for name in Asked._fields})
  return _failed(command.run(asked, sayings.console(given)))


def results(given: Given) -> int:
  """Keeps what was measured in docs/results, and writes the pages from it."""
  from bdjax.archive import command

  names = ("title", "by", "note", "command", "other_code", "busy")
  lines = command.run(given.words, **{n: getattr(given, n) for n in names})
  for line in lines:
    sayings.console(given).print(line, markup=False, soft_wrap=True)
  return 0


def export(given: Given) -> int:
  """Writes a run's numbers for other programs."""
  from bdjax.api import export as exports

  try:
    path = exports.export(given.folder, given.file)
  except ModuleNotFoundError as error:
    raise ValueError(str(error)) from None
  sayings.console(given).print(str(path), markup=False, soft_wrap=True)
  return 0


def models(given: Given) -> int:
  """Writes a run's planted and repaired models, with cards."""
  from bdjax.api import models as published
  from bdjax.machine import backend, programs

  programs.keep()
  backend.require()
  show = sayings.console(given).print
  published.save_models(
    given.folder,
    given.out,
    cells=given.cells,
    store=given.store,
    quiet=given.quiet,
    told=lambda place: show(str(place), markup=False, soft_wrap=True),
  )
  return 0


def completion(given: Given) -> int:
  """Prints what lets a shell complete words."""
  import shtab

  from bdjax.cli import program

  print(shtab.complete(program.build("bdjax")[0], given.shell))
  return 0


def _config(given: Given) -> "Config":
  from bdjax.runs import configs

  if not given.config:
    raise ValueError(f"no config: give --config {configs.QUICKSTART}, say.")
  return configs.read(given.config, given.keys)


def _workdir(given: Given, config: "Config") -> "Place":
  """Returns the folder given, or runs/<name of the config>[-argument]."""
  from bdjax.machine import storage

  return storage.place(given.workdir or f"runs/{config.name}")


def _console(given: Given) -> Console:
  """Returns where a run of several processes says things: the first does."""
  from bdjax.machine import hosts

  return sayings.console(given, quiet=not hosts.first())


def _planned(config: "Config") -> "plans.Plan":
  """Returns a config's plan, unless it is for a study that does not exist."""
  from bdjax.machine import notes
  from bdjax.runs import plans, settings, sources
  from bdjax.study import catalog

  if isinstance(seed := config.values.get("seeds"), int):
    notes.say(f"one seed, {seed}; several are given as --config.seeds='(0,1)'.")
  try:
    catalog.check(config.values)
    return settings.plan(config.values, config.overridden)
  except ValueError as error:
    keys = plans.flat(config.values)
    raise ValueError(sources.flagged(str(error), keys)) from error


def _finish(
  given: Given,
  config: "Config",
  plan: "plans.Plan",
  console: Console,
  mesh: "Mesh | None",
) -> tuple["Place | None", dict[str, str]]:
  """Runs what a workdir lacks; returns it if it has results, and failures."""
  from bdjax.machine import programs, storage
  from bdjax.machine.preemption import NOTICE
  from bdjax.runs import whole

  programs.keep()
  path, (place, count) = _workdir(given, config), _shard(given.shard)
  with NOTICE.grace(given.grace_seconds):
    return whole.finish(
      plan,
      path / f"shard-{place}-of-{count}" if count > 1 else path,
      console,
      store=storage.place(given.store) if given.store else path / "models",
      save_seconds=given.save_seconds,
      mesh=mesh,
      shard=(place, count),
      log_to=given.log_to,
      command=program.again(given.config, given.keys)
      if given.does == "run"
      else "",
    )


def _shard(text: str | None) -> tuple[int, int]:
  """Returns which of how many shares of the cells are this job's."""
  place, _, count = (text or "0/1").partition("/")
  if not (place.isdigit() and count.isdigit() and int(place) < int(count)):
    raise ValueError(
      f"--shard is {text!r}, but must be like 0/4, the first of four."
    )
  return int(place), int(count)


def _devices(given: Given, config: "Config") -> "Mesh | None":
  """Meets other processes; returns the devices that share a cell's batches."""
  import jax

  from bdjax.machine import backend, hosts
  from bdjax.machine import mesh as meshes
  from bdjax.machine.preemption import NOTICE
  from bdjax.runs import plans

  if given.cpu_devices:
    jax.config.update("jax_num_cpu_devices", given.cpu_devices)
  place = hosts.Place(given.coordinator, given.processes, given.process_id)
  if not hosts.join(place):
    NOTICE.alone()
  backend.require()
  hosts.stop_if_told()
  where = (_workdir(given, config), given.store, given.shard, jax.__version__)
  hosts.check_same(plans.digest([config.values, *where]))
  return meshes.all_devices()


def _failed(failures: dict[str, str]) -> int:
  from bdjax.runs import failed

  for sentence in failed.told(failures):
    sayings.fail(sentence)
  return 1 if failures else 0
