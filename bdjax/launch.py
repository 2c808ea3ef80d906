"""Plants backdoors, fine-tunes them away, and reports what is left.

Run a config (a small Python program; see configs/):

  python -m bdjax.launch --config configs/quickstart.py
  python -m bdjax.launch --config configs/base.py --workdir runs/mine \\
      --config.data.name=cifar10 --config.attack.name=badnets,blended \\
      --config.defense.name='ft(lr=0.05),super_ft.fmn' --config.seeds='(0,1,2)'
  python -m bdjax.launch --config configs/base.py:attack=lf,defense=nad.bb \\
      --config.data.name=cifar10 --config.defense.teacher_epochs=5

The same command again continues a run that was stopped or killed, or says that
there is nothing to do; more attacks, regimes, defenses or seeds may be added.

Other commands:

  python -m bdjax.launch estimate --config FILE
                                         seconds and memory of a run, measured
                                         here, or compiled for --target=v5e:2x4
  python -m bdjax.launch list            what attacks, defenses, ... there are
  python -m bdjax.launch list ft         a method's arguments and presets
  python -m bdjax.launch report DIR...   table and report.html of a run; of a
                                         study (configs/papers) study.html, too:
                                         what the papers print, and verdicts
  python -m bdjax.launch gallery         shows all attacks' triggers, which it
                                         plants, or a run's: gallery DIR
  python -m bdjax.launch prepare NAME    download a dataset, without TensorFlow
  python -m bdjax.launch cleanse --model suspect.pt --arch preact_resnet18 \\
      --images clean/ --out cleaned.safetensors --audit
                                         repairs a stranger's classifier with a
                                         folder of clean images, and reports
  python -m bdjax.launch results NAME DIR... --title=... --command=...
                                         checks, keeps and shows measurements

SIGTERM, by which schedulers say that they will take a machine, makes a run save
what it trains and leave with status 75; so do Ctrl-C (130; pressed again, it
leaves at once) and SIGHUP (129). Other statuses: 0 done, 1 cells without a
result, 2 a command that cannot be done, 3 another process of the run is lost,
74 a disk that is full or a folder that cannot be read or written.

Methods are written name, name.preset or name(argument=value), with commas
between them; `none` (the undefended model) is always included. What defenses
leave behind is asked of all models by
--config.sequela.name=membership,reinjection,retuning.
"""

from bdjax.machine import preemption
from bdjax.machine.preemption import NOTICE

if __name__ == "__main__":
  NOTICE.listen()  # the imports below take seconds

import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import jax
from absl import app, flags
from jax.sharding import Mesh
from rich.console import Console

from bdjax import data, options
from bdjax.machine import backend, faults, hosts, losses, storage
from bdjax.machine.storage import Place
from bdjax.methods import signature
from bdjax.options import FLAGS
from bdjax.runs import listing, plans, settings

COMMANDS = (
  *("run", "estimate", "list", "report", "gallery", "prepare"),
  *("cleanse", "results"),
)
TOGETHER = ("run", "estimate", "gallery")  # may be of several processes


def main(argv: Sequence[str]) -> int:
  """Runs the command in `argv` and returns the exit status."""
  command, *rest = argv[1:] or ["run"]
  try:
    if command not in COMMANDS:
      raise ValueError(
        f"unknown command {command!r}: {signature.nearest(command, COMMANDS)}"
      )
    if command not in TOGETHER:
      NOTICE.alone()
    commands = (run, estimate, report, gallery, prepare, cleanse, results)
    known = {one.__name__: one for one in commands} | {"list": listing.show}
    return known[command](rest)
  except preemption.Stopped:
    return NOTICE.say(preemption.SAVED)
  except Exception as error:
    return _failed(error, command)


def _failed(error: Exception, command: str) -> int:
  """Says what was raised, in a sentence where it is one; returns the status."""
  if losses.lost(error):
    if NOTICE.came():
      NOTICE.wait()
    reason = str(error).splitlines()[0]
    fail(f"another process of this run is lost ({reason}); {losses.AGAIN}")
    losses.leave(losses.LOST)
  status = 2
  if isinstance(error, OSError):
    warnings.simplefilter("ignore")  # of what Orbax had under way
    rest = f"; {preemption.KEPT}" if command in TOGETHER else "."
    status, error = faults.STATUS, f"{error}{rest}"
  elif not isinstance(error, ValueError):
    if not losses.several():
      raise error
    traceback.print_exception(error)
  fail(error)
  if losses.several():
    losses.leave(status)
  return status


def fail(error: Exception | str) -> int:
  """Prints one sentence and returns exit status 2."""
  print(f"error: {error}", file=sys.stderr)
  return 2


def run(rest: Sequence[str]) -> int:
  """Runs the config's cells that are not finished, then reports."""
  from bdjax.study import overview

  if rest:
    raise ValueError(f"run takes no {rest[0]!r}: see --help.")
  config, overridden = options.config()
  mesh = _devices(config)
  console = Console(quiet=not hosts.first())
  path, failures = _finish(_planned(config, overridden), console, mesh)
  if path is not None and hosts.first():
    overview.write([path], console)
  return _say(failures)


