"""PyTorch's weights give PyTorch's logits, under each code base's names."""

import functools
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.interop import layouts, tensors
from bdjax.methods import registry

WIDTH, CLASSES = 4, 5
CASES = {
  "backdoorbench": ("preact_resnet18", {}),
  "kuangliu": ("resnet18", {"stem": "cifar"}),
  "torchvision": ("resnet18", {"stem": "imagenet"}),
}
# Made once by the PyTorch models below (torch 2.13.0) on the same numbers.
STORED = {
  "backdoorbench": [
    [-6.321732, -0.822821, 2.011701, -6.214812, 3.894910],
    [-6.195778, -0.858189, 1.858446, -6.233468, 3.918675],
  ],
  "kuangliu": [
    [3.749904, 0.022836, -2.189392, -4.088107, 0.658091],
    [3.731018, 0.014189, -2.193972, -4.119489, 0.634831],
  ],
  "torchvision": [
    [0.557629, -1.325761, 2.152349, -0.527922, -1.280581],
    [0.564562, -1.250120, 2.133458, -0.560064, -1.245051],
  ],
}


def images() -> np.ndarray:
  rng = np.random.default_rng(1)
  return rng.uniform(size=(2, 32, 32, 3)).astype(np.float32)


def logits(arguments, variables, arch) -> np.ndarray:
  model = registry.get("models", arch)(**arguments)
  return jax.jit(model.apply)(variables, jnp.asarray(images()))[0]


@functools.cache
def torch_net(layout: str):
  """Returns an untrained PyTorch model with the layout's names."""
  if layout == "backdoorbench":
    path = Path(__file__).parents[1] / "models" / "test_preact_parity.py"
    spec = importlib.util.spec_from_file_location("parity", path)
    parity = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(parity)
    net = parity.torch_model(pytest.importorskip("torch"), WIDTH)
    net.linear = pytest.importorskip("torch").nn.Linear(8 * WIDTH, CLASSES)
    return net.eval()
  return residual_net(pytest.importorskip("torch"), layout).eval()


def residual_net(torch, layout: str):
  nn, relu = torch.nn, torch.nn.functional.relu
  imagenet = layout == "torchvision"

  class Block(nn.Module):
    """conv-bn-relu-conv-bn, plus the shortcut, then relu."""

    def __init__(self, before, after, stride):
      super().__init__()
      self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
      self.bn1 = nn.BatchNorm2d(after)
      self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
      self.bn2 = nn.BatchNorm2d(after)
      projection = nn.Sequential()
      if before != after:
        conv = nn.Conv2d(before, after, 1, stride, bias=False)
        projection = nn.Sequential(conv, nn.BatchNorm2d(after))
      self.side = "downsample" if imagenet else "shortcut"
      setattr(self, self.side, projection)

    def forward(self, x):
      y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
      return relu(y + getattr(self, self.side)(x))

  class Net(nn.Module):
    """A stem, four stages of two blocks and a linear layer."""

    def __init__(self):
      super().__init__()
      stem = (7, 2, 3) if imagenet else (3, 1, 1)
      self.conv1 = nn.Conv2d(3, WIDTH, *stem, bias=False)
      self.bn1 = nn.BatchNorm2d(WIDTH)
      before = WIDTH
      for i in range(4):
        after = WIDTH * 2**i
        first = Block(before, after, 1 if i == 0 else 2)
        stage = nn.Sequential(first, Block(after, after, 1))
        setattr(self, f"layer{i + 1}", stage)
        before = after
      self.head = "fc" if imagenet else "linear"
      setattr(self, self.head, nn.Linear(before, CLASSES))

    def forward(self, x):
      x = relu(self.bn1(self.conv1(x)))
      if imagenet:
        x = nn.functional.max_pool2d(x, 3, 2, 1)
      for i in range(4):
        x = getattr(self, f"layer{i + 1}")(x)
      return getattr(self, self.head)(x.mean((2, 3)))

  return Net()


def torch_logits(layout: str, state: dict) -> np.ndarray:
  torch = pytest.importorskip("torch")
  net = torch_net(layout)
  net.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
  with torch.no_grad():
    return net(torch.tensor(images().transpose(0, 3, 1, 2).copy())).numpy()


@pytest.mark.parametrize("layout", CASES)
def test_logits_are_pytorchs(layout, draw):
  arch, implied = CASES[layout]
  arguments, variables = layouts.to_flax(draw(layout), arch)
  assert arguments == {"width": WIDTH, "num_classes": CLASSES} | implied
  ours = logits(arguments, variables, arch)
  np.testing.assert_allclose(ours, STORED[layout], rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", CASES)
def test_stored_logits_are_pytorchs_and_strict_loading_works(
  layout, draw, tmp_path
):
  pytest.importorskip("torch")
  theirs = torch_logits(layout, draw(layout))
  np.testing.assert_allclose(theirs, STORED[layout], rtol=0, atol=1e-4)
  arch, _ = CASES[layout]
  _, variables = layouts.to_flax(draw(layout), arch)
  back = layouts.to_torch(variables, arch, layout=layout)
  tensors.write(tmp_path / "out.safetensors", back, {})
  read = tensors.read(tmp_path / "out.safetensors").tensors
  np.testing.assert_array_equal(torch_logits(layout, read), theirs)
