"""A planted model goes in, a repaired one and an honest page come out."""

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import bdjax
from bdjax.cleanse import (
  agenda,
  audit,
  clean_images,
  command,
  repair,
  suspect,
  verdict,
)
from bdjax.cleanse import case as cases
from bdjax.interop import layouts, tensors
from bdjax.methods import specs
from bdjax.runs.speed import Speed

TOP = Path(__file__).parents[2]
DEFENSE = "super_ft(lr_max1=0.1, epochs=10, phase1_epochs=4)"
CHEAP = "clp"  # compiles no training


@pytest.fixture(scope="module")
def result(handed, tmp_path_factory):
  out = tmp_path_factory.mktemp("out") / "cleaned.safetensors"
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(audit, "ROUNDS", 20)
    return bdjax.cleanse(
      handed.model,
      handed.clean,
      out,
      defense=DEFENSE,
      audit=True,
      triggered=handed.suspected,
    )


def test_the_backdoor_goes_and_the_accuracy_stays(result):
  before, after = result.accuracy
  assert (before.count, after.count) == (12, 12)
  assert before.rate == 1 and after.rate > 0.8
  assert result.taken.target == 1
  assert result.taken.before.rate > 0.9 and result.taken.after.rate < 0.2
  assert result.taken.before.count == 30  # of 40, without the class's own
  before, after = result.taken.right
  assert before.rate == 0.25  # those of the class itself
  assert after.rate > before.rate


def test_the_class_of_the_backdoor_has_the_smallest_patch(result):
  assert result.audit.norm.argmin() == 1
  assert result.audit.before[1].rate > 0.7
  assert result.audit.after[1].rate < 0.3
  assert result.audit.before[1].count == 9  # held-out images of other classes


def test_what_was_decided_for_the_user_is_said(result, handed):
  assert result.defense == (
    "super_ft(batch_size=16, lr_max1=0.1, epochs=10, phase1_epochs=4)"
  )
  said = result.verdict
  for text in (
    "reduced from 256 to 16 images, since there are only 52",
    "may still be dormant",
    f"Skipped in {handed.clean}, as no images of a class: 1 .DS_Store.",
    "taken on trust",
    "tell about their own trigger alone",
  ):
    assert text in said


def test_the_page_holds_what_the_result_says_and_needs_nothing_else(result):
  page = result.report.read_text()
  for sentence in (*verdict.of(result).findings, *verdict.of(result).unproved):
    assert sentence.replace("'", "&#39;") in page
  assert str(result.accuracy[1]) in page
  assert page.count("data:image/png;base64,") == 4
  assert "layer4.1.conv2" in page and result.facts["sha256"] in page
  assert not re.search(r"(src|href)=\"(?!data:|#)", page)


def test_the_output_is_whole_and_says_what_it_is(result, handed):
  theirs, ours = tensors.read(handed.model), tensors.read(result.out)
  assert ours.tensors.keys() == theirs.tensors.keys()
  assert ours.metadata["model_name"] == "preact_resnet18"
  assert ours.metadata["img_size"] == (8, 8, 3)
  assert ours.metadata["mean"] == (0.3, 0.3, 0.3)
  assert ours.metadata["defense"] == result.defense
  assert ours.metadata["suspect_sha256"] == result.facts["sha256"]
  moved = {c.name: c.relative for c in result.changes}
  name = "layer1.0.conv1"
  old, new = (x.tensors[f"{name}.weight"] for x in (theirs, ours))
  by_hand = np.linalg.norm(new - old) / np.linalg.norm(old)
  assert moved[name] == pytest.approx(by_hand, rel=1e-5)
  layouts.to_flax(ours.tensors, "preact_resnet18")


def launch(*args):
  done = subprocess.run(
    [sys.executable, "-m", "bdjax.launch", "cleanse", *map(str, args)],
    cwd=TOP,
    capture_output=True,
    text=True,
  )
  return done.returncode, done.stdout, done.stderr


def test_the_command_does_what_the_call_does(handed, tmp_path):
  called, commanded = (tmp_path / f"{x}.safetensors" for x in "ab")
  bdjax.cleanse(handed.model, handed.clean, called, defense=CHEAP, seed=3)
  rc, said, errors = launch(
    *("--model", handed.model, "--images", handed.clean, "--seed", 3),
    *("--out", commanded, "--arch", "preact_resnet18", "--defense", CHEAP),
  )
  assert (rc, errors) == (0, "")
  assert "mean 0.3, 0.3, 0.3, std 0.3, 0.3, 0.3, from the sidecar" in said
  assert "Held out: 12 images" in said and "not audited" in said
  ours, theirs = (tensors.read(x).tensors for x in (called, commanded))
  for name, tensor in ours.items():
    np.testing.assert_allclose(tensor, theirs[name], rtol=1e-4, atol=1e-5)


