"""What cannot be done is said in one sentence, before anything is written."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bdjax
from bdjax.cleanse import facts, suspect
from bdjax.interop import pytorch, tensors

FORM = (
  "preact_resnet18(stem=cifar, strides=1222, activation=relu, "
  "shortcut=activated, channels=rgb)"
)


@pytest.fixture
def attempt(handed, tmp_path):
  """Returns a call that must be refused, and leave its folder as it was."""

  def attempt(text, **changed):
    given = {
      "model": handed.model,
      "images": handed.clean,
      "out": tmp_path / "cleaned.safetensors",
    }
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=text) as caught:
      bdjax.cleanse(**given | changed)
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before

  return attempt


@pytest.mark.parametrize(
  ("changed", "text"),
  [
    ({"defense": "abl"}, "abl needs the suspect's training set"),
    ({"defense": "spectral"}, "spectral needs the suspect's training set"),
    ({"defense": "strip"}, "strip detects triggered images and repairs no"),
    ({"defense": "none"}, "repairs nothing"),
    ({"defense": "ft,super_ft"}, "one model is repaired once"),
    ({"defense": "ft(lr=(0.1, 0.2))"}, "one model is repaired once"),
    ({"defense": "sper_ft"}, "did you mean super_ft"),
    ({"defense": "ft(lr=-1)"}, r"--defense='ft\(lr=\.\.\.\)' is -1, but must"),
    ({"defense": "ft(batch_size=99)"}, "batch_size is 99, but the data has 52"),
    ({"arch": "alexnet"}, "known are|did you mean"),
    ({"arch": "vgg16_bn"}, r"handed.*: .*preact_resnet18"),
    (
      {"arch": "resnet9(stem"},
      r"--arch is 'resnet9\(stem', which cannot be re",
    ),
    (
      {"arch": "resnet9(),ft"},
      r"--arch is 'resnet9\(\),ft', which cannot be re",
    ),
    ({"image_size": 0}, r"the image size is \(0, 0\) according to a flag"),
    ({"mean": (125.0,)}, "pixels in 0 to 255"),
    ({"mean": (0.5, 0.5)}, "must be one number, or three"),
    ({"std": (0.0,)}, "must be above 0"),
    ({"held_out": 1.0}, "held_out is 1.0"),
    ({"images": "cifar10x"}, "there is no folder cifar10x, nor a dataset"),
    ({"images": __file__}, "test_refusals.py is a file: give a folder with"),
    ({"images": "cifar100"}, "has 100 classes, and the model 4"),
    (
      {"images": "imagenet10", "data_dir": "nowhere"},
      "or point --data_dir=DIR or ",
    ),
    ({"model": Path("nowhere.pt")}, "nowhere.pt: cannot be opened"),
    ({"out": Path("x.bin")}, r"ends in .safetensors or .pt or .pth"),
    ({"images": Path("x" * 5_000)}, "there is no folder x"),
    ({"out": Path("no/where.safetensors")}, "its folder does not exist"),
    ({"out": Path("/proc/x.safetensors")}, "x.safetensors cannot be written"),
    ({"out": Path("x" * 238 + ".safetensors")}, "name too long"),
    *(
      ({name: "gs://b/x"}, f"--{name} is gs://b/x, but must be a local path")
      for name in ("model", "images", "out", "triggered")
    ),
  ],
)
def test_refused(attempt, changed, text):
  attempt(text, **changed)


def test_files_that_are_there_are_kept_unless_forced(attempt, handed, tmp_path):
  page, out = tmp_path / "x.html", tmp_path / "x.safetensors"
  page.write_text("mine")
  attempt(r"x\.html exists already", out=out)
  given = {"defense": "clp", "force": True}
  bdjax.cleanse(handed.model, handed.clean, out, **given)
  assert page.read_text().startswith("<!doctype html>")
  attempt(r"x\.safetensors exists already", out=out)
  stamp = out.stat().st_mtime_ns
  bdjax.cleanse(handed.model, handed.clean, out, **given | {"seed": 1})
  assert out.stat().st_mtime_ns != stamp


def test_a_pytorch_file_is_refused_before_the_work(
  attempt, tmp_path, monkeypatch
):
  monkeypatch.setattr(pytorch.importlib.util, "find_spec", lambda name: None)
  attempt("it is not installed here", out=tmp_path / "x.pt")


def test_the_suspect_itself_is_never_replaced(attempt, handed):
  attempt("the suspect itself", out=handed.model, force=True)


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_the_page_replaces_no_model(attempt, handed, tmp_path, link):
  page = tmp_path / "x.html"
  model = page if link is None else tmp_path / "suspect.safetensors"
  shutil.copy(handed.model, model)
  if link is not None:
    link(model, page)
  for force in (True, False):
    out = tmp_path / "x.safetensors"
    text = r"x\.html would be replaced, which is the suspect itself"
    attempt(text, model=model, out=out, force=force)
  assert model.read_bytes() == handed.model.read_bytes()


def test_a_name_that_is_too_long_is_no_file_that_is_replaced(attempt, tmp_path):
  out = tmp_path / "x.safetensors"
  out.write_bytes(b"")
  attempt("there is no folder x", images="x" * 5_000, out=out, force=True)
  attempt(
    "cannot be opened: File name too long",
    model=Path("x" * 5_000),
    out=out,
    force=True,
  )


@pytest.mark.parametrize("model", [".", ""])
def test_the_folder_where_one_is_may_be_the_models(
  attempt, tmp_path, monkeypatch, model
):
  monkeypatch.chdir(tmp_path)
  attempt(".: is not a file, and a folder of no models", model=model)


def test_names_and_shards_are_not_replaced(attempt, handed, tmp_path):
  names = tmp_path / "x.html"
  names.write_text("a\nb\nc\nd\n")
  out = tmp_path / "x.safetensors"
  text = "or something else that is read"
  attempt(text, out=out, class_order=names, force=True)
  shard = tmp_path / "model-00001-of-00002.safetensors"
  index = tmp_path / "model.safetensors.index.json"
  shard.write_bytes(b"")
  index.write_text("{}")
  for model in (index, tmp_path, tmp_path / "model-00002-of-00002.safetensors"):
    attempt("would be replaced", model=model, out=shard, force=True)


def test_normalization_is_not_guessed(attempt, handed, tmp_path):
  alone = tmp_path / "alone.safetensors"
  shutil.copy(handed.model, alone)
  attempt("nothing says by which mean", model=alone, arch="preact_resnet18")
  attempt("nothing says by which mean", model=alone)  # its weights tell what


def test_a_model_of_other_images_is_not_taught_them(attempt, handed, tmp_path):
  """Of noise its answers are guesses."""
  noise = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8)
  for i, image in enumerate(noise):
    (tmp_path / "noise" / f"{i % 4}").mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(tmp_path / "noise" / f"{i % 4}" / f"{i}.png")
  attempt(
    "may be guessing: check --mean.*--class_order, --weights and --arch",
    images=tmp_path / "noise",
    arch=FORM,
  )


def test_answers_that_are_no_numbers_are_refused(attempt, handed, tmp_path):
  """Finite weights may overflow: every answer would be class 0."""
  state = dict(tensors.read(handed.model).tensors)
  state["linear.weight"] = np.full_like(state["linear.weight"], 3e38)
  tensors.write(tmp_path / "m.safetensors", state, {})
  shutil.copy(handed.model.with_suffix(".json"), tmp_path / "m.json")
  attempt(
    "logits are not finite for 64 of 64 clean images",
    model=tmp_path / "m.safetensors",
    arch=FORM,
  )


def renamed(folder, clean, names):
  """Returns a copy of clean images whose folders have other names."""
  for old, new in zip("abcd", names, strict=True):
    shutil.copytree(clean / old, folder / new)
  return folder


ORDERS = {  # names of the folders, what says the model's order of them
  "natural": (("c1", "c2", "c10", "c11"), "natural"),
  "lexicographic": (("0", "1", "10", "2"), "lexicographic"),
  "neither": (("d", "a", "c", "b"), "d,a,c,b"),
  "odd": (("d, e", "a", "c", "b"), """'["d, e", "a", "c", "b"]'"""),
}


@pytest.mark.parametrize("names", ORDERS)
def test_classes_in_another_order_are_seen_and_never_taught(
  attempt, handed, tmp_path, names
):
  names, value = ORDERS[names]
  images = renamed(tmp_path / "renamed", handed.clean, names)
  listed = tmp_path / "names.txt"
  wrong = (*names[1:], names[0])
  listed.write_text("\n".join(wrong))
  text = re.escape(f"give --class_order {value}")
  attempt(text, images=images, class_order=listed)
  attempt(text, images=images, class_order=json.dumps(wrong))
  if value in ("natural", ORDERS["odd"][1]):  # a word, and a list
    out = tmp_path / "x.safetensors"
    given = {"class_order": value.strip("'"), "defense": "clp"}
    assert bdjax.cleanse(handed.model, images, out, **given).names == names


@pytest.mark.parametrize(
  ("said", "text"),
  [
    ("[1]", "is no JSON object"),
    ('{"mean": "x"}', "says that mean is x, which is not understood"),
    ('{"meen": [0.5]}', "says meen, which is unknown: did you mean mean"),
  ],
)
def test_a_sidecar_that_makes_no_sense_is_refused(
  attempt, handed, tmp_path, said, text
):
  model = tmp_path / "m.safetensors"
  shutil.copy(handed.model, model)
  model.with_suffix(".json").write_text(said)
  attempt(text, model=model)


def test_a_benchmarks_file_names_architecture_and_dataset(handed, tmp_path):

  said = {"model_name": "preactresnet18", "clean_data": "gtsrb"}
  state, path = tensors.read(handed.model).tensors, tmp_path / "m.safetensors"
  tensors.write(path, state, said)
  found = suspect.load(path, arch=None, flags={"std": (0.4,)})
  assert found.arch == "preact_resnet18"
  by = "dataset gtsrb, which the file names"
  assert found.facts["mean"] == ((0.0, 0.0, 0.0), by)
  assert found.facts["std"] == ((0.4,), "a flag")
  given = suspect.load(path, arch="PreActResNet18", flags={})
  assert given.arch == "preact_resnet18"
  assert (
    suspect.build(given, None)[1] == f"mean 0, 0, 0, std 1, 1, 1, from {by}"
  )


def test_a_sidecar_wins_over_the_file_and_a_flag_over_both(handed):
  metadata = {"mean": (0.1,), "std": (0.2,), "img_size": (16, 16, 3)}
  flags = {"std": (0.4,), "mean": None}
  found = facts.collected(handed.model, metadata, flags)
  assert found["mean"] == ((0.3,) * 3, "the sidecar")
  assert found["std"] == ((0.4,), "a flag")
  assert found["img_size"] == ((16, 16, 3), "the model's file")


def test_weights_that_are_not_finite_are_refused(attempt, handed, tmp_path):
  state = dict(tensors.read(handed.model).tensors)
  state["linear.bias"] = np.full(4, np.nan, np.float32)
  tensors.write(tmp_path / "nan.safetensors", state, {})
  said = json.loads(handed.model.with_suffix(".json").read_text())
  (tmp_path / "nan.json").write_text(json.dumps(said))
  attempt("nan.safetensors: .* hold NaN", model=tmp_path / "nan.safetensors")
