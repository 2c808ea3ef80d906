"""The arguments that each command takes.

A module that imports little, so that `--help` and a mistyped word are answered
at once.
"""

from bdjax.cli import parser as parsers
from bdjax.cli.parser import Parser
from bdjax.machine import preemption


def _config(parser: Parser) -> None:
  group = parser.add_argument_group("what is run")
  group.add_argument(
    "--config",
    metavar="FILE[:ARGUMENT]",
    help="a config, or the name of one that comes with bdjax: quickstart, say",
  )
  group.add_argument(
    "--config.KEY",
    metavar="VALUE",
    dest="key",
    help="sets a key of it, such as --config.train.epochs=20; listed below",
  )
  group.add_argument(
    "--workdir",
    metavar="DIR",
    help="where results go, a folder or gs://BUCKET/FOLDER "
    "(default: runs/NAME of the config)",
  )
  group.add_argument(
    "--store",
    metavar="DIR",
    help="where planted models are kept, a folder or gs://BUCKET/FOLDER "
    "(default: WORKDIR/models)",
  )
  group.add_argument(
    "--shard",
    metavar="I/N",
    help="this job's share of the cells, such as 0/4; `report` joins them",
  )


def _saving(parser: Parser) -> None:
  group = parser.add_argument_group("stopping and saving")
  group.add_argument(
    "--save_seconds",
    type=parsers.at_least(0),
    default=20.0,
    metavar="N",
    help="how often training under way is saved (default: 20)",
  )
  group.add_argument(
    "--grace_seconds",
    type=parsers.at_least(0),
    default=preemption.GRACE,
    metavar="N",
    help="how long a run may go on after SIGTERM, to a place where it can save "
    f"(default: {preemption.GRACE:g})",
  )


def _devices(parser: Parser) -> None:
  group = parser.add_argument_group("devices and processes")
  group.add_argument(
    "--cpu_devices",
    type=parsers.at_least(1, int),
    metavar="N",
    help="how many devices a CPU is taken for",
  )
  group.add_argument(
    "--coordinator",
    metavar="HOST:PORT",
    help="where the processes of one run meet; SLURM, MPI, TPU pods and GKE "
    "are recognized without it",
  )
  group.add_argument(
    "--processes",
    type=parsers.at_least(1, int),
    metavar="N",
    help="how many meet there; 1 meets none",
  )
  group.add_argument(
    "--process_id",
    type=parsers.at_least(0, int),
    metavar="N",
    help="which of them this is, from 0",
  )


def run(parser: Parser) -> None:
  """Adds a run's."""
  _config(parser)
  parser.add_argument(
    "--log_to",
    type=lambda text: text.split(","),
    default=[],
    metavar="NAMES",
    help="where finished cells are told of, too: some of "
    "tensorboard,wandb,mlflow, each an extra of the package; in the workdir",
  )
  _saving(parser)
  _devices(parser)


def estimate(parser: Parser) -> None:
  """Adds an estimate's."""
  _config(parser)
  parser.add_argument(
    "--target",
    metavar="DEVICES",
    help="devices to compile for instead of measuring here: v5e:2x4, h100, ...",
  )
  _devices(parser)


def gallery(parser: Parser) -> None:
  """Adds a gallery's."""
  parser.add_argument(
    "folder", nargs="?", metavar="DIR", help="a run whose triggers are shown"
  )
  run(parser)


def listing(parser: Parser) -> None:
  """Adds those of the list of methods."""
  parser.add_argument(
    "name", nargs="?", metavar="NAME", help="a method, to be explained"
  )


def report(parser: Parser) -> None:
  """Adds a report's."""
  parser.add_argument(
    "folders", nargs="+", metavar="DIR", help="a workdir, or a shard of one"
  )


def prepare(parser: Parser) -> None:
  """Adds those of preparing a dataset."""
  parser.add_argument("name", metavar="NAME", help="of the dataset: cifar10")
  _data_dir(parser)


def _data_dir(parser: Parser) -> None:
  parser.add_argument(
    "--data_dir", metavar="DIR", help="tfds folder (default: that of tfds)"
  )


