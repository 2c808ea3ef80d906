"""What is read of a suspect's file besides its weights, and written back."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from bdjax.cleanse import facts, suspect
from bdjax.interop import layouts, naming, tables, tensors
from bdjax.machine import notes

FLAGS = {"mean": None, "std": None, "img_size": None}


@pytest.fixture
def state(handed):
  return dict(tensors.read(handed.model).tensors)


@pytest.fixture
def load(tmp_path):
  """Returns a call: tensors, facts of the file, flags -> the suspect."""

  def load(found, *, name="m.safetensors", facts=None, **flags):
    path = tmp_path / name
    tensors.write(path, found, facts or {}, force=True)
    given = FLAGS | flags
    return suspect.load(path, arch="preact_resnet18", flags=given)

  return load


def wrapped(state):
  """Returns the tensors of Sequential(Normalize, net), and what it adds."""
  own = {
    "0.mean": np.full((1, 3, 1, 1), 0.3),
    "0.std": np.full((1, 3, 1, 1), 0.25),
  }
  own = {name: value.astype(np.float32) for name, value in own.items()}
  return own | {f"1.{name}": value for name, value in state.items()}


def test_a_models_own_normalization_is_taken(load, state):
  found = load(wrapped(state), facts={"mean": (0.9,)})
  assert found.facts["mean"][0] == pytest.approx((0.3,) * 3)
  assert found.facts["std"] == ((0.25,) * 3, "the model's own 0.std")
  assert found.source == "names without their prefix 1."
  assert found.named(found.variables).keys() == state.keys()
  load(wrapped(state), mean=(0.3,), std=(0.25, 0.25, 0.25))
  with pytest.raises(ValueError, match="normalizes images itself.*leave out"):
    load(wrapped(state), mean=(0.5,))


def test_a_model_that_takes_blue_first_is_turned_and_written_back(load, state):
  """Its first kernel is [filters, channels, h, w] in the file."""
  turned = state | {"conv1.weight": state["conv1.weight"][:, ::-1].copy()}
  found = suspect.formed(load(turned), {"channels": "bgr"})
  usual = load(state)
  jax.tree.map(np.testing.assert_array_equal, found.variables, usual.variables)
  written = found.named(found.variables)
  for name, value in turned.items():
    np.testing.assert_array_equal(written[name], value)
  assert found.arguments == usual.arguments
  again = suspect.formed(found, {"channels": "rgb"})
  np.testing.assert_array_equal(
    again.named(again.variables)["conv1.weight"], turned["conv1.weight"]
  )


def test_only_a_models_own_normalization_is_turned_with_it(load, state):
  own = wrapped(state)
  own["0.mean"] = np.array([0.1, 0.2, 0.3], np.float32).reshape(1, 3, 1, 1)
  found = suspect.formed(load(own), {"channels": "bgr"})
  assert found.facts["mean"][0] == pytest.approx((0.3, 0.2, 0.1))
  found = load(state, mean=(0.1, 0.2, 0.3))
  found = suspect.formed(found, {"channels": "bgr"})
  assert found.facts["mean"][0] == (0.1, 0.2, 0.3)


def test_a_last_layer_is_written_as_it_was_named(load, state):
  heads = {n.replace("linear.", "linear.1."): v for n, v in state.items()}
  found = load({f"net.{name}": value for name, value in heads.items()})
  assert found.source == "names without their prefix net."
  written = found.named(found.variables)
  assert written.keys() == heads.keys()
  np.testing.assert_array_equal(written["linear.1.bias"], state["linear.bias"])


def test_which_weights_were_taken_is_said(tmp_path, state):
  found = {f"model.{name}": value for name, value in state.items()}
  found |= {f"ema.{name}": 2 * value for name, value in state.items()}
  path = tmp_path / "m.safetensors"
  tensors.write(path, found, {})
  given = {"arch": "preact_resnet18", "flags": FLAGS}
  assert suspect.load(path, **given).source == (
    "ema, not model, which --weights takes"
  )
  raw = suspect.load(path, **given, weights="raw")
  assert raw.source == "model, not ema, which --weights takes"
  np.testing.assert_array_equal(
    raw.named(raw.variables)["linear.bias"], state["linear.bias"]
  )


def test_weights_tell_their_architecture_if_nobody_else_does(
  tmp_path, state, caplog, monkeypatch
):
  monkeypatch.setattr(notes.LOG, "propagate", True)
  path = tmp_path / "m.safetensors"
  tensors.write(path, state, {})
  assert suspect.load(path, arch=None, flags=FLAGS).arch == "preact_resnet18"
  (record,) = caplog.records
  assert "is taken for a preact_resnet18, the only" in record.getMessage()
  del state["layer1.0.conv1.weight"]
  tensors.write(path, state, {}, force=True)
  with pytest.raises(
    ValueError, match="m.safetensors is not given; give --arch"
  ):
    suspect.load(path, arch=None, flags=FLAGS)


def test_a_name_that_nobody_knows_is_not_overruled(tmp_path, state):
  path = tmp_path / "m.safetensors"
  tensors.write(path, state, {"model_name": "resnet1001"})
  with pytest.raises(
    ValueError,
    match="m.safetensors says that it is resnet1001, which cleanse cannot read;"
    " it reads convnext_tiny, .*, vit_b_16: give --arch only if it is one of",
  ):
    suspect.load(path, arch=None, flags=FLAGS)


@pytest.mark.parametrize("folder", [".", "defense/ft"])
def test_a_benchmarks_defense_says_what_its_attack_says(
  tmp_path, state, folder
):
  said = {"clean_data": "gtsrb", "img_size": (8, 8, 3)}
  tensors.write(tmp_path / "attack_result.pt.safetensors", state, said)
  (tmp_path / "attack_result.pt.safetensors").rename(
    tmp_path / "attack_result.pt"
  )
  (tmp_path / folder).mkdir(parents=True, exist_ok=True)
  path = tmp_path / folder / "defense_result.safetensors"
  tensors.write(path, state, {"model_name": "preactresnet18"})
  path = path.rename(path.with_suffix(".pt"))
  found = suspect.load(path, arch=None, flags=FLAGS)
  by = "attack_result.pt of the attack"
  assert found.facts["img_size"] == ((8, 8, 3), by)
  assert found.facts["std"] == ((1.0, 1.0, 1.0), f"the dataset of {by}")
  other = path.rename(path.with_name("model.pt"))
  assert "img_size" not in suspect.load(other, arch=None, flags=FLAGS).facts


@pytest.mark.parametrize(
  ("name", "mean"), [("tiny", 0.4802), ("cifar10", 0.4914), ("celeba", 0.0)]
)
def test_a_benchmarks_dataset_tells_the_normalization(tmp_path, name, mean):
  found = facts.collected(tmp_path / "m.pt", {"clean_data": name}, {})
  assert found["mean"][0][0] == mean


def test_the_sidecar_of_an_index_is_not_the_index(tmp_path, state):
  tensors.write(tmp_path / "a.safetensors", state, {})
  index = tmp_path / "m.safetensors.index.json"
  places = dict.fromkeys(state, "a.safetensors")
  index.write_text(json.dumps({"weight_map": places}))
  (tmp_path / "m.json").write_text('{"mean": [0.1], "std": [0.2]}')
  found = suspect.load(index, arch="preact_resnet18", flags=FLAGS)
  assert found.facts["mean"] == ((0.1,), "the sidecar")


def test_a_folders_sidecar_has_the_name_of_the_file_in_it(
  tmp_path, state, monkeypatch
):
  tensors.write(tmp_path / "m.safetensors", state, {})
  (tmp_path / "m.json").write_text('{"mean": [0.1], "std": [0.2]}')
  monkeypatch.chdir(tmp_path)
  for path in (tmp_path, Path("."), Path("")):
    found = suspect.load(path, arch="preact_resnet18", flags=FLAGS)
    assert found.facts["mean"] == ((0.1,), "the sidecar")
    assert found.path.name == "m.safetensors"


def test_a_normalization_of_pixels_to_255_is_divided(load, state):
  """123.675 / 255 is .485, and 58.395 / 255 is .229."""
  own = wrapped(state)
  own["0.mean"] = np.full((1, 3, 1, 1), 123.675, np.float32)
  own["0.std"] = np.full((1, 3, 1, 1), 58.395, np.float32)
  found = load(own)
  assert suspect.build(found, None)[1] == (
    "mean 0.485, 0.485, 0.485, std 0.229, 0.229, 0.229, from the model's own "
    "0.mean / 255 and the model's own 0.std / 255"
  )
  load(own, mean=(0.485,), std=(0.229,))
  with pytest.raises(ValueError, match="by 0.mean / 255, which is .0.485"):
    load(own, mean=(123.675,))
  own["0.std"] = np.ones((1, 3, 1, 1), np.float32)  # divides by nothing
  found = load(own)
  assert found.facts["std"][0] == pytest.approx((1 / 255,) * 3)


def transformer(tmp_path):
  """Writes a ViT for images of 8 x 8, all zeros; returns its file."""
  asked = {"num_classes": 4, "patch": 4, "size": 8, "width": 64}
  shapes = naming.shapes("vit_b_16", tuple(asked.items()))
  zeros = {path: np.zeros(n, np.float32) for path, n in shapes.items()}
  state = layouts.to_torch(unflatten_dict(zeros), "vit_b_16")
  tensors.write(tmp_path / "vit.safetensors", state, {"img_size": (32, 32, 3)})
  return tmp_path / "vit.safetensors"


def test_a_transformers_weights_tell_its_size_and_no_flag_another(tmp_path):
  path = transformer(tmp_path)
  found = suspect.load(path, arch="vit_b_16", flags=FLAGS)
  assert found.facts["img_size"] == ((8, 8), "the weights")
  suspect.load(path, arch="vit_b_16", flags={"img_size": (8, 8)})
  with pytest.raises(ValueError, match="is 32, but .* 8 x 8 alone; leave out"):
    suspect.load(path, arch="vit_b_16", flags={"img_size": (32, 32)})


def test_only_what_is_taken_is_looked_through(load, state, monkeypatch):
  """What a loss needs may be anything, and any number of names for it."""
  asked = []
  check = tensors.check_finite
  monkeypatch.setattr(
    tensors, "check_finite", lambda some: (asked.extend(some), check(some))
  )
  found = {f"model.{name}": value for name, value in state.items()}
  load(found | {"loss.weight": np.full(3, np.nan, np.float32)})
  assert set(asked) == found.keys()
  own = wrapped(state) | {"0.mean": np.full((1, 3, 1, 1), np.nan, np.float32)}
  with pytest.raises(ValueError, match=r"hold NaN .* \(0.mean\)"):
    load(own)


def test_the_guide_names_every_architecture_that_is_read():
  guide = Path(__file__).parents[2] / "docs" / "cleanse.md"
  (row,) = (
    x for x in guide.read_text().split("\n") if x.startswith("| `--arc")
  )
  read = row.partition(" are read;")[0].partition("architecture: ")[2]
  assert read.replace(" and ", ", ").split(", ") == list(tables.ARCHITECTURES)
