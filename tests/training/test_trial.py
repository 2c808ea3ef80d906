import time

import jax
import jax.numpy as jnp

from bdjax.training import engine, trial


def test_a_trial_is_an_epoch_of_as_many_steps(model):
  key, state, step, data = trial.trial(model, (8, 8, 3), batch_size=4, steps=3)
  assert data.image.shape == (12, 8, 8, 3) and data.image.dtype == jnp.uint8
  run = jax.jit(engine.epoch(step, batch_size=4))
  after, metrics = run(key, state, data)
  assert int(after.step) == 3 and metrics["loss"].shape == (3,)


def test_seconds_waits_for_the_result(monkeypatch):
  clock = [1.0]

  def slow():
    def work(x):
      time.sleep(0.2)  # others go on meanwhile
      clock[0] = 8.0
      return x

    shape = jax.ShapeDtypeStruct((), jnp.float32)
    return jax.jit(lambda x: jax.pure_callback(work, shape, x))(jnp.zeros(()))

  monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
  assert trial.seconds(slow) == 7.0
