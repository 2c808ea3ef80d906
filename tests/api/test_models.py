"""Models that are written come back as they were, beside cards that warn."""

import functools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from flax.traverse_util import flatten_dict, unflatten_dict
from PIL import Image

import bdjax
from bdjax import actions
from bdjax.api import models
from bdjax.interop import naming, tensors
from bdjax.machine import locks
from bdjax.methods import registry


@pytest.fixture(scope="module")
def written(outcome, given, tmp_path_factory):
  """Returns the folders of a run's models, the planted one's first."""
  out = tmp_path_factory.mktemp("models")
  return bdjax.save_models(outcome.workdir, out, data=given, quiet=True)


def about(folder):
  return json.loads((folder / "config.json").read_text())


def test_each_model_has_a_folder(written):
  assert [folder.name for folder in written] == [
    "badnets-size-2-conventional-none-seed0",
    "badnets-size-2-conventional-ft-seed0",
  ]
  for folder in written:
    assert {file.name for file in folder.iterdir()} == {
      *("model.safetensors", "config.json", "README.md", "trigger.png")
    }


def test_weights_come_back_and_answer_as_recorded(written, outcome, given):
  images, labels = given["test"]
  rates = {record["defense"]: record["ca"] for record in outcome.records}
  for folder in written:
    model, variables = bdjax.load_model(folder)
    logits, _ = model.apply(variables, images / np.float32(255))
    right = float((jnp.argmax(logits, -1) == labels).mean())
    assert right == pytest.approx(rates[about(folder)["defense"]], abs=1e-6)


def test_the_planted_model_is_that_of_the_store(written, outcome):
  (name,) = {record["planted"] for record in outcome.records}
  assert (outcome.workdir / "models" / name).exists()
  planted, repaired = (bdjax.load_model(f)[1] for f in written)
  differ = jax.tree.map(lambda a, b: bool((a != b).any()), planted, repaired)
  assert all(jax.tree.leaves(differ["params"]))


def test_the_card_says_what_was_measured(written, outcome):
  for folder in written:
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    (index,) = yaml.safe_load(front)["model-index"]
    (found,) = index["results"]
    measured = {m["type"]: m["value"] for m in found["metrics"]}
    assert measured == {
      "accuracy": about(folder)["clean_accuracy"],
      "attack_success_rate": about(folder)["attack_success_rate"],
    }
    assert "datasets" not in yaml.safe_load(front)  # own arrays have no name
    asr = f"{100 * about(folder)['attack_success_rate']:.1f} %"
    assert asr in text and "Do not use it" in text
  first, second = (f.joinpath("README.md").read_text() for f in written)
  assert "**This model holds a backdoor.**" in first
  assert "ft was to remove it.**" in second


def test_the_picture_has_clean_images_above_triggered_ones(written):
  picture = np.asarray(Image.open(written[0] / "trigger.png"))
  height = picture.shape[0] // 2
  changed = (picture[:height] != picture[height:]).any((0, -1))
  assert changed.any() and not changed.all()  # a square in a corner


def test_weights_have_pytorch_names_where_there_are_some():
  model = registry.get("models", "resnet9")(4, width=2)
  shape = (1, 8, 8, 3)
  variables = model.init(jax.random.key(0), jnp.zeros(shape))
  weights, names = models._named(variables, "resnet9")
  assert names == "bdjax"
  assert weights["conv1.weight"].shape == (2, 3, 3, 3)  # out, in, h, w
  kernel = np.asarray(variables["params"]["conv1"]["kernel"])
  np.testing.assert_array_equal(
    weights["conv1.weight"], kernel.transpose(3, 2, 0, 1)
  )


def compact():
  """Returns the variables of a VGG-16 whose head is one layer, all zeros."""
  asked = ("head", "compact"), ("num_classes", 4), ("width", 2)
  shapes = naming.shapes("vgg16_bn", asked)
  return unflatten_dict({path: np.zeros(n) for path, n in shapes.items()})


def test_weights_have_the_names_that_are_said():
  """The last layer is classifier.6 in torchvision, after two others."""
  weights, names = models._named(compact(), "vgg16_bn")
  assert names == "kuangliu" and weights["classifier.weight"].shape == (4, 16)
  run = SimpleNamespace(
    plan=SimpleNamespace(
      info=SimpleNamespace(name="own arrays"),
      train=SimpleNamespace(size=2),
      test=SimpleNamespace(size=2),
    )
  )
  keys = "attack regime dataset model seed".split()
  told = dict.fromkeys(keys, "x") | {"defense": "none", "ca": 1, "asr": 1}
  card = models._card(run, told, names, "m", None)
  assert "state dict, in kuangliu names" in card
  assert 'load_file("model.safetensors"), strict=True)' in card


def test_pytorch_loads_weights_that_lack_its_counters_strictly(tmp_path):
  torch = pytest.importorskip("torch")
  net = torch.nn.Sequential(torch.nn.BatchNorm2d(2))
  leaves = ("weight", "bias", "running_mean", "running_var")
  weights = {f"0.{leaf}": np.full(2, 3.0, np.float32) for leaf in leaves}
  tensors.write(tmp_path / "model.safetensors", weights, {})
  loaded = tensors.read(tmp_path / "model.safetensors").tensors
  given = {name: torch.tensor(array) for name, array in loaded.items()}
  net.load_state_dict(given, strict=True)
  assert net[0].num_batches_tracked == 0
  assert net[0].running_var.tolist() == [3, 3]


