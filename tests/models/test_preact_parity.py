"""PreActResNet18 computes what the field's PyTorch model computes."""
# ruff: noqa: D103

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.models import preact_resnet18

WIDTH = 8
MODEL = preact_resnet18.make(10, width=WIDTH)
# Made once by the PyTorch model below (torch 2.13.0) on the same numbers.
STORED = [
  [4.574228, -0.189958, -2.010416, -3.899895, 0.01571],
  [4.567039, -0.347544, -1.865682, -4.01367, 0.086227],
]


def draw(tree, seed=0):
  """Return numpy values for a tree of shapes, in the order of its names."""
  rng = np.random.default_rng(seed)
  leaves, structure = jax.tree.flatten_with_path(tree)
  values = []
  for path, leaf in leaves:
    name = path[-1].key
    value = rng.normal(size=leaf.shape)
    if name == "kernel":
      value /= np.sqrt(np.prod(leaf.shape[:-1]))
    if name in ("var", "scale"):
      value = 1 + 0.5 * np.tanh(value)
    values.append(jnp.asarray(value, jnp.float32))
  return jax.tree.unflatten(structure, values)


def images(size=32):
  rng = np.random.default_rng(1)
  return jnp.asarray(rng.uniform(size=(4, size, size, 3)), jnp.float32)


def variables():
  return draw(jax.eval_shape(MODEL.init, jax.random.key(0), images()))


def torch_model(torch, width):
  nn, relu = torch.nn, torch.nn.functional.relu

  class Block(nn.Module):
    """bn-relu-conv twice; a projection takes the activated input."""

    def __init__(self, before, after, stride):
      super().__init__()
      self.bn1 = nn.BatchNorm2d(before)
      self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
      self.bn2 = nn.BatchNorm2d(after)
      self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
      if before != after:
        self.shortcut = nn.Sequential(
          nn.Conv2d(before, after, 1, stride, bias=False)
        )

    def forward(self, x):
      active = relu(self.bn1(x))
      kept = self.shortcut(active) if hasattr(self, "shortcut") else x
      return self.conv2(relu(self.bn2(self.conv1(active)))) + kept

  class Net(nn.Module):
    """Four stages of two blocks and a linear layer."""

    def __init__(self):
      super().__init__()
      self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
      before = width
      for i in range(4):
        after = width * 2**i
        first = Block(before, after, 1 if i == 0 else 2)
        stage = nn.Sequential(first, Block(after, after, 1))
        setattr(self, f"layer{i + 1}", stage)
        before = after
      self.linear = nn.Linear(before, 10)

    def forward(self, x):
      x = self.conv1(x)
      for i in range(4):
        x = getattr(self, f"layer{i + 1}")(x)
      return self.linear(x.mean((2, 3)))

  return Net()


TORCH_LEAVES = {
  "scale": "weight",
  "kernel": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
}


def to_torch(torch, tree):
  """Return the state dict of the tables in the model's docstring."""
  state = {}
  for path, leaf in jax.tree.flatten_with_path(tree)[0]:
    _, *modules, kind = (p.key for p in path)
    name = ".".join(modules).replace("_", ".")
    name = name.replace("shortcut", "shortcut.0")
    value = np.asarray(leaf)
    if kind == "kernel":
      value = value.transpose((3, 2, 0, 1) if value.ndim == 4 else (1, 0))
    state[f"{name}.{TORCH_LEAVES[kind]}"] = torch.from_numpy(value.copy())
  return state


def test_logits_equal_the_stored_ones():
  logits, _ = jax.jit(MODEL.apply)(variables(), images())
  np.testing.assert_allclose(logits[:2, :5], STORED, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [32, 33])
def test_logits_equal_pytorch(size):
  torch = pytest.importorskip("torch")
  tree, x = variables(), images(size)
  net = torch_model(torch, WIDTH).eval()
  net.load_state_dict(to_torch(torch, tree), strict=False)
  with torch.no_grad():
    theirs = net(torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy()))
  ours, _ = jax.jit(MODEL.apply)(tree, x)
  np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-4)


def test_every_weight_has_its_pytorch_place():
  torch = pytest.importorskip("torch")
  net = torch_model(torch, WIDTH)
  names = {n for n in net.state_dict() if "num_batches" not in n}
  assert set(to_torch(torch, variables())) == names


def test_statistics_after_training_steps_equal_pytorchs():
  torch = pytest.importorskip("torch")
  tree, x = variables(), images()
  net = torch_model(torch, WIDTH).train()
  net.load_state_dict(to_torch(torch, tree), strict=False)
  shown = torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy())
  step = jax.jit(
    functools.partial(MODEL.apply, train=True, mutable=["batch_stats"])
  )
  for _ in range(3):
    with torch.no_grad():
      net(shown)
    tree |= step(tree, x)[1]
  theirs = net.state_dict()
  for name, ours in to_torch(torch, tree).items():
    torch.testing.assert_close(ours, theirs[name], rtol=1e-4, atol=1e-5)
