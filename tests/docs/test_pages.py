"""All code of the site and of the README works.

Python runs, on few small images; files of the how-to pages are put into a
copy of the repository, where their own tests and the contract tests pass;
commands are read as the program reads them, down to a plan of what would run.
"""

import argparse
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import jax
import numpy as np
import pytest
from markdown_it import MarkdownIt

import bdjax.attacks
import bdjax.defenses
import bdjax.models
from bdjax import data
from bdjax.aot import cases, targets
from bdjax.aot import command as aot
from bdjax.bench import __main__ as bench
from bdjax.cleanse import command
from bdjax.cleanse.measure import Share
from bdjax.cleanse.result import Result
from bdjax.cli import commands as cli
from bdjax.cli import program
from bdjax.data.places import PREPARED
from bdjax.methods import registry, specs
from bdjax.runs import configs, rehearsal, settings
from bdjax.types import Dataset

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]
KINDS = ("attack", "defense", "model")
HOW_TO = [TOP / "docs" / f"add_{kind}.md" for kind in KINDS]
FILE = re.compile(r"# ((?:bdjax|tests)/\S+\.py)\n")
COMMAND = re.compile(r"(?:uv|pip|python|bdjax) ")
FEW = 320  # images that examples get, of 8 x 8 pixels
SIZES = {"train": 50_000, "test": 10_000}
ELSEWHERE = "from safetensors.torch"  # needs PyTorch; tests/cleanse/torch_demo


class Block(NamedTuple):
  """Code in a page."""

  language: str
  text: str
  line: int


def blocks(page: Path) -> list[Block]:
  tokens = MarkdownIt().parse(page.read_text())
  fences = [token for token in tokens if token.type == "fence"]
  return [Block(t.info.strip(), t.content, t.map[0] + 1) for t in fences]


def examples(page: Path) -> list[Block]:
  """Returns a page's Python that is no file and needs nothing else."""
  python = [b for b in blocks(page) if b.language == "python"]
  python = [b for b in python if not b.text.startswith(ELSEWHERE)]
  return [b for b in python if not FILE.match(b.text)]


def commands(page: Path) -> list[list[str]]:
  """Returns the words of a page's commands."""
  texts = [b.text for b in blocks(page) if b.language in ("", "sh")]
  joined = "\n".join(texts).replace("\\\n", " ").replace("ATTACK", "badnets")
  lines = (line for line in joined.splitlines() if COMMAND.match(line))
  return [shlex.split(line, comments=True) for line in lines]


def named(pages: list[Path]) -> list:
  return [pytest.param(page, id=page.stem) for page in pages]


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
  """Returns a copy of the repository with the files of the how-to pages."""
  path = tmp_path_factory.mktemp("tree")
  unwanted = shutil.ignore_patterns("__pycache__", ".*")
  for folder in ("bdjax", "configs", "tests"):
    shutil.copytree(TOP / folder, path / folder, ignore=unwanted)
  shutil.copy(TOP / "pyproject.toml", path)
  (path / ".jax_cache").symlink_to(jax.config.jax_compilation_cache_dir)
  for page in HOW_TO:
    for block in blocks(page):
      if found := FILE.match(block.text):
        assert not (path / found[1]).exists(), f"{found[1]} is there already"
        (path / found[1]).write_text(block.text)
  return path


@pytest.fixture(scope="module", autouse=True)
def testing(tree):
  """Starts the tests that the how-to pages ask for, beside all others."""
  asked = [words for page in HOW_TO for words in commands(page)]
  tests = [words for words in asked if "pytest" in words]
  assert len(tests) == len(HOW_TO)
  paths = {word for words in tests for word in words if word.endswith(".py")}
  chosen = [f"({words[words.index('-k') + 1]})" for words in tests]
  with subprocess.Popen(
    [sys.executable, "-m", "pytest", "-n0", *paths, "-k", " or ".join(chosen)],
    cwd=tree,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  ) as process:
    yield process
    process.kill()


