import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.training import inference, learn


@pytest.mark.parametrize("batch", [7, 64, 100])
def test_each_example_once_and_in_order(toy, batch):
  seen = inference.each(
    toy,
    lambda b: {"at": b.index, "mean": b.image.mean((1, 2))},
    batch_size=batch,
  )
  assert seen["at"].tolist() == list(range(64))
  wanted = np.asarray(toy.image).mean((1, 2)) / 255
  np.testing.assert_allclose(seen["mean"], wanted, rtol=1e-5)


def test_kept_or_not(toy):
  some = toy.replace(keep=jnp.arange(64) < 3)
  assert inference.each(some, lambda b: b.index).shape == (64,)


def test_accuracy_is_the_share_of_right_answers(toy, model):
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  image = toy.image.astype(jnp.float32) / 255
  said = model.apply(variables, image, train=False)[0].argmax(-1)
  label = jnp.where(jnp.arange(64) < 16, said, (said + 1) % 4)
  data = toy.replace(label=label.astype(jnp.int32))
  assert float(inference.accuracy(model, variables, data)) == 0.25
