"""Torchvision's own models: their names, shapes and logits.

Names and shapes are held against a digest, logits against numbers, both taken
once from torchvision 0.28.0 (torch 2.13.0), and from it again where it is
installed.
"""

import functools
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.interop import layouts, naming, tables
from bdjax.methods import registry

CLASSES = 5
GAINS = {
  "convnext_tiny": 1.0,
  "densenet161": 1.0,
  "efficientnet_b3": 1.2,
  "mobilenet_v3_large": 1.15,
}
# With as many channels as torchvision's, and 5 classes.
DIGESTS = {
  "convnext_tiny": "8a7e6a9e5c3cffd4",
  "densenet161": "952afbb4003d8008",
  "efficientnet_b3": "c0e5faa38fcf2167",
  "mobilenet_v3_large": "c3e3a71d37f36e42",
  "vgg19": "7e381cfcedde0173",
}
# What makes a model narrow, where torchvision has arguments for that.
NARROW = {
  "convnext_tiny": {"width": 8},
  "densenet161": {"width": 8},
  "efficientnet_b3": {},
  "mobilenet_v3_large": {},
}
STORED = {
  "convnext_tiny": [
    [2.204139, -2.668691, -0.958294, -0.068424, 0.016907],
    [2.205538, -2.693444, -0.947662, -0.091438, 0.011006],
  ],
  "densenet161": [
    [2.480516, -1.376408, 2.265365, 0.034626, -2.026273],
    [2.406034, -1.407118, 2.262793, 0.072673, -1.995772],
  ],
  "efficientnet_b3": [
    [-3.615956, 0.774161, 10.007287, 3.477981, 6.011910],
    [-3.671674, 0.746012, 10.057160, 3.394282, 6.025967],
  ],
  "mobilenet_v3_large": [
    [2.574596, 1.733651, 2.150046, 0.523162, 2.332402],
    [2.591805, 1.840651, 2.206112, 0.611460, 2.288849],
  ],
}


def shapes(arch, **arguments):
  """Returns the shapes of torchvision's arrays, by its names."""
  (layout, *_) = tables.ARCHITECTURES[arch].layouts
  arguments = {"num_classes": CLASSES} | arguments
  known = naming.shapes(arch, tuple(sorted(arguments.items())))
  return {
    naming.called(path, layout): tuple(
      shape[i] for i in tables.AXES.get(len(shape), range(len(shape)))
    )
    for path, shape in known.items()
  }


def digest(named):
  lines = [f"{name} {tuple(shape)}" for name, shape in sorted(named.items())]
  return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@functools.cache
def state(arch):
  """Returns weights whose logits neither vanish nor explode."""
  rng, drawn = np.random.default_rng(0), {}
  for name, shape in sorted(shapes(arch, **NARROW[arch]).items()):
    value = rng.normal(size=shape)
    if len(shape) > 1:
      value *= GAINS[arch] / np.sqrt(np.prod(shape[1:]))
    elif name.endswith("weight") or name.endswith("var"):
      value = 1 + 0.5 * np.tanh(value)
    drawn[name] = value.astype(np.float32)
  return drawn


def images():
  """Returns a bright image of noise and a dark one."""
  rng = np.random.default_rng(1)
  brightness = np.array([1.0, 0.2]).reshape(2, 1, 1, 1)
  noise = rng.uniform(size=(2, 32, 32, 3))
  return (noise * brightness).astype(np.float32)


@pytest.mark.parametrize("arch", DIGESTS)
def test_names_and_shapes_are_torchvisions(arch):
  assert digest(shapes(arch)) == DIGESTS[arch]


@pytest.mark.parametrize("arch", STORED)
def test_logits_are_torchvisions(arch):
  arguments, variables = layouts.to_flax(state(arch), arch)
  assert arguments.items() >= NARROW[arch].items()
  model = registry.get("models", arch)(**arguments)
  found = jax.jit(model.apply)(variables, jnp.asarray(images()))[0]
  np.testing.assert_allclose(found, STORED[arch], rtol=0, atol=1e-4)
  back = layouts.to_torch(variables, arch)
  assert back.keys() == state(arch).keys()
  for name, value in state(arch).items():
    np.testing.assert_array_equal(back[name], value)


@pytest.mark.parametrize("arch", DIGESTS)
def test_what_is_stored_is_torchvisions(arch):
  torchvision = pytest.importorskip("torchvision")
  net = getattr(torchvision.models, arch)(num_classes=CLASSES)
  named = {
    name: array.shape
    for name, array in net.state_dict().items()
    if not name.endswith("num_batches_tracked")
  }
  assert digest(named) == DIGESTS[arch]
  if arch in STORED:
    theirs = torch_logits(narrow(torchvision.models, arch), state(arch))
    np.testing.assert_allclose(theirs, STORED[arch], rtol=0, atol=1e-4)


def narrow(models, arch):
  """Returns torchvision's model in the size that is compared."""
  if arch == "densenet161":
    return models.DenseNet(4, (6, 12, 36, 24), 8, num_classes=CLASSES)
  if arch == "convnext_tiny":
    rows = (8, 16, 3), (16, 32, 3), (32, 64, 9), (64, None, 3)
    stages = [models.convnext.CNBlockConfig(*row) for row in rows]
    return models.ConvNeXt(stages, num_classes=CLASSES)
  return getattr(models, arch)(num_classes=CLASSES)


def torch_logits(net, weights):
  torch = pytest.importorskip("torch")
  given = {k: torch.tensor(v) for k, v in weights.items()}
  missing, unknown = net.load_state_dict(given, strict=False)
  assert not unknown and all(k.endswith("_tracked") for k in missing)
  with torch.no_grad():
    pixels = torch.tensor(images().transpose(0, 3, 1, 2).copy())
    return net.eval()(pixels).numpy()