def cleanse(parser: Parser) -> None:
  """Adds a cleansing's."""
  needed = parser.add_argument_group("needed")
  for name, words in _NEEDED.items():
    needed.add_argument(f"--{name}", required=True, metavar="PATH", help=words)
  _suspect(parser)
  parser.add_argument(
    "--defense",
    default="super_ft",
    metavar="SPEC",
    help="what repairs, such as 'ft(lr=0.01)' (default: super_ft)",
  )
  parser.add_argument(
    "--audit", action="store_true", help="look for a backdoor"
  )
  parser.add_argument(
    "--budget",
    type=parsers.duration,
    metavar="TIME",
    help="how long all of it may take: 90s, 30m, 2h; what does not fit after "
    "the repair is left out, and named (default: as long as it takes)",
  )
  parser.add_argument(
    "--triggered",
    metavar="DIR",
    help="images that may carry a trigger",
  )
  parser.add_argument(
    "--held_out",
    type=float,
    default=0.2,
    metavar="SHARE",
    help="share of the images never trained on (default: 0.2)",
  )
  parser.add_argument(
    "--seed",
    type=parsers.at_least(0, int),
    default=0,
    metavar="N",
    help="of everything random (default: 0)",
  )
  parser.add_argument(
    "--force", action="store_true", help="replace files that are there already"
  )
  _data_dir(parser)


def _suspect(parser: Parser) -> None:
  group = parser.add_argument_group("what the suspect's file may not say")
  group.add_argument("--arch", metavar="NAME", help=_ARCH)
  group.add_argument(
    "--weights",
    metavar="NAME",
    help="which weights of a checkpoint: raw, ema or their name",
  )
  group.add_argument(
    *("--class_order", "--classes"),
    dest="class_order",
    metavar="ORDER",
    help="the model's order of the classes: natural, lexicographic, their "
    "names with commas between them, or a file of them",
  )
  group.add_argument(
    "--image_size",
    type=parsers.at_least(1, int),
    metavar="PIXELS",
    help="side of the model's images",
  )
  for name, words in (("mean", "subtracted"), ("std", "divided by")):
    group.add_argument(
      f"--{name}",
      type=parsers.numbers,
      metavar="X[,X,X]",
      help=f"of pixels in [0, 1], {words}: one, or r,g,b",
    )


_NEEDED = {
  "model": "the suspect, a PyTorch or safetensors file",
  "images": "a folder of clean images per class in a folder, or a dataset",
  "out": "the repaired model, .safetensors or .pt; the report lies beside it",
}
_ARCH = (
  "the model's architecture, and in brackets what no weights tell: "
  "'resnet18(stem=cifar_pool)'"
)


def results(parser: Parser) -> None:
  """Adds those of keeping measurements."""
  parser.add_argument(
    "words",
    nargs="*",
    metavar="NAME DIR",
    help="the experiment's name, and workdirs or files of records; none writes "
    "the pages anew",
  )
  for name, words in (
    ("title", "of the experiment, in a few words"),
    ("by", "who measured it"),
    ("note", "what else must be known of it"),
  ):
    parser.add_argument(f"--{name}", metavar="TEXT", help=words)
  parser.add_argument(
    "--command",
    action="append",
    default=[],
    metavar="TEXT",
    help="a command that was run, once for each of several (default: those "
    "that the workdirs know)",
  )
  for name, words in (
    ("other_code", "take cells whose names this code would not give"),
    ("busy", "the machine had other work: seconds are left out, as no cost"),
  ):
    parser.add_argument(f"--{name}", action="store_true", help=words)


def export(parser: Parser) -> None:
  """Adds an export's."""
  parser.add_argument("folder", metavar="DIR", help="a run's workdir")
  parser.add_argument(
    "file", metavar="FILE", help="ends in .csv, .parquet, .tex or .pdf"
  )


def models(parser: Parser) -> None:
  """Adds those of writing a run's models."""
  parser.add_argument("folder", metavar="DIR", help="a run's workdir")
  words = "gets a folder for each model; none there is replaced or made again"
  parser.add_argument("out", metavar="OUT", help=words)
  parser.add_argument(
    "--cells",
    action="append",
    default=[],
    metavar="A/R/D/S",
    help="models of such an attack, regime, defense and seed (* is any text), "
    "and the planted ones they come from; may be repeated (default: all)",
  )
  words = "where the run kept its models (default: models in the workdir)"
  parser.add_argument("--store", metavar="DIR", help=words)


def completion(parser: Parser) -> None:
  """Adds those of completion."""
  parser.add_argument(
    "shell", choices=("bash", "zsh", "tcsh"), help="which one completes"
  )
