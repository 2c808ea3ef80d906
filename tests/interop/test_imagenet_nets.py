"""ResNet50, VGG and ViT: PyTorch's names, shapes and logits, here and back."""

import functools
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.interop import layouts, tables, tensors
from bdjax.methods import registry


def load_nets():
  path = Path(__file__).parent / "torch_nets.py"
  spec = importlib.util.spec_from_file_location("torch_nets", path)
  nets = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(nets)
  return nets


NETS = load_nets()
GAINS = {
  "resnet50": 0.85,
  "vgg16_bn": 1.2,
  "vgg19": 1.6,
  "vgg19_bn": 1.4,
  "vit_b_16": 1.0,
}
CASES = {  # by id: architecture, layout, arguments that the shapes tell
  "resnet50": ("resnet50", "kuangliu", {"width": 4, "stem": "cifar"}),
  "resnet50-tv": ("resnet50", "torchvision", {"width": 4, "stem": "imagenet"}),
  "vgg16": ("vgg16_bn", "kuangliu", {"width": 4, "head": "compact"}),
  "vgg16-tv": ("vgg16_bn", "torchvision", {"width": 4, "hidden": 6}),
  "vgg19": ("vgg19_bn", "kuangliu", {"width": 4, "head": "compact"}),
  "vgg19-plain": ("vgg19", "kuangliu", {"width": 4, "head": "compact"}),
  "vgg19-plain-tv": ("vgg19", "torchvision", {"width": 4, "hidden": 6}),
  "vgg19-tv": ("vgg19_bn", "torchvision", {"width": 4, "hidden": 6}),
  "vit": ("vit_b_16", "torchvision", {"width": 128, "patch": 8, "size": 32}),
  "vit-old": (
    "vit_b_16",
    "torchvision-0.13",
    {"width": 128, "patch": 8, "size": 32},
  ),
  "vit-bb": (
    "vit_b_16",
    "backdoorbench",
    {"width": 128, "patch": 16, "size": 48, "resize": True},
  ),
  "vit-bb-old": (
    "vit_b_16",
    "backdoorbench-0.13",
    {"width": 128, "patch": 16, "size": 48, "resize": True},
  ),
}
# Those whose logits are compared; the others differ in names or depth only.
RUN = (
  *("resnet50", "resnet50-tv", "vgg16", "vgg19-plain-tv", "vgg19-tv"),
  *("vit", "vit-bb"),
)
# Made once by the PyTorch models (torch 2.13.0) on the same numbers.
STORED = {
  "resnet50": [
    [-2.934751, 2.021984, 4.584814, 5.264323, -9.741506],
    [-2.940663, 2.016930, 4.571350, 5.258379, -9.746856],
  ],
  "resnet50-tv": [
    [1.840936, 0.402713, -15.722623, -2.270758, -6.966530],
    [1.814999, 0.398875, -15.721930, -2.269640, -6.977327],
  ],
  "vgg16": [
    [-6.532067, 10.775481, 3.553839, -3.911971, -2.586995],
    [-6.442084, 10.561136, 3.439004, -3.822237, -2.415594],
  ],
  "vgg19-plain-tv": [
    [-4.385154, 5.260200, 5.266676, 2.690219, -0.771648],
    [-4.351179, 5.238081, 5.207118, 2.689483, -0.683887],
  ],
  "vgg19-tv": [
    [-2.371103, 1.550246, 2.961302, 3.080496, -4.032115],
    [-2.594923, 1.912785, 3.242904, 3.046123, -3.845284],
  ],
  "vit": [
    [-1.208291, 0.128846, -0.681267, -1.275615, -0.652185],
    [-1.407312, 0.074549, -0.865912, -1.335244, -0.548047],
  ],
  "vit-bb": [
    [-1.032339, 0.529050, -0.630363, 0.130087, -1.771106],
    [-1.078561, 0.508729, -0.647460, 0.056946, -1.682773],
  ],
}


@functools.cache
def state(case):
  """Returns weights whose logits neither vanish nor explode."""
  arch, layout, arguments = CASES[case]
  rng, made = np.random.default_rng(0), {}
  for name, shape in sorted(NETS.SHAPES[arch](layout, **arguments).items()):
    value = rng.normal(size=shape)
    if len(shape) > 1:
      value *= GAINS[arch] / np.sqrt(np.prod(shape[1:]))
    elif name.endswith("weight") or name.endswith("var"):
      value = 1 + 0.5 * np.tanh(value)
    made[name] = value.astype(np.float32)
  return made


@functools.cache
def ours(case):
  return layouts.to_flax(state(case), CASES[case][0])


