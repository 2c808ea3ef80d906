import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.training import engine, loop
from bdjax.training.journal import Journal


def key():
  return jax.random.key(0)


def counting(key, state, batch):
  """Counts how often each example is seen, and draws a number per step."""
  seen = state["seen"].at[batch.index].add(1)
  draw = state["draw"] + jax.random.normal(key)
  return {"seen": seen, "draw": draw}, {"loss": batch.image.mean()}


def start(size):
  return {"seen": jnp.zeros(size, jnp.int32), "draw": jnp.zeros(())}


@pytest.mark.parametrize(("size", "batch", "steps"), [(64, 16, 4), (64, 24, 3)])
def test_an_epoch_shows_every_example(toy, size, batch, steps):
  run = jax.jit(engine.epoch(counting, batch_size=batch))
  state, metrics = run(key(), start(size), toy)
  assert metrics["loss"].shape == (steps,)
  assert int(state["seen"].min()) >= 1
  assert int(state["seen"].sum()) == steps * batch
  assert int(state["seen"].max()) <= 2


def test_only_kept_examples_are_drawn_and_shapes_stay(toy):
  keep = jnp.arange(64) < 10
  run = engine.epoch(counting, batch_size=16)
  state, metrics = jax.jit(run)(key(), start(64), toy.replace(keep=keep))
  assert metrics["loss"].shape == (4,)
  assert (np.asarray(state["seen"]) > 0).tolist() == keep.tolist()
  assert int(state["seen"].max()) - int(state["seen"][:10].min()) <= 1


def test_take_casts_bytes_to_unit_range(toy):
  batch = engine.take(toy, jnp.array([3, 5]))
  np.testing.assert_allclose(
    batch.image, np.asarray(toy.image)[[3, 5]] / 255, rtol=1e-6
  )
  assert batch.image.dtype == jnp.float32


@pytest.mark.parametrize(
  ("change", "index"),
  [
    ({"image": jnp.zeros((64, 192), jnp.uint8)}, jnp.arange(2)),  # no `Rows`
    ({"label": jnp.zeros(63, jnp.int32)}, jnp.arange(2)),
    ({"label": jnp.zeros(64)}, jnp.arange(2)),
    ({}, jnp.arange(2.0)),
  ],
)
def test_take_refuses_what_is_no_dataset_as_it_is_traced(toy, change, index):
  with pytest.raises(AssertionError):
    jax.eval_shape(engine.take, toy.replace(**change), index)


def test_a_second_epoch_traces_nothing(toy):
  traces, seen = [], []

  def counted(key, state, batch):
    traces.append(batch)
    return counting(key, state, batch)

  def progress(name, done, epochs, row):
    seen.append((done, len(traces)))

  fit = loop.host_fit(unseen=0, progress=progress)
  fit(key(), counted, start(64), toy, epochs=3, batch_size=16, name="x")
  before, (_, once), *_ = seen
  assert before == (0, 0) and once
  assert seen[1:] == [(done, once) for done in (1, 2, 3)]


def test_order_is_shuffled_by_the_key(toy):
  first = engine.order(jax.random.key(1), toy, 64)
  second = engine.order(jax.random.key(2), toy, 64)
  assert sorted(first.tolist()) == list(range(64))
  assert first.tolist() != second.tolist()


def test_host_and_scan_compute_the_same(toy):
  args = dict(epochs=3, batch_size=16, name="x")
  host = loop.host_fit()(key(), counting, start(64), toy, **args)
  scan = jax.jit(lambda s, d: loop.scan_fit(key(), counting, s, d, **args))(
    start(64), toy
  )
  chex.assert_trees_all_close(host, scan, rtol=1e-6)


def test_tuples_take_turns(toy):
  dark = toy.replace(image=jnp.zeros_like(toy.image))

  def other(key, state, batch):
    state, metrics = counting(key, state, batch)
    return state | {"draw": state["draw"] + 100}, metrics

  args = dict(epochs=5, batch_size=32, name="x")
  steps, datas = (counting, other), (toy, dark)
  host = loop.host_fit()(key(), steps, start(64), datas, **args)
  scan = loop.scan_fit(key(), steps, start(64), datas, **args)
  chex.assert_trees_all_close(host, scan, rtol=1e-5)
  assert (np.asarray(host[1]["loss"]) == 0).tolist() == [0, 1, 0, 1, 0]
  assert 390 < float(host[0]["draw"]) < 410  # two epochs of two steps


class Memory:
  """A store in memory that saves every epoch."""

  def __init__(self):
    self.saved, self.saves = {}, 0

  def restore(self, name, like):
    return self.saved.get(name)

  def save(self, name, state, rows, *, last):
    self.saved[name] = jax.tree.map(jnp.copy, state), list(rows)
    self.saves += 1


class Stop(Exception):
  pass


def test_resumed_equals_uninterrupted_to_the_bit(toy):
  args = dict(epochs=4, batch_size=16, name="x")
  whole, metrics = loop.host_fit()(key(), counting, start(64), toy, **args)
  store = Memory()

  def stop(name, done, epochs, row):
    if done == 3:
      raise Stop

  with pytest.raises(Stop):
    loop.host_fit(store=store, progress=stop, unseen=0)(
      key(), counting, start(64), toy, **args
    )
  assert len(store.saved["x"][1]) == 2
  again = loop.host_fit(store=store)(key(), counting, start(64), toy, **args)
  chex.assert_trees_all_equal(again, (whole, metrics))


