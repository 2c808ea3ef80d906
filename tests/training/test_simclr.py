import chex
import jax
import jax.numpy as jnp
import numpy as np

from bdjax.data import augment
from bdjax.methods import registry
from bdjax.models.parts import heads
from bdjax.training import learn, loop, optimizers, simclr
from bdjax.types import Dataset, Recipe


def test_loss_by_hand():
  # Views 0, 2 and views 1, 3 are pairs; cosines are 1 within, 0 across.
  z = jnp.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 5.0]])
  loss, accuracy = simclr.nt_xent(z, 0.5)
  np.testing.assert_allclose(loss, np.log(np.e**2 + 2) - 2, rtol=1e-6)
  assert accuracy == 1
  crossed, accuracy = simclr.nt_xent(z[jnp.array([0, 1, 3, 2])], 0.5)
  np.testing.assert_allclose(crossed, np.log(np.e**2 + 2), rtol=1e-6)
  assert accuracy == 0


def test_views_of_an_image_become_alike():
  color = jax.random.randint(jax.random.key(2), (16, 1, 1, 3), 0, 256)
  image = jnp.broadcast_to(color, (16, 8, 8, 3)).astype(jnp.uint8)
  data = Dataset(image, jnp.zeros(16, jnp.int32))
  model = heads.Headed(
    registry.get("models", "cnn")(0, width=4), heads.Projection(8)
  )
  tx = optimizers.adam(0.01)
  step = simclr.contrastive(
    model, tx, view=augment.standard(padding=1, mirror=False), temperature=0.5
  )

  @jax.jit
  def run(key, data):
    start = learn.begun(learn.init_variables(key, data, model=model), tx)
    how = {"epochs": 40, "batch_size": 16}
    return loop.scan_fit(jax.random.key(1), step, start, data, **how)[1]

  metrics = run(jax.random.key(0), data)
  assert metrics["accuracy"][-5:].mean() > metrics["accuracy"][0] + 0.2
  assert metrics["loss"][-5:].mean() < metrics["loss"][0] - 0.2


def test_pretraining_gives_an_encoder_without_its_projection(toy):
  encoder = registry.get("models", "cnn")(0, width=4)

  def run(key, lr, data):
    return simclr.pretrain(
      key,
      data,
      loop.scan_fit,
      Recipe(epochs=2, batch_size=16, lr=lr, weight_decay=1e-6),
      encoder=encoder,
      temperature=0.5,
    )

  found = jax.eval_shape(run, jax.random.key(0), 1e-3, toy)
  image = jnp.zeros((1, 8, 8, 3))
  wanted = jax.eval_shape(encoder.init, jax.random.key(0), image)
  chex.assert_trees_all_equal_shapes_and_dtypes(found, wanted)
