"""The program's flags: what they are, and what a command line says."""

import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags

from bdjax.machine import notes, preemption, storage
from bdjax.machine.storage import Place

FLAGS = flags.FLAGS
_TEXTS = {
  "workdir": "Where results go, a folder or gs://BUCKET/FOLDER; default "
  "runs/<name of the config>.",
  "store": "Where planted models are kept, a folder or gs://BUCKET/FOLDER; "
  "default WORKDIR/models.",
  "shard": "This job's share of the cells, such as 0/4; `report WORKDIR` joins "
  "them.",
  "coordinator": "HOST:PORT where the processes of one run meet. SLURM, MPI, "
  "TPU pods and GKE are recognized without it.",
  "target": "For `estimate`: devices to compile for instead of measuring here, "
  "such as v5e:2x4 or h100.",
  "data_dir": "For `prepare` and `cleanse`: tfds folder; default that of tfds.",
}
_TEXTS_OF_CLEANSE = {
  "model": "the suspect, a PyTorch or safetensors file.",
  "images": "a folder of clean images per class in a folder, or a dataset.",
  "out": "the repaired model, .safetensors or .pt; the report lies beside it.",
  "triggered": "a folder of images that may carry a trigger.",
  "arch": "the model's architecture, unless its file says, and in brackets "
  "what no weights tell: 'resnet18(stem=cifar_pool)'.",
  "weights": "which weights of a checkpoint: raw, ema or their name.",
  "class_order": "the model's order of the classes: natural, lexicographic, "
  "their names with commas between them, or a file of them.",
}
_TEXTS_OF_RESULTS = {
  "title": "of the experiment, in a few words.",
  "by": "who measured it.",
  "note": "what else must be known of it.",
}
_RESULTS = (*_TEXTS_OF_RESULTS, "command", "other_code")
_CLEANSE = (
  *_TEXTS_OF_CLEANSE,
  *("defense", "audit", "image_size", "mean", "std"),
  *("held_out", "seed", "force"),
)
_NEEDED = ("model", "images", "out")
GALLERY = "configs/gallery.py"  # its config, unless another is given


def define() -> None:
  """Defines this program's flags."""
  absl_logging.set_verbosity(absl_logging.ERROR)  # libraries narrate otherwise
  _show_notes()
  config_flags.DEFINE_config_file(
    "config", None, "Config file, with an optional :argument.", lock_config=True
  )
  for name, words in _TEXTS.items():
    flags.DEFINE_string(name, None, words)
  flags.DEFINE_float(
    "save_seconds", 20.0, "How often training under way is saved.", 0.0
  )
  flags.DEFINE_float(
    "grace_seconds",
    preemption.GRACE,
    "How long a run may go on after SIGTERM, to a place where it can save.",
    0.0,
  )
  flags.DEFINE_integer(
    "cpu_devices", None, "How many devices a CPU is taken for.", 1
  )
  flags.DEFINE_integer(
    "processes", None, "How many processes meet there; 1 meets none.", 1
  )
  flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.", 0)
  _define_cleanse()
  _define_results()


def _define_results() -> None:
  for name, words in _TEXTS_OF_RESULTS.items():
    flags.DEFINE_string(name, None, f"For `results`: {words}")
  flags.DEFINE_multi_string(
    "command",
    [],
    "For `results`: a command that was run, once for each of several.",
  )
  flags.DEFINE_boolean(
    "other_code",
    False,
    "For `results`: take cells whose names this version of the code would not "
    "give.",
  )


def _define_cleanse() -> None:
  for name, words in _TEXTS_OF_CLEANSE.items():
    flags.DEFINE_string(name, None, f"For `cleanse`: {words}")
  for name in ("class-order", "classes"):
    flags.DEFINE_alias(name, "class_order")
  flags.DEFINE_string(
    "defense", "super_ft", "For `cleanse`: what repairs, such as 'ft(lr=0.01)'."
  )
  flags.DEFINE_boolean("audit", False, "For `cleanse`: look for a backdoor.")
  flags.DEFINE_integer(
    "image_size", None, "For `cleanse`: side of the model's images in pixels."
  )
  for name, words in (("mean", "subtracted"), ("std", "divided by")):
    flags.DEFINE_list(
      name, None, f"For `cleanse`: of pixels in [0, 1], {words}: one, or r,g,b."
    )
  flags.DEFINE_float(
    "held_out", 0.2, "For `cleanse`: share of the images never trained on."
  )
  flags.DEFINE_integer("seed", 0, "For `cleanse`: of everything random.", 0)
  flags.DEFINE_boolean(
    "force", False, "For `cleanse`: replace files that are there already."
  )


def parse(argv: Sequence[str]) -> list[str]:
  """Parses flags; bad ones end the program with one sentence."""
  argv = list(argv)
  given = any(a.partition("=")[0] in ("--config", "-config") for a in argv)
  if argv[1:2] == ["gallery"] and not given and Path(GALLERY).is_file():
    argv.insert(2, f"--config={GALLERY}")
  try:
    rest = FLAGS(argv)
    if rest[1:2] != ["cleanse"]:
      _refuse_foreign()
    if rest[1:2] != ["results"]:
      _refuse_of_results()
    if rest[1:2] != ["estimate"] and FLAGS["target"].present:
      raise ValueError(
        "--target is a flag of the command estimate alone: a run takes the "
        "devices that JAX finds."
      )
    return rest
  except Exception as error:  # of a flag, or of the config, which is a program
    print(f"error: {_sentence(error)}", file=sys.stderr)
    sys.exit(2)


