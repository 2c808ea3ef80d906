"""Plants backdoors, fine-tunes them away, and reports what is left.

Run a config (a small Python program; see configs/):

  python -m bdjax.launch --config configs/quickstart.py
  python -m bdjax.launch --config configs/base.py --workdir runs/mine \\
      --config.data.name=cifar10 --config.attack.name=badnets,blended \\
      --config.defense.name='ft(lr=0.05),super_ft.fmn' --config.seeds='(0,1,2)'

The same command again continues a run that was stopped or killed, or says that
there is nothing to do; more attacks, regimes, defenses or seeds may be added.

Other commands:

  python -m bdjax.launch list            what attacks, defenses, ... there are
  python -m bdjax.launch list ft         a method's arguments and presets
  python -m bdjax.launch report DIR      table and report.html of a run
  python -m bdjax.launch gallery         plants every attack and shows what its
                                         trigger looks like (configs/gallery.py;
                                         --config.data.name=cifar10, or another)
  python -m bdjax.launch gallery DIR     the same page, from a run
  python -m bdjax.launch prepare NAME    download a dataset, without TensorFlow

Methods are written name, name.preset or name(argument=value), with commas
between them; `none` (the undefended model) is always included.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging
from jax.sharding import Mesh
from ml_collections import config_flags
from rich.console import Console

from bdjax import (
  data,
  hosts,
  listing,
  settings,
  signature,
)

FLAGS = flags.FLAGS
COMMANDS = ("run", "list", "report", "gallery", "prepare")
LOST = 3  # exit status when another process of the run is gone
GALLERY = "configs/gallery.py"  # its config, unless another is given


def define_flags() -> None:
  """Defines this program's flags."""
  logging.set_verbosity(logging.ERROR)  # libraries narrate otherwise
  config_flags.DEFINE_config_file(
    "config", None, "Config file, with an optional :argument.", lock_config=True
  )
  flags.DEFINE_string(
    "workdir", None, "Where results go; default runs/<name of the config>."
  )
  flags.DEFINE_string(
    "store", None, "Where planted models are kept; default WORKDIR/models."
  )
  flags.DEFINE_float(
    "save_seconds", 20.0, "How often training under way is saved.", 0.0
  )
  flags.DEFINE_string(
    "shard",
    None,
    "This job's share of the cells, such as 0/4; `report WORKDIR` joins them.",
  )
  flags.DEFINE_integer(
    "cpu_devices", None, "How many devices a CPU is taken for.", 1
  )
  flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT where the processes of one run meet. SLURM and TPU pods are "
    "recognized without it.",
  )
  flags.DEFINE_integer("processes", None, "How many processes meet there.", 1)
  flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.", 0)
  flags.DEFINE_string(
    "data_dir", None, "For `prepare`: tfds folder; default that of tfds."
  )


def main(argv: Sequence[str]) -> int:
  """Runs the command in `argv` and returns the exit status."""
  command, *rest = argv[1:] or ["run"]
  try:
    if command not in COMMANDS:
      raise ValueError(
        f"unknown command {command!r}: {signature.nearest(command, COMMANDS)}"
      )
    return {
      "run": run,
      "list": listing.show,
      "report": report,
      "gallery": gallery,
      "prepare": prepare,
    }[command](rest)
  except ValueError as error:
    return fail(error)
  except jax.errors.JaxRuntimeError as error:
    if jax.process_count() == 1:
      raise
    fail(
      "another process of this run is lost "
      f"({str(error).splitlines()[0]}); start all of them again: the run "
      "continues from what it has saved."
    )
    sys.stderr.flush()
    os._exit(LOST)  # an ordinary exit waits for the lost one, then aborts
  except KeyboardInterrupt:
    print("stopped; the same command continues.", file=sys.stderr)
    return 130


def fail(error: Exception | str) -> int:
  """Prints one sentence and returns exit status 2."""
  print(f"error: {error}", file=sys.stderr)
  return 2


def run(rest: Sequence[str]) -> int:
  """Runs the config's cells that are not finished, then reports."""
  from bdjax import report as reports

  if rest:
    raise ValueError(f"run takes no {rest[0]!r}: see --help.")
  check_config_file()
  mesh = _devices()
  console = Console(quiet=not hosts.first())
  path, failures = _finish(FLAGS.config.to_dict(), console, mesh)
  if path is not None and hosts.first():
    reports.show(path, console)
    console.print(f"report: {reports.write(path)}", soft_wrap=True)
  return _say(failures)


def gallery(rest: Sequence[str]) -> int:
  """Plants the config's attacks, or takes a run's, and shows their triggers."""
  from bdjax import report as reports

  if rest[1:]:
    raise ValueError("gallery takes one folder or none: gallery DIR.")
  console = Console()
  path, failures = Path(rest[0]) if rest else None, {}
  if not rest:
    check_config_file()
    config = FLAGS.config.to_dict()
    config["defense"]["name"] = "none"
    path, failures = _finish(config, console, _devices())
  if path is not None:
    console.print(f"gallery: {reports.write_gallery(path)}", soft_wrap=True)
  return _say(failures)