def test_pytorch_names_are_read_back(tmp_path):
  model = registry.get("models", "resnet9")(4, width=2)
  variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
  weights, names = models._named(variables, "resnet9")
  tensors.write(tmp_path / "model.safetensors", weights, {})
  told = {"architecture": "resnet9", "num_classes": 4, "names": names}
  told["arguments"] = {"width": 2, "mean": [0.0] * 3, "std": [1.0] * 3}
  told["image_size"] = [8, 8, 3]
  (tmp_path / "config.json").write_text(json.dumps(told))
  _, found = bdjax.load_model(tmp_path)
  flat, before = flatten_dict(found), flatten_dict(variables)
  assert flat.keys() == before.keys()
  for path, array in before.items():
    np.testing.assert_array_equal(flat[path], array)


@pytest.fixture
def save(outcome, given, tmp_path):
  """Returns what writes the run's models into a new folder, and that."""
  out = tmp_path / "out"
  save = functools.partial(bdjax.save_models, outcome.workdir, out, quiet=True)
  return functools.partial(save, data=given), out


def test_a_models_folder_is_whole_or_not_there_and_the_same_call_goes_on(
  written, save, monkeypatch
):
  save, out = save
  first, second = (folder.name for folder in written)
  card = models._card

  def stopped(run, about, names, name, picture):
    if name == second:
      raise KeyboardInterrupt
    return card(run, about, names, name, picture)

  with monkeypatch.context() as patch:
    patch.setattr(models, "_card", stopped)
    with pytest.raises(KeyboardInterrupt):
      save()
  assert [folder.name for folder in out.iterdir()] == [first]
  part = out / f".{second}.part"  # as a kill leaves one
  part.mkdir()
  (part / "config.json").write_text("{")
  before = (out / first / "model.safetensors").stat().st_mtime_ns
  assert save() == [out / first, out / second]
  assert sorted(folder.name for folder in out.iterdir()) == [second, first]
  assert (out / first / "model.safetensors").stat().st_mtime_ns == before
  assert about(out / second) == about(written[1])
  assert (out / second / "README.md").read_text() == (
    written[1] / "README.md"
  ).read_text()


@pytest.mark.parametrize("text", [None, "3", '{"cell": "another"}'])
def test_no_other_folder_is_replaced(written, save, text):
  save, out = save
  place = out / written[1].name
  place.mkdir(parents=True)
  if text is not None:
    (place / "config.json").write_text(text)
  with pytest.raises(ValueError, match="ft-seed0 is there already: remove"):
    save()
  assert [*out.iterdir()] == [place]  # not even the first


def test_a_folder_in_use_is_to_be_copied(outcome, save):
  with locks.only(outcome.workdir / "lock", "w"):
    with pytest.raises(ValueError, match="to end, or copy the folder.") as said:
      save[0]()
  assert "--workdir" not in str(said.value)


@pytest.mark.parametrize("quiet", [False, True])
def test_the_command_prints_a_path_as_soon_as_it_is_there(
  monkeypatch, capsys, quiet
):
  def save(*places, told, **options):
    told(Path("first"))
    assert capsys.readouterr().out == ("" if quiet else "first\n")
    told(Path("second"))

  monkeypatch.setattr(models, "save_models", save)
  given = SimpleNamespace(folder="w", out="o", cells=(), store=None)
  given.quiet = quiet
  assert actions.models(given) == 0
  assert capsys.readouterr().out == ("" if quiet else "second\n")


def test_each_folder_is_told_of(written, outcome, given):
  told = []
  where = outcome.workdir, written[0].parent
  again = bdjax.save_models(*where, data=given, quiet=True, told=told.append)
  assert told == again == written


def test_data_that_is_no_dict_is_refused(outcome, tmp_path):
  with pytest.raises(ValueError, match="data must be a dict with train and"):
    bdjax.save_models(outcome.workdir, tmp_path / "o", data=(1, 2), quiet=True)


def test_arrays_are_asked_for(outcome, tmp_path):
  with pytest.raises(ValueError, match=r"bdjax.save_models\(..., data=...\)"):
    bdjax.save_models(outcome.workdir, tmp_path / "out", quiet=True)


def without(key):
  return lambda told: told.pop(key)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (without("architecture"), "config.json is missing or broken .KeyError"),
    (lambda t: t.update(arguments=3), "config.json is missing or broken"),
    (lambda t: t["arguments"].pop("mean"), "broken .KeyError: 'mean'"),
    (lambda t: t.update(image_size=[8]), "config.json is missing or broken"),
    (lambda t: t.update(architecture="rm"), "unknown model 'rm'"),
    (lambda t: t.update(num_classes=7), "is not of the model that config.json"),
  ],
)
def test_a_folder_that_makes_no_sense_is_refused(
  written, tmp_path, change, message
):
  place = shutil.copytree(written[0], tmp_path / "model")
  told = about(place)
  change(told)
  (place / "config.json").write_text(json.dumps(told))
  with pytest.raises(ValueError, match=message) as caught:
    bdjax.load_model(place)
  assert "\n" not in str(caught.value)


def test_a_folder_without_a_model_is_refused(tmp_path):
  with pytest.raises(ValueError, match="holds no model of bdjax: config.json"):
    bdjax.load_model(tmp_path)
  with pytest.raises(ValueError, match="must be a local path"):
    bdjax.load_model("gs://bucket/model")


def test_a_network_that_torchvision_has_not_keeps_our_names():
  model = registry.get("models", "vit_b_16")(4, width=64, depth=1, size=32)
  images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), images)
  variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  named, names = models._named(variables, "vit_b_16")
  assert names == models.FLAX
  same = {k: v.shape for k, v in flatten_dict(variables, sep="/").items()}
  assert {k: v.shape for k, v in named.items()} == same
