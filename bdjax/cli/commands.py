"""The commands: what each is for, takes and is explained by.

A module that imports little, so that `--help` and a mistyped word are answered
at once.
"""

from collections.abc import Callable
from typing import NamedTuple

from bdjax.cli import arguments, looking
from bdjax.cli.parser import Parser
from bdjax.machine import preemption

PROGRAM = "python -m bdjax.launch"


class Command(NamedTuple):
  """A command of the program.

  Attributes:
    summary: a line for the list of commands.
    add: gives a parser the command's arguments.
    text: what it does and examples, for its own help.
  """

  summary: str
  add: Callable[[Parser], None]
  text: str


COMMANDS = {
  "run": Command(
    "plant, defend and score what a config names, then report (the default)",
    arguments.run,
    f"""Runs the config's cells that are not finished, then reports.

  {PROGRAM} --config quickstart
  {PROGRAM} --config base --workdir runs/mine \\
      --config.data.name=cifar10 --config.attack.name=badnets,blended \\
      --config.defense.name='ft(lr=0.05),super_ft.fmn' \\
      --config.seeds='(0,1,2)'
  {PROGRAM} --config base:attack=lf,defense=nad.bb \\
      --config.data.name=cifar10 --config.defense.teacher_epochs=5

The same command again continues a run that was stopped or killed, or says
that there is nothing to do; more attacks, regimes, defenses or seeds may be
added. Methods are written name, name.preset or name(argument=value), with
commas between them; `none` (the undefended model) is always included.""",
  ),
  "estimate": Command(
    "seconds and memory of a run, measured here or compiled for a target",
    arguments.estimate,
    f"""Says what the config's cells will take, beside what finished ones took.

  {PROGRAM} estimate --config base --config.data.name=cifar10
  {PROGRAM} estimate --config base --target=v5e:2x4""",
  ),
  "list": Command(
    "what attacks, defenses, ... there are; or a method's arguments",
    arguments.listing,
    f"""Lists everything by kind, or explains one method.

  {PROGRAM} list
  {PROGRAM} list super_ft""",
  ),
  "report": Command(
    "table and page of runs, and of a study beside what a paper prints",
    arguments.report,
    f"""Prints runs' tables and writes report.html.

Several runs also get comparison.html, and those of a study study.html.

  {PROGRAM} report runs/mine
  {PROGRAM} report runs/a runs/b""",
  ),
  "gallery": Command(
    "shows triggers: all attacks', planted anew, or a run's",
    arguments.gallery,
    f"""Plants the config's attacks, or takes a run's, and shows their triggers.

  {PROGRAM} gallery
  {PROGRAM} gallery runs/mine""",
  ),
  "prepare": Command(
    "download a dataset, without TensorFlow",
    arguments.prepare,
    f"""Downloads a dataset and prepares it for tfds.

  {PROGRAM} prepare cifar10""",
  ),
  "cleanse": Command(
    "repair a stranger's classifier with a folder of clean images",
    arguments.cleanse,
    f"""Repairs a classifier with clean images, and reports what it was and is.

  {PROGRAM} cleanse --model suspect.pt --arch preact_resnet18 \\
      --mean 0.49,0.48,0.45 --std 0.25,0.24,0.26 \\
      --images clean/ --out cleaned.safetensors --audit""",
  ),
  "analysis": Command(
    "why a run's backdoors were removed, or were not: pictures and numbers",
    looking.add,
    looking.TEXT.format(program=PROGRAM),
  ),
  "results": Command(
    "check, keep and show measurements, in a clone",
    arguments.results,
    f"""Keeps what was measured in docs/results, and writes the pages from it.

  {PROGRAM} results fmn_table2 runs/fmn_table2 --title='Table 2' \\
      --command='uv run {PROGRAM} --config configs/papers/fmn_table2.py'""",
  ),
  "export": Command(
    "a run's numbers as CSV, Parquet or LaTeX, its figures as PDF",
    arguments.export,
    f"""Writes a run's numbers or figures; the file's end says how.

  {PROGRAM} export runs/mine mine.csv
  {PROGRAM} export runs/mine table.tex
  {PROGRAM} export runs/mine figures.pdf

The table needs LaTeX's package booktabs. The figures are those of report.html,
each on a page, as \\includegraphics[page=3]{{figures.pdf}} takes it.""",
  ),
  "models": Command(
    "a run's planted and repaired models as safetensors, each with a card",
    arguments.models,
    f"""Writes a run's models, each in a folder as the Hugging Face hub has it.

  {PROGRAM} models runs/mine published
  {PROGRAM} models runs/mine published --cells='badnets/*/super_ft'

Each holds model.safetensors (by PyTorch's names where it has the architecture),
config.json, a card that says what is planted and what was measured, and a
picture of the trigger. The cards warn; read them before you publish.""",
  ),
  "completion": Command(
    "print what lets a shell complete words",
    arguments.completion,
    """Prints a script for a shell, which then completes commands and flags.

  bdjax completion bash > ~/.local/share/bash-completion/completions/bdjax""",
  ),
}
STATUSES = f"""
SIGTERM, by which schedulers say that they will take a machine, makes a run save
what it trains and leave with status {preemption.STATUS}; so do Ctrl-C (130; \
pressed again, it
leaves at once) and SIGHUP (129). Other statuses: 0 done, 1 cells without a
result, 2 a command that cannot be done, 3 another process of the run is lost,
74 a disk that is full or a folder that cannot be read or written."""
