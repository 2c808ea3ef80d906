import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.training import checkpoint, finite, learn, loop, optimizers
from bdjax.types import Batch

GOOD = {"a": jnp.ones(2), "i": jnp.arange(2), "k": jax.random.key(0)}


def test_one_number_that_is_none_spoils_a_tree():
  finite.check(GOOD)
  for bad in (np.array([1.0, np.nan]), jnp.array(-jnp.inf)):
    with pytest.raises(FloatingPointError, match="diverged: .* lower lr"):
      finite.check(GOOD | {"b": bad})
  assert not finite.finite({"b": jnp.array([jnp.nan], jnp.bfloat16)})


def test_a_stage_whose_last_step_diverges_is_neither_saved_nor_seen(
  task, tmp_path
):
  """One step: its loss is finite, and the weights after it are not."""
  seen = []
  probe = loop.Probe(lambda *args: seen.append(args) or {})
  tx = optimizers.sgd(lambda step: 1e38, momentum=0.0, weight_decay=1e5)
  init, step = learn.supervised(task.model, tx)
  state = init(
    learn.init_variables(jax.random.key(0), task.train, model=task.model)
  )
  stages = checkpoint.Stages(tmp_path, every_seconds=0)
  fit = loop.host_fit(store=stages, probe=probe)
  batch = Batch(task.train.image / 255.0, task.train.label, jnp.arange(64))
  assert jnp.isfinite(step(jax.random.key(1), state, batch)[1]["loss"])
  with pytest.raises(FloatingPointError, match="diverged"):
    fit(
      jax.random.key(2),
      step,
      state,
      task.train,
      epochs=1,
      batch_size=64,
      name="train",
    )
  assert not seen and stages.restore("train", state) is None