def _finish(
  config: dict[str, Any], console: Console, mesh: Mesh | None
) -> tuple[Path | None, dict[str, str]]:
  """Runs what a workdir lacks; returns it if it has results, and failures."""
  from bdjax.progress import Display
  from bdjax.runner import Runner
  from bdjax.workdir import Workdir

  use_compilation_cache()
  overridden = config_flags.get_override_values(FLAGS["config"])
  plan = settings.plan(config, frozenset(overridden))
  path, (place, count) = Path(FLAGS.workdir or default_workdir()), _shard()
  workdir = Workdir(
    path / f"shard-{place}-of-{count}" if count > 1 else path,
    plan.config,
    store=Path(FLAGS.store) if FLAGS.store else path / "models",
    save_seconds=FLAGS.save_seconds,
  )
  runner = Runner(plan, workdir, mesh=mesh, shard=(place, count))
  todo, cells = len(runner.todo()), len(runner.cells())
  if todo:
    finished = f", {cells - todo} finished before" if todo < cells else ""
    console.print(f"{todo} cells to run{finished}, in {workdir.path}")
    with Display(console, cells=todo).running() as display:
      runner.run(display)
  else:
    console.print(
      f"nothing to do: all {cells} cells in {workdir.path} are done"
    )
  return workdir.path if workdir.records() else None, runner.failures


def _shard() -> tuple[int, int]:
  """Returns which of how many shares of the cells are this job's."""
  place, _, count = (FLAGS.shard or "0/1").partition("/")
  if not (place.isdigit() and count.isdigit() and int(place) < int(count)):
    raise ValueError(
      f"--shard is {FLAGS.shard!r}, but must be like 0/4, the first of four."
    )
  return int(place), int(count)


def _devices() -> Mesh | None:
  """Meets other processes; returns the devices that share a cell's batches."""
  from bdjax import mesh as meshes

  if FLAGS.cpu_devices:
    jax.config.update("jax_num_cpu_devices", FLAGS.cpu_devices)
  hosts.join(hosts.Place(FLAGS.coordinator, FLAGS.processes, FLAGS.process_id))
  return (
    meshes.make(data=jax.device_count()) if jax.device_count() > 1 else None
  )


def _say(failures: dict[str, str]) -> int:
  for failure in failures.values():
    fail(f"a cell failed and has no result: {failure}")
  return 1 if failures else 0


def report(rest: Sequence[str]) -> int:
  """Prints a run's table and writes its page."""
  from bdjax import report as reports

  if len(rest) != 1:
    raise ValueError("report needs one folder: report DIR.")
  console = Console()
  reports.show(Path(rest[0]), console)
  console.print(f"report: {reports.write(Path(rest[0]))}", soft_wrap=True)
  return 0


def prepare(rest: Sequence[str]) -> int:
  """Downloads a dataset and prepares it for tfds."""
  if len(rest) != 1:
    raise ValueError("prepare needs one name: prepare cifar10.")
  data.prepare(rest[0], data_dir=FLAGS.data_dir)
  print(f"{rest[0]} is ready.")
  return 0


def check_config_file() -> None:
  """Raises if no config was given, or its file is missing."""
  if FLAGS.config is None:
    raise ValueError("no config: give --config configs/quickstart.py, say.")
  path = config_file()[0]
  if not Path(path).is_file():
    raise ValueError(
      f"there is no config file {path}: give the path of one, such as "
      "configs/quickstart.py."
    )


def config_file() -> tuple[str, str]:
  """Returns the config's path and its argument."""
  given = config_flags.get_config_filename(FLAGS["config"])
  path, _, argument = given.partition(":")
  return path, argument


def default_workdir() -> str:
  """Returns runs/<name of the config file>, with its argument if any."""
  path, argument = config_file()
  return str(Path("runs") / "-".join(filter(None, [Path(path).stem, argument])))


def use_compilation_cache() -> None:
  """Keeps compiled programs between runs, unless the user chose a place."""
  if jax.config.jax_compilation_cache_dir is None:
    home = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
    path = Path(home) / "bdjax" / "xla"
    jax.config.update("jax_compilation_cache_dir", str(path))


def parse(argv: Sequence[str]) -> list[str]:
  """Parses flags; bad ones end the program with one sentence."""
  argv = list(argv)
  given = any(a.partition("=")[0] in ("--config", "-config") for a in argv)
  if argv[1:2] == ["gallery"] and not given and Path(GALLERY).is_file():
    argv.insert(2, f"--config={GALLERY}")
  try:
    return FLAGS(argv)
  except (
    flags.Error,
    AttributeError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
  ) as error:
    lost = isinstance(error, KeyError | AttributeError)
    text = str(error.args[0]) if lost and error.args else str(error)
    head = "unknown config key " if lost else ""
    sys.exit(fail(head + " ".join(text.split()) or type(error).__name__))


if __name__ == "__main__":
  define_flags()
  app.run(main, flags_parser=parse)