def test_a_command_that_fails_says_one_sentence(handed, tmp_path):
  rc, said, errors = launch("--model", handed.model, "--out", tmp_path / "a.pt")
  assert (rc, said) == (2, "")
  assert errors.startswith("error: cleanse needs --images")
  assert len(errors.strip().splitlines()) == 1


def test_one_number_stands_for_every_channel():
  found = command._flags(8, 0.5, np.array([0.1, 0.2, 0.3]))
  assert found == {
    "img_size": (8, 8),
    "mean": (0.5,),
    "std": (0.1, 0.2, 0.3),
  }
  assert command._flags(None, 0, None) == {
    "img_size": None,
    "mean": (0,),
    "std": None,
  }


@pytest.fixture
def taking(monkeypatch):
  """Returns what sets the seconds that things are expected to take."""

  def take(repair, search):
    seconds = {agenda.REPAIR: repair, agenda.SEARCH: search, agenda.TRIAL: 1.0}
    monkeypatch.setattr(agenda, "_seconds", lambda *case: seconds)

  return take


def test_a_budget_leaves_out_the_search_and_all_say_so(
  handed, tmp_path, taking
):
  taking(1.0, 1e6)
  out, said = tmp_path / "x.safetensors", io.StringIO()
  result = bdjax.cleanse(
    *(handed.model, handed.clean, out),
    defense=CHEAP,
    audit=True,
    budget=7200,
    console=Console(file=said, width=300),
  )
  (sentence,) = result.left_out
  assert "search of patches, since it takes about 278 h" in sentence
  assert "of --budget=2h were left; so that no backdoor was look" in sentence
  assert result.audit is None and out.exists()
  text = said.getvalue()
  assert text.count(sentence) == 1  # the verdict is printed by the command
  assert "patch for each of 4 classes: about 278 h, likely left" in text
  assert f"<li>{sentence}</li>" in result.report.read_text()
  assert sentence in result.verdict
  assert tensors.read(out).metadata["left_out"] == sentence


def test_a_budget_below_the_repair_is_refused_and_nothing_written(
  handed, tmp_path, taking
):
  taking(1e6, 1.0)
  out = tmp_path / "x.safetensors"
  with pytest.raises(ValueError, match="--budget is 30m, .* give at least"):
    bdjax.cleanse(handed.model, handed.clean, out, defense=CHEAP, budget=1800)
  with pytest.raises(ValueError, match="budget is -1; give seconds"):
    bdjax.cleanse(handed.model, handed.clean, out, budget=-1)
  assert not any(tmp_path.iterdir())


def test_seconds_are_operations_over_how_many_a_second(handed, monkeypatch):
  accused = suspect.load(handed.model, arch=None, flags={}, weights=None)
  others = dict.fromkeys(("triggered", "class_order", "data_dir"))
  read = clean_images.read(accused, handed.clean, **others)
  case = cases.opened(accused, read, held_out=0.2, seed=0)
  fixed = repair.fitted(repair.chosen("ft"), case.access.clean.size)
  pace = Speed(1e9, 5.0, 0)
  monkeypatch.setattr(agenda.speed, "alone", lambda *asked: pace)
  found = agenda._seconds(case, fixed, True)
  forward = agenda._forward(case)
  # 12 held-out images and 4 classes, on two models
  assert found[agenda.TRIAL] == pytest.approx(2 * 12 * 4 * forward / 1e9)
  monkeypatch.setattr(audit, "ROUNDS", 2 * audit.ROUNDS)
  twice = agenda._seconds(case, fixed, True)[agenda.SEARCH] - 5
  assert twice == pytest.approx(2 * (found[agenda.SEARCH] - 5)) and twice > 0
  # A step has a forward pass and two backward ones, and images are asked about.
  steps = specs.parse("ft(batch_size=16)")
  assert fixed.label == str(steps[0])
  trained = 100 * 4 * 16 * 3 * forward / 1e9
  asked = 2 * (12 + 500) * forward / 1e9
  assert found[agenda.REPAIR] - 5 == pytest.approx(trained + asked, rel=0.1)