@pytest.mark.parametrize("page", named([p for p in PAGES if examples(p)]))
def test_examples_run(page, monkeypatch, tmp_path):
  load, get = data.load, registry.get

  def narrow(kind, name):
    make = get(kind, name)

    @functools.wraps(make)
    def small(*args, **given):
      return make(*args, **({"width": 4} | given))

    return small if kind == "models" else make

  def few(name, split="train", *, images=FEW):
    found = load(name, split, images=min(images, FEW))
    return found.replace(image=found.image[:, ::4, ::4])

  monkeypatch.setattr(data, "load", few)
  monkeypatch.setattr(registry, "get", narrow)
  share, told = mock.Mock(Share, rate=0.5), mock.Mock(Result, verdict="")
  told.accuracy = (share, share)
  cleansed = mock.create_autospec(command.cleanse, return_value=told)
  monkeypatch.setattr(command, "cleanse", cleansed)
  monkeypatch.chdir(tmp_path)
  names = {}
  for block in examples(page):
    code = "\n" * block.line + block.text
    exec(compile(code, str(page), "exec"), names)


def test_files_pass_their_tests(testing):
  said, _ = testing.communicate()
  assert testing.returncode == 0, said
  assert "passed" in said


@pytest.mark.parametrize("page", named(HOW_TO))
def test_files_are_formatted(page, tree):
  files = [FILE.match(b.text)[1] for b in blocks(page) if FILE.match(b.text)]
  ruff = shutil.which("ruff", path=os.path.dirname(sys.executable))
  for task in (["format", "--check"], ["check"]):
    done = subprocess.run(
      [ruff, *task, "--no-cache", *files],
      cwd=tree,
      capture_output=True,
      text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def nothing(name, split="train", *, images=None, **places):
  """Returns a dataset as large as CIFAR-10 whose images take no memory."""
  count, info = images or SIZES[split], data.info(name)
  image = np.broadcast_to(np.uint8(0), (count, *info.shape))
  return Dataset(image, np.arange(count, dtype=np.int32) % info.num_classes)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize("page", named([p for p in PAGES if commands(p)]))
def test_commands_are_understood(page, tree, monkeypatch):
  for kind in (bdjax.attacks, bdjax.defenses, bdjax.models):
    folder = tree / "bdjax" / kind.__name__.rpartition(".")[2]
    monkeypatch.setattr(kind, "__path__", [*kind.__path__, str(folder)])
  monkeypatch.setattr(data, "load", nothing)
  monkeypatch.setattr(rehearsal, "check", lambda plan: None)  # its own tests
  monkeypatch.chdir(tree)
  for words in commands(page):
    if {"bdjax.launch", "bdjax"} & set(words):
      name = "bdjax.launch" if "bdjax.launch" in words else "bdjax"
      rest = words[words.index(name) + 1 :]
      if rest[1:] == ["--help"]:
        assert rest[0] in cli.COMMANDS
      else:
        understood(program.parse(rest, name))
    elif "bdjax.bench" in words:
      rest = words[words.index("bdjax.bench") + 1 :]
      if rest[:1] == ["compile"]:
        args = aot._parser().parse_args(rest[1:])
        assert cases.choose(targets.parse(args.target), args.cases)
      else:
        bench._parser().parse_args(rest)
    else:
      known(words)


def understood(given: argparse.Namespace) -> None:
  """Checks a command of `bdjax.launch` whose words are parsed."""
  if given.does in ("run", "estimate") or getattr(given, "config", None):
    config = configs.read(given.config, given.keys)
    settings.plan(config.values, config.overridden)
  if given.does == "list" and given.name:
    kinds = registry.KINDS
    assert any(given.name in registry.names(kind) for kind in kinds)
  if given.does == "prepare":
    assert given.name in PREPARED
  if given.does == "cleanse":
    assert given.arch in registry.names("models")
    (spec,) = specs.parse(given.defense)
    assert spec.name in registry.names("defenses")


def known(words: list[str]) -> None:
  """Checks a command that is not this program's."""
  paths = [word for word in words if word.endswith(".py")]
  assert all(Path(path).exists() for path in paths), words
  tools = {"pytest", "sphinx-build", "sync", "build"} & set(words)
  assert tools or paths or words == ["pip", "install", "uv"], words


@pytest.mark.parametrize("page", named(PAGES))
def test_extras_exist(page):
  told = tomllib.loads((TOP / "pyproject.toml").read_text())
  wanted = set(re.findall(r"--extra (\w+)", page.read_text()))
  assert wanted <= told["project"]["optional-dependencies"].keys()
  wanted = set(re.findall(r"--group (\w+)", page.read_text()))
  assert wanted <= told["dependency-groups"].keys()