def test_epochs_on_end_equal_epochs_one_by_one_to_the_bit(toy):
  args = dict(epochs=2 * loop.MOST + 3, batch_size=16, name="x")
  stops = []
  for unseen in (0, 1e9):
    store = Memory()
    fit = loop.host_fit(store=store, unseen=unseen)
    stops.append((fit(key(), counting, start(64), toy, **args), store.saves))
  (one, saves), (other, fewer) = stops
  chex.assert_trees_all_equal(one, other)
  assert (saves, fewer) == (35, 4)  # one, then 16, 16 and 2 at once


def test_no_epochs_run_on_end_past_a_look(toy):
  seen = []
  probe = loop.Probe(
    lambda name, done, *rest: seen.append(done) or {"ca": 1.0},
    lambda done, epochs, turn: done in (1, 4, 5, epochs),
  )
  journal = Journal()
  fit = loop.host_fit(probe=probe, journal=journal, unseen=1e9)
  fit(key(), counting, start(64), toy, epochs=9, batch_size=16, name="x")
  assert seen == [1, 4, 5, 9]
  assert [r["epoch"] for r in journal.rows if "ca" in r] == [1, 4, 5, 9]


def test_a_finished_stage_is_not_run_again(toy):
  store, journal = Memory(), Journal()
  args = dict(epochs=2, batch_size=16, name="x")
  first = loop.host_fit(store=store)(key(), counting, start(64), toy, **args)

  def fails(key, state, batch):
    raise AssertionError("ran again")

  again = loop.host_fit(store=store, journal=journal)(
    key(), fails, start(64), toy, **args
  )
  chex.assert_trees_all_equal(again, first)
  assert [row["epoch"] for row in journal.rows] == [1, 2]


def test_the_callers_state_survives(toy):
  mine = start(64)
  loop.host_fit()(key(), counting, mine, toy, epochs=1, batch_size=16, name="x")
  assert int(mine["seen"].sum()) == 0


def test_zero_epochs_change_nothing(toy):
  args = dict(epochs=0, batch_size=16, name="x")
  state, metrics = loop.host_fit()(key(), counting, start(64), toy, **args)
  chex.assert_trees_all_equal(state, start(64))
  assert metrics == {}


def test_a_probe_is_told_how_many_epochs_a_turn_has(toy):
  asked = []

  def due(done, epochs, turn):
    asked.append((done, epochs, turn))
    return False

  def step(key, state, batch):
    return state, {"loss": state["draw"] * 0}

  def other(key, state, batch):
    return step(key, state, batch)

  for steps, turn in ((step, 1), ((step, other), 2)):
    asked.clear()
    loop.host_fit(probe=loop.Probe(lambda *_: {}, due))(
      *(key(), steps, start(64), toy),
      **dict(epochs=2, batch_size=16, name="x"),
    )
    assert asked == [(1, 2, turn), (2, 2, turn)]


def test_probe_and_journal_have_a_row_an_epoch(toy):
  journal = Journal()

  def probe(name, done, epochs, state, params):
    return {"ca": done / epochs, "trigger": params} if done == 2 else {}

  def step(key, state, batch):
    lr = state["draw"] * 0 + 0.5
    return state, {"loss": lr, "lr": lr}

  loop.host_fit(journal=journal, probe=loop.Probe(probe))(
    *(key(), step, start(64), toy),
    **dict(epochs=2, batch_size=16, name="x"),
    params=lambda state: len(state),
  )
  one, two = journal.rows
  assert two["trigger"] == len(start(64))
  assert (one["stage"], one["epoch"], one["loss"]) == ("x", 1, 0.5)
  assert one["lr"] == [0.5] * 4
  assert "ca" not in one and two["ca"] == 1.0
  assert journal.total("seconds_train") > 0
  assert journal.seconds >= journal.total("seconds_train")


def test_host_and_scan_keep_the_same_rates_of_steps(toy):
  def step(key, state, batch):
    state = state | {"draw": state["draw"] + 1}
    return state, {"loss": state["draw"], "lr": 1 / state["draw"]}

  args, journal = (key(), step, start(64), toy), Journal()
  how = dict(epochs=2, batch_size=1)
  loop.host_fit(journal=journal)(*args, name="x", **how)
  _, means, rates = loop.scan_steps(*args, **how)
  assert rates.shape == (2, loop.LR_POINTS)  # of 64 steps
  assert float(rates[0, 0]) == 1.0 and float(rates[1, -1]) == 1 / 128
  np.testing.assert_allclose(rates, [row["lr"] for row in journal.rows])
  assert means["lr"].shape == (2,)


def test_a_diverged_loss_names_stage_step_and_epoch(toy):
  def step(key, state, batch):
    bad = (batch.index == 0).any()
    return state, {"loss": jnp.where(bad, jnp.nan, 1.0)}

  with pytest.raises(
    FloatingPointError, match=r"stage x: the loss is nan at step \d of epoch 1"
  ):
    loop.host_fit()(
      key(), step, start(64), toy, epochs=1, batch_size=16, name="x"
    )


def test_batch_larger_than_data_is_refused(toy):
  with pytest.raises(ValueError, match="batch_size is 65, but the data has 64"):
    loop.scan_fit(key(), counting, start(64), toy, epochs=1, batch_size=65)


def test_scan_fit_is_vmappable_over_keys_and_data(toy):
  def run(key):
    return loop.scan_fit(
      key, counting, start(64), toy, epochs=1, batch_size=32
    )[0]["draw"]

  keys = jax.random.split(key(), 2)
  both = jax.vmap(run)(keys)
  np.testing.assert_allclose(both[1], run(keys[1]), rtol=1e-6)