def _sentence(error: Exception) -> str:
  """Returns what is wrong with flags, or where a config fails."""
  lost = isinstance(error, KeyError | AttributeError)
  text = " ".join(str(error.args[0] if lost and error.args else error).split())
  if lost and "get_config" not in text:
    return f"unknown config key {text}"
  if isinstance(error, flags.Error | OSError | TypeError | ValueError):
    return text or type(error).__name__
  place = traceback.extract_tb(error.__traceback__)[-1]
  file = place.filename  # of the config, or of the library that reads it
  ours = Path(file).is_file() and "site-packages" not in file
  where = f", from {file}:{place.lineno}" if ours else ""
  return (
    f"the config cannot be read ({type(error).__name__}: {text}{where}): it "
    "must be a Python file whose get_config() returns a ConfigDict, as "
    "configs/base.py."
  )


def _refuse_foreign() -> None:
  """Refuses a flag that only `cleanse` reads, where it would do nothing."""
  for name in _CLEANSE:
    if FLAGS[name].present:
      raise ValueError(
        f"--{name} is a flag of the command cleanse alone; what a run does is "
        "in its config: --config.defense.name=ft, say."
      )


def _refuse_of_results() -> None:
  for name in _RESULTS:
    if FLAGS[name].present:
      raise ValueError(f"--{name} is a flag of the command results alone.")


def packing() -> dict[str, Any]:
  """Returns what the flags say to `results`."""
  return {name: FLAGS[name].value for name in _RESULTS}


def cleansing() -> dict[str, Any]:
  """Returns what the flags say to `cleanse`.

  Raises:
    ValueError: one that is needed is missing, or is not a number.
  """
  given = {name: FLAGS[name].value for name in (*_CLEANSE, "data_dir")}
  for name in _NEEDED:
    if not given[name]:
      raise ValueError(
        f"cleanse needs --{name}: --model suspect.pt --arch preact_resnet18 "
        "--images clean/ --out cleaned.safetensors, say."
      )
  for name in ("mean", "std"):
    given[name] = _numbers(name, given[name])
  return given


def _numbers(name: str, texts: list[str] | None) -> tuple[float, ...] | None:
  try:
    return None if texts is None else tuple(map(float, texts))
  except ValueError:
    raise ValueError(
      f"--{name} is {','.join(texts)!r}, but must be a number, or three with "
      f"commas between them: --{name}=0.49,0.48,0.45, say."
    ) from None


def config() -> tuple[dict[str, Any], frozenset[str]]:
  """Returns the config, and the dotted keys that the command line set.

  Raises:
    ValueError: none was given, or its file is missing or returns another thing.
  """
  _check_file()
  if not isinstance(FLAGS.config, ConfigDict):
    raise ValueError(
      f"get_config() of {_named()[0]} returns no ConfigDict: start from "
      "configs/base.py."
    )
  overridden = config_flags.get_override_values(FLAGS["config"])
  return FLAGS.config.to_dict(), frozenset(overridden)


def _check_file() -> None:
  """Raises if no config was given, or its file is missing."""
  if FLAGS.config is None:
    raise ValueError("no config: give --config configs/quickstart.py, say.")
  path = _named()[0]
  if not Path(path).is_file():
    raise ValueError(
      f"there is no config file {path}: give the path of one, such as "
      "configs/quickstart.py."
    )


def _named() -> tuple[str, str]:
  """Returns the config's path and its argument."""
  given = config_flags.get_config_filename(FLAGS["config"])
  storage.local(given, "--config")
  path, _, argument = given.partition(":")
  return path, argument


def workdir() -> Place:
  """Returns the folder given, or runs/<name of the config>[-argument]."""
  if FLAGS.workdir:
    return storage.place(FLAGS.workdir)
  path, argument = _named()
  return Path("runs") / "-".join(filter(None, [Path(path).stem, argument]))


def shard() -> tuple[int, int]:
  """Returns which of how many shares of the cells are this job's."""
  place, _, count = (FLAGS.shard or "0/1").partition("/")
  if not (place.isdigit() and count.isdigit() and int(place) < int(count)):
    raise ValueError(
      f"--shard is {FLAGS.shard!r}, but must be like 0/4, the first of four."
    )
  return int(place), int(count)


def _show_notes() -> None:
  """Prints notes as they are; absl would drop them with the narration."""
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter("note: %(message)s"))
  notes.LOG.addHandler(handler)
  notes.LOG.setLevel(logging.WARNING)
  notes.LOG.propagate = False


def use_compilation_cache() -> None:
  """Keeps compiled programs between runs, unless the user chose a place."""
  if jax.config.jax_compilation_cache_dir is None:
    folder = storage.cache("xla")

    def use() -> None:
      storage.probe(folder / "probe")  # JAX would complain of every program
      jax.config.update("jax_compilation_cache_dir", str(folder))

    notes.keep("compiled programs", folder, use)
