import subprocess
import sys
from pathlib import Path

import pytest

from bdjax.launch import main

TOP = Path(__file__).parent.parent


def launch(*args):
  """Returns what the program ends with and says, as a process of its own."""
  done = subprocess.run(
    [sys.executable, "-m", "bdjax.launch", *args],
    cwd=TOP,
    capture_output=True,
    text=True,
  )
  return done.returncode, done.stdout, done.stderr


QUICK = ("--config", "configs/quickstart.py")


@pytest.mark.parametrize(
  ("args", "text"),
  [
    (("lst",), "unknown command 'lst': did you mean list?"),
    ((), "no config: give --config"),
    (("--config", "configs/nope.py"), "no config file configs/nope.py"),
    ((*QUICK, "--config.train.epoch=3"), "did you mean epochs?"),
    (
      (*QUICK, "--config.train.epochs=2.5"),
      "--config.train.epochs is '2.5', but must be a whole number.",
    ),
    (
      (*QUICK, "--config.train.lr=fast"),
      "--config.train.lr is 'fast', but must be a number.",
    ),
    *(
      ((*QUICK, f"--config.sweep.axes={axes}"), "such as lr=(0.01, 0.05), sch")
      for axes in ("lr=0.1,0.2", "schedule=(constant,cosine)", "lr")
    ),
    ((*QUICK, "--workdri=x"), "did you mean --workdir?"),
    (("cleanse", "--modle=x.pt", "--out=y"), "did you mean --model?"),
    ((*QUICK, "--target=h100"), "--target is a flag of the command estimate"),
    (("estimate", *QUICK, "--target=v7x"), "unknown target 'v7x'"),
    ((*QUICK, "--config.attack.name=badnet"), "did you mean badnets"),
    (("--config=gs://b/c.py",), "--config is gs://b/c.py, but must be a local"),
    (("--config=configs/nope.py:attack=lf",), "no config file configs/nope.py"),
    (
      ("--config=configs/base.py:attack=bdnets",),
      "unknown attack 'bdnets': did you mean badnets",
    ),
    *(
      (
        (*command, *QUICK, "--config.study=fmn_table9"),
        "unknown study 'fmn_table9': did you mean fmn_table",
      )
      for command in ((), ("estimate",), ("gallery",))
    ),
    (
      ("--config=configs/base.py:defense=nad.paper",),
      "nad has no preset 'paper'",
    ),
    (
      ("report", "s3://b/run"),
      "s3://b/run is neither a local folder nor gs://",
    ),
    (("gallery", "gs:/b/run"), "gs:/b/run is neither a local folder nor gs://"),
    ((*QUICK, "--store=s3://b/m"), "s3://b/m is neither a local folder nor gs"),
  ],
)
def test_bad_input_gets_one_sentence_and_status_2(
  args, text, tmp_path, capsys, monkeypatch
):
  monkeypatch.chdir(TOP)
  where = tmp_path / "run"
  assert main(["bdjax", *args, *place(args, where)]) == 2
  said = capsys.readouterr().err
  assert text in said and said.startswith("error: ")
  assert len(said.strip().splitlines()) == 1
  assert not where.exists()


def place(args, where):
  """Returns a workdir's flag, for a command that takes it."""
  return () if args[:1] == ("report",) else (f"--workdir={where}",)


@pytest.mark.parametrize("command", ["run", "estimate"])
def test_a_workdir_is_no_local_folder_of_its_scheme(
  command, capsys, monkeypatch
):
  monkeypatch.chdir(TOP)
  assert main(["bdjax", command, *QUICK, "--workdir=s3://bucket/run"]) == 2
  said = capsys.readouterr().err
  assert said.startswith("error: s3://bucket/run is neither a local folder nor")
  assert len(said.strip().splitlines()) == 1
  assert not (TOP / "s3:").exists()


def test_the_program_ends_with_the_status_and_says_why():
  rc, said, reason = launch(*QUICK, "--config.train.epochs=abc")
  assert (rc, said) == (2, "")
  assert reason.startswith("error: ") and "epochs is 'abc'" in reason


def test_list_names_everything():
  rc, said, _ = launch("list")
  assert rc == 0
  for name in ("badnets", "super_ft", "preact_resnet18", "fmn", "cifar10"):
    assert name in said


def test_list_explains_a_method():
  rc, said, _ = launch("list", "super_ft")
  assert rc == 0
  for text in ("lr_max1", "0.1", "a number above 0", "super_ft.scarce"):
    assert text in said


def test_help_teaches():
  rc, said, _ = launch("--help")
  assert rc == 0
  assert "--config configs/quickstart.py" in said and "--workdir" in said
  assert all(f"\n    {name} " in said for name in ("run", "report", "cleanse"))
