import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from bdjax.analysis import tac
from bdjax.analysis.scores import Probe
from bdjax.types import Dataset


class Tripling(nn.Module):
  """Its map has two channels, the image's only one and three times that."""

  @nn.compact
  def __call__(self, x, train=False):
    maps = jnp.concatenate([x, 3 * x], -1)
    return x[:, 0, 0], {"layer10": maps, "layer9": x, "pooled": x[:, 0, 0]}


def test_tac_is_the_mean_norm_of_what_a_channel_changes():
  # Three images of 2 x 2; the trigger adds one, in 255ths, to some pixels.
  clean = np.zeros((3, 2, 2, 1), np.uint8)
  hit = clean.copy()
  hit[0, 0, 0], hit[0, 1, 1] = 255, 255  # norm sqrt(2)
  hit[1, 0, 1] = 255  # norm 1
  hit[2] = 255  # of the target's own class, which does not count
  clean[1, 1, 0] = hit[1, 1, 0] = 51  # .2, and no change
  labels = [jnp.array(x, jnp.int32) for x in ([1, 2, 0], [0, 0, 0])]
  images = Probe(*map(Dataset, map(jnp.asarray, (clean, hit)), labels))
  found = tac.changes(Tripling(), {}, images, names=("layer10",))["layer10"]
  mean = (2**0.5 + 1) / 2
  np.testing.assert_allclose(found["tac"], [mean, 3 * mean], rtol=1e-6)
  np.testing.assert_allclose(found["clean"], [0.1, 0.3], rtol=1e-6)


def test_the_last_layers_are_maps_in_their_order(toy, model, pair):
  data = Dataset(toy.image[..., :1], toy.label)
  assert tac.stages(Tripling(), {}, data, 5) == ["layer9", "layer10"]
  assert tac.stages(model, pair[0], toy, 2) == ["layer2", "layer3"]