def images():
  """Returns a bright image of noise and a dark one."""
  rng = np.random.default_rng(1)
  brightness = np.array([1.0, 0.2]).reshape(2, 1, 1, 1)
  noise = rng.uniform(size=(2, 32, 32, 3))
  return (noise * brightness).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_back_and_forth_changes_nothing(case):
  arch, layout, wanted = CASES[case]
  arguments, variables = ours(case)
  assert arguments == wanted | {"num_classes": NETS.CLASSES}
  back = layouts.to_torch(variables, arch, layout=layout)
  assert back.keys() == state(case).keys()
  for name, value in state(case).items():
    np.testing.assert_array_equal(back[name], value)


@pytest.mark.parametrize("case", RUN)
def test_logits_are_pytorchs(case):
  arguments, variables = ours(case)
  model = registry.get("models", CASES[case][0])(**arguments)
  found = jax.jit(model.apply)(variables, jnp.asarray(images()))[0]
  np.testing.assert_allclose(found, STORED[case], rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", RUN)
def test_stored_logits_are_pytorchs_and_strict_loading_works(case, tmp_path):
  torch = pytest.importorskip("torch")
  theirs = torch_logits(torch, case, state(case))
  np.testing.assert_allclose(theirs, STORED[case], rtol=0, atol=1e-4)
  arch, layout, _ = CASES[case]
  back = layouts.to_torch(ours(case)[1], arch, layout=layout)
  tensors.write(tmp_path / "out.safetensors", back, {})
  read = tensors.read(tmp_path / "out.safetensors").tensors
  np.testing.assert_array_equal(torch_logits(torch, case, read), theirs)


def torch_logits(torch, case, weights):
  arch, layout, arguments = CASES[case]
  net = NETS.NETS[arch](torch, layout, **arguments).eval()
  given = {k: torch.tensor(v) for k, v in weights.items()}
  missing, unknown = net.load_state_dict(given, strict=False)
  assert not unknown and all(k.endswith("_tracked") for k in missing)
  with torch.no_grad():
    return net(torch.tensor(images().transpose(0, 3, 1, 2).copy())).numpy()


def test_every_layout_is_tried():
  tried = {(arch, layout) for arch, layout, _ in CASES.values()}
  for arch in NETS.SHAPES:
    for layout in tables.ARCHITECTURES[arch].layouts:
      assert (arch, layout.name) in tried


def test_the_layout_written_is_one_that_has_such_variables():
  compact = layouts.to_torch(ours("vgg16")[1], "vgg16_bn")
  assert "classifier.weight" in compact
  assert "classifier.6.weight" in layouts.to_torch(
    ours("vgg16-tv")[1], "vgg16_bn"
  )
  with pytest.raises(layouts.Mismatch, match=r"vgg16_bn \(torchvision\)"):
    layouts.to_torch(ours("vgg16")[1], "vgg16_bn", layout="torchvision")


def reshaped(case, name, shape):
  return state(case) | {name: np.zeros(shape, np.float32)}


MISMATCHES = {
  "depth": (
    lambda: state("vgg16"),
    "vgg19_bn",
    r"the nearest is vgg16_bn \(kuangliu\)",
  ),
  "bottlenecks": (
    lambda: state("resnet50-tv"),
    "resnet18",
    r"the nearest is resnet50 \(torchvision\)",
  ),
  "prefix": (
    lambda: (
      {k.removeprefix("1."): v for k, v in state("vit-bb").items()}
      | {"0.weight": np.zeros(1, np.float32)}
    ),
    "vit_b_16",
    r"\(torchvision\): 1 unknown \(0.weight\)",
  ),
  "no square of patches": (
    lambda: reshaped("vit", "encoder.pos_embedding", (1, 16, 128)),
    "vit_b_16",
    r"pos_embedding has shape \(1, 16, 128\).*size=24 needs \(1, 10, 128\)",
  ),
  "no patches": (
    lambda: reshaped("vit", "encoder.pos_embedding", (1, 1, 128)),
    "vit_b_16",
    "size=0 and 3 input channels make no model",
  ),
  "heads": (
    lambda: reshaped("vit", "conv_proj.weight", (100, 3, 8, 8)),
    "vit_b_16",
    "no vit_b_16 has width=100,.*not a multiple of head_width 64",
  ),
  "oblong patches": (
    lambda: reshaped("vit", "conv_proj.weight", (128, 3, 8, 4)),
    "vit_b_16",
    "is 8 x 4, but vit_b_16 here has one of equal sides only",
  ),
}


@pytest.mark.parametrize(
  ("make", "arch", "words"), MISMATCHES.values(), ids=MISMATCHES
)
def test_what_does_not_fit_is_named(make, arch, words):
  with pytest.raises(layouts.Mismatch, match=words) as caught:
    layouts.to_flax(make(), arch)
  assert str(caught.value).endswith(".") and len(str(caught.value)) < 600
