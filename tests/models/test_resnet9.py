"""The small residual network: what it computes."""

import jax
import jax.numpy as jnp

from bdjax.interop import layouts
from bdjax.models import resnet9

IMAGES = jnp.linspace(0, 1, 2 * 32 * 32 * 3).reshape(2, 32, 32, 3)


def test_a_pair_that_answers_nothing_passes_its_input_on():
  model = resnet9.make(10, width=2)
  variables = model.init(jax.random.key(0), IMAGES)
  params = dict(variables["params"])
  params["res2_bn"] = jax.tree.map(jnp.zeros_like, params["res2_bn"])
  _, features = model.apply(variables | {"params": params}, IMAGES)
  for name, side in (("layer1", 16), ("layer2", 16), ("layer3", 8)):
    assert features[name].shape[1] == side
  y = features["layer3"]
  kernel, norm = params["conv4"]["kernel"], variables["batch_stats"]["bn4"]
  y = jax.lax.conv_general_dilated(
    y,
    kernel,
    (2, 2),
    ((1, 1), (1, 1)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  y = (y - norm["mean"][None, None, None]) / (1 + 1e-5) ** 0.5
  assert jnp.allclose(features["layer4"], jnp.maximum(y, 0), atol=1e-5)


def test_it_is_exported_under_its_own_names_and_read_back():
  model = resnet9.make(10, width=2)
  variables = model.init(jax.random.key(0), IMAGES)
  tensors = layouts.to_torch(variables, "resnet9")
  assert tensors["conv5.weight"].shape == (16, 8, 3, 3)
  assert "res1_bn.running_var" in tensors
  arguments, again = layouts.to_flax(tensors, "resnet9")
  assert arguments == {"width": 2, "num_classes": 10}
  assert jax.tree.all(
    jax.tree.map(lambda a, b: (a == b).all(), again, variables)
  )