def gallery(rest: Sequence[str]) -> int:
  """Plants the config's attacks, or takes a run's, and shows their triggers."""
  from bdjax import report as reports
  from bdjax.study import overview

  if rest[1:]:
    raise ValueError("gallery takes one folder or none: gallery DIR.")
  console = Console()
  path, failures = storage.place(rest[0]) if rest else None, {}
  if not rest:
    config, overridden = options.config()
    config["defense"]["name"] = "none"
    mesh = _devices(config)
    console = Console(quiet=not hosts.first())
    path, failures = _finish(_planned(config, overridden), console, mesh)
  if path is not None and (rest or hosts.first()):
    with overview.readable([path]):
      page = reports.write_gallery(path)
    console.print(f"gallery: {page}", soft_wrap=True)
  return _say(failures)


def estimate(rest: Sequence[str]) -> int:
  """Says what the config's cells will take, beside what finished ones took."""
  from bdjax.estimate import ahead
  from bdjax.estimate import command as estimates
  from bdjax.report import results

  if rest:
    raise ValueError(f"estimate takes no {rest[0]!r}: see --help.")
  config, overridden = options.config()
  mesh, target = None, None
  if FLAGS.target:
    target = ahead.parse(FLAGS.target)
    jax.config.update("jax_platforms", "cpu")  # only to count and compile
  else:
    mesh = _devices(config)
  console = Console(quiet=not hosts.first())
  path = options.workdir() / "results.jsonl"
  records = results.read(path, required=results.REQUIRED)
  plan = _planned(config, overridden)
  with jax.default_matmul_precision(plan.precision):
    estimates.show(plan, records, console, mesh, target)
  return 0


def _planned(config: dict[str, Any], overridden: frozenset[str]) -> plans.Plan:
  """Returns a config's plan, unless it is for a study that does not exist."""
  from bdjax.study import catalog

  catalog.check(config)
  return settings.plan(config, overridden)


def _finish(
  plan: plans.Plan, console: Console, mesh: Mesh | None
) -> tuple[Place | None, dict[str, str]]:
  """Runs what a workdir lacks; returns it if it has results, and failures."""
  from bdjax.runs import workdir as workdirs
  from bdjax.runs.runner import Runner
  from bdjax.training.progress import Display

  options.use_compilation_cache()
  path, (place, count) = options.workdir(), options.shard()
  parts = settings.by_seed(plan)
  with workdirs.opened(
    path / f"shard-{place}-of-{count}" if count > 1 else path,
    plan.config,
    store=storage.place(FLAGS.store) if FLAGS.store else path / "models",
    save_seconds=FLAGS.save_seconds,
  ) as workdir:
    share = {"mesh": mesh, "shard": (place, count)}
    runners = [Runner(part, workdir, **share) for part in parts]
    todo, cells = map(sum, zip(*(r.counts() for r in runners), strict=True))
    if todo:
      finished = f", {cells - todo} finished before" if todo < cells else ""
      console.print(f"{todo} cells to run{finished}, in {workdir.path}")
      with (
        NOTICE.grace(FLAGS.grace_seconds),
        Display(console, cells=todo).running() as display,
      ):
        for runner in runners:
          runner.run(display)
    else:
      console.print(
        f"nothing to do: all {cells} cells in {workdir.path} are done"
      )
    failures = {k: v for r in runners for k, v in r.failed().items()}
    return workdir.path if workdir.records() else None, failures


def _devices(config: dict[str, Any]) -> Mesh | None:
  """Meets other processes; returns the devices that share a cell's batches."""
  from bdjax.machine import mesh as meshes

  if FLAGS.cpu_devices:
    jax.config.update("jax_num_cpu_devices", FLAGS.cpu_devices)
  place = hosts.Place(FLAGS.coordinator, FLAGS.processes, FLAGS.process_id)
  if not hosts.join(place):
    NOTICE.alone()
  backend.require()
  hosts.stop_if_told()
  places = (options.workdir(), FLAGS.store, FLAGS.shard, jax.__version__)
  hosts.check_same(plans.digest([config, *places]))
  return (
    meshes.make(data=jax.device_count()) if jax.device_count() > 1 else None
  )


def _say(failures: dict[str, str]) -> int:
  for name, failure in failures.items():
    fail(f"{name} failed and has no result: {failure}")
  return 1 if failures else 0


def report(rest: Sequence[str]) -> int:
  """Prints runs' tables, writes their pages, and one for each study."""
  from bdjax.study import overview

  if not rest:
    raise ValueError("report needs a folder, or several: report DIR.")
  overview.write(rest, Console())
  return 0


def prepare(rest: Sequence[str]) -> int:
  """Downloads a dataset and prepares it for tfds."""
  if len(rest) != 1:
    raise ValueError("prepare needs one name: prepare cifar10.")
  data.prepare(rest[0], data_dir=FLAGS.data_dir)
  print(f"{rest[0]} is ready.")
  return 0


def cleanse(rest: Sequence[str]) -> int:
  """Repairs a stranger's classifier with clean images, and reports."""
  from bdjax.cleanse import command

  if rest:
    raise ValueError(
      f"cleanse takes no {rest[0]!r}: give everything by flags, and several "
      "numbers with commas between them."
    )
  options.use_compilation_cache()
  backend.require()
  return command.run(**options.cleansing())


def results(rest: Sequence[str]) -> int:
  """Keeps what was measured in docs/results, and writes the pages from it."""
  from bdjax.archive import command

  print(*command.run(rest, **options.packing()), sep="\n")
  return 0


if __name__ == "__main__":
  options.define()
  flags.adopt_module_key_flags(options)  # for --help
  app.run(main, flags_parser=options.parse)
