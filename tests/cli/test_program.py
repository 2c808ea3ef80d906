"""What words become, and what is said of wrong ones."""

import argparse
import shlex

import jax
import pytest

from bdjax import actions, launch
from bdjax.cli import commands, program


def parse(text):
  return program.parse(text.split(), "bdjax")


def test_without_a_command_a_config_is_run():
  given = parse("--config q --workdir w")
  assert (given.does, given.config, given.workdir) == ("run", "q", "w")
  assert parse("").does == "run"


def test_keys_of_the_config_are_kept_for_it():
  given = parse(
    "--config=q --config.a.b=1 --noconfig.c --config.d 2 --shard=0/2"
  )
  assert given.keys == ["--config.a.b=1", "--noconfig.c", "--config.d", "2"]
  assert given.shard == "0/2"


def test_a_command_is_said_again_without_places():
  text = "--config=q --workdir=w --config.seeds='(0, 1)' --store s --shard 0/2"
  text += " --config.data.dir=/d --config.data.cache /c --noconfig.c"
  given = program.parse(shlex.split(text), "bdjax")
  said = program.again(given.config, given.keys)
  kept = "'--config.seeds=(0, 1)' --noconfig.c"
  assert said == f"{commands.PROGRAM} --config q {kept}"
  again = program.parse(shlex.split(said)[3:], "bdjax")
  assert (again.config, again.keys) == ("q", [given.keys[0], "--noconfig.c"])


@pytest.mark.parametrize(
  "flag", ["--save_seconds", "--save-seconds", "-save_seconds"]
)
def test_flags_may_have_hyphens_or_one_dash(flag):
  assert parse(f"--config q {flag}=7").save_seconds == 7
  assert parse(f"--config q {flag} 7").save_seconds == 7


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("report", "report needs DIR: see bdjax report --help."),
    ("run x", "run takes no 'x': see --help."),
    ("prepare a b", "prepare takes no 'b': see --help."),
    (
      "cleanse --model m",
      "cleanse needs --images, --out: see bdjax cleanse --help.",
    ),
    (
      "run --audit",
      "--audit is a flag of the command cleanse, not of run: see --help.",
    ),
    ("--config q --sed 1", "run has no flag --sed: did you mean --store?"),
    ("--config q --xyz", "run has no flag --xyz: see --help."),
    ("list --config.a=1", "list takes no config, so no --config.a=1."),
    (
      "--config q --save_seconds=-1",
      "--save_seconds: '-1' is not a number of at least 0: see bdjax run "
      "--help.",
    ),
    (
      "--config q --cpu_devices=1.5",
      "--cpu_devices: '1.5' is not a whole number of at least 1: see bdjax run "
      "--help.",
    ),
    (
      "cleanse --model m --images i --out o --mean=a",
      "--mean: 'a' is no number, nor three with commas between them, as "
      "0.49,0.48,0.45: see bdjax cleanse --help.",
    ),
  ],
)
def test_wrong_words_get_a_sentence(text, said):
  with pytest.raises(ValueError) as raised:
    parse(text)
  assert str(raised.value) == said


@pytest.mark.parametrize("name", sorted(commands.COMMANDS))
def test_every_command_has_its_help_and_its_action(name, capsys):
  with pytest.raises(SystemExit) as left:
    parse(f"{name} --help")
  said = capsys.readouterr().out
  assert left.value.code == 0 and f"usage: bdjax {name} " in said
  assert max(map(len, said.splitlines())) <= 88
  assert callable(getattr(actions, "listing" if name == "list" else name))


@pytest.mark.parametrize("name", ["run", "estimate", "gallery"])
def test_help_of_what_takes_a_config_names_its_keys(name, capsys):
  with pytest.raises(SystemExit):
    parse(f"{name} --help")
  said = capsys.readouterr().out
  assert "train.epochs=100" in said and "seeds=(0, 1, 2)" in said
  assert "defense.clean_rate=0.05" in said
  assert "the defender's share of the clean training set" in said


def test_a_shell_can_complete(capsys):
  assert actions.completion(argparse.Namespace(shell="bash")) == 0
  script = capsys.readouterr().out
  assert "cleanse" in script and "--workdir" in script


def test_the_example_of_a_cleansing_says_all_that_it_needs():
  _, example = commands.COMMANDS["cleanse"].text.split("\n\n")
  words = shlex.split(example.replace("\\\n", ""))
  given = program.parse(words[3:], "bdjax")
  assert given.mean == (0.49, 0.48, 0.45) and given.std == (0.25, 0.24, 0.26)
  assert (given.does, given.arch) == ("cleanse", "preact_resnet18")


@pytest.mark.parametrize(
  ("words", "remedy"),
  [
    (
      "cleanse --model m --images i --out o",
      "give smaller batches, as --defense='super_ft(batch_size=16)'",
    ),
    (
      "estimate --config q",
      "give a smaller --config.train.batch_size or --config.defense.batch_size",
    ),
    ("list", "take a device with more"),
  ],
)
def test_a_device_without_memory_gets_a_sentence(
  words, remedy, monkeypatch, capsys
):
  name = words.split()[0]

  def act(given):
    raise jax.errors.JaxRuntimeError(
      "RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore"
    )

  monkeypatch.setattr(actions, "listing" if name == "list" else name, act)
  assert launch.main(["bdjax", *words.split()]) == 2
  assert capsys.readouterr().err == (
    "error: the device has too little memory (RESOURCE_EXHAUSTED: Out of "
    f"memory allocating 9 bytes): {remedy}.\n"
  )


def test_other_faults_of_a_device_are_not_hidden(monkeypatch):
  def act(given):
    raise jax.errors.JaxRuntimeError("INTERNAL: gone")

  monkeypatch.setattr(actions, "listing", act)
  with pytest.raises(jax.errors.JaxRuntimeError, match="gone"):
    launch.main(["bdjax", "list"])
