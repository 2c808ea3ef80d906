import jax.numpy as jnp
import numpy as np

from bdjax.attacks.parts import prototypes
from bdjax.types import Dataset


class Mean:
  """An encoder whose features are an image's mean colors."""

  def apply(self, variables, images, train):
    assert not train
    return None, {"pooled": images.mean((1, 2)) + variables}


def data(colors, labels):
  image = jnp.array(colors, jnp.uint8)[:, None, None]
  return Dataset(image, jnp.array(labels, jnp.int32))


ZERO = jnp.zeros((1, 3))


def test_kernel_is_the_mean_of_unit_features():
  found = prototypes.kernel(
    Mean(),
    ZERO,
    data([[255, 0, 0], [0, 51, 0], [0, 0, 255]], [1, 1, 0]),
    num_classes=3,
  )
  np.testing.assert_allclose(found, [[0, 0.5, 0], [0, 0.5, 0], [1, 0, 0]])


def test_example_is_the_first_that_is_nearest_to_its_own_class():
  colors = [[0, 255, 0], [0, 200, 40], [255, 0, 0], [240, 0, 9], [250, 5, 0]]
  labels = [0, 0, 1, 1, 1]
  how = {"label": 1, "num_classes": 2}
  found = prototypes.example(Mean(), ZERO, data(colors, labels), **how)
  np.testing.assert_allclose(found[0, 0], [1, 0, 0])
  odd = data([[0, 255, 0], *colors], [1, *labels])  # of class 1, looks like 0
  found = prototypes.example(Mean(), ZERO, odd, **how)
  np.testing.assert_allclose(found[0, 0], [1, 0, 0])
  lost = data([[0, 255, 0], [0, 255, 0], [0, 254, 0]], [0, 0, 1])
  found = prototypes.example(Mean(), ZERO, lost, **how)
  np.testing.assert_allclose(found[0, 0, 1], 254 / 255)
