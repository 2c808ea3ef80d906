"""One model on four devices that share its batches."""

import re

import chex
import jax
import pytest

from bdjax.machine import mesh
from bdjax.methods import registry
from bdjax.training import engine, learn, loop, optimizers
from bdjax.training.journal import Journal
from bdjax.types import Access


def trained(task, devices, *, arch="cnn", batch_size=16):
  model = registry.get("models", arch)(4, width=4)
  start, step = learn.supervised(model, optimizers.sgd(0.05), view=task.view)
  variables = learn.init_variables(jax.random.key(0), task.train, model=model)
  seen = []

  def probe(name, done, epochs, state, params):
    seen.append(state.variables["params"]["linear"]["kernel"].sharding)
    return {"probed": 1.0}

  journal = Journal()
  fit = loop.host_fit(journal=journal, probe=loop.Probe(probe), mesh=devices)
  state, _ = fit(
    jax.random.key(1),
    step,
    start(variables),
    task.train,
    epochs=2,
    batch_size=batch_size,
    name="train",
  )
  count = 1 if devices is None else len(devices.devices.flat)
  assert all(s.is_fully_replicated for s in seen)
  assert [len(s.device_set) for s in seen] == [count] * 2
  return state, [row["loss"] for row in journal.rows]


def test_four_devices_train_what_one_does(task):
  devices = mesh.make(data=4)
  assert (mesh.members(devices), mesh.shares(devices)) == (1, 4)
  shared, losses = trained(task, devices)
  alone, wanted = trained(task, None)
  assert losses == pytest.approx(wanted, rel=1e-5)
  chex.assert_trees_all_close(shared, alone, rtol=1e-4, atol=1e-5)
  for leaf in jax.tree.leaves(shared):
    assert len(leaf.sharding.device_set) == 1


def test_images_do_not_travel_between_devices(task):
  devices = mesh.make(data=4)
  model = registry.get("models", "cnn")(4, width=4)
  start, step = learn.supervised(model, optimizers.sgd(0.05), view=task.view)
  variables = learn.init_variables(jax.random.key(0), task.train, model=model)
  args = (jax.random.key(1), start(variables), task.train)
  whole = mesh.everywhere(devices)
  run = engine.epoch(step, batch_size=16, mesh=devices)
  jitted = jax.jit(run, out_shardings=whole)
  text = jitted.lower(*jax.device_put(args, whole)).compile().as_text()
  assert "all-reduce" in text  # of gradients and of batch statistics
  assert not re.search(r"all-gather|all-to-all", text)


@pytest.mark.parametrize(("batch_size", "share"), [(18, 2), (15, 1), (12, 4)])
def test_as_many_devices_share_a_batch_as_divide_it(
  task, caplog, batch_size, share
):
  devices = mesh.make(data=4)
  part = mesh.dividing(devices, batch_size)
  assert (mesh.members(part), mesh.shares(part)) == (4 // share, share)
  assert set(part.devices.flat) == set(devices.devices.flat)
  mesh.dividing(devices, batch_size)
  assert len(caplog.messages) <= 1  # said once in a process


def test_a_batch_that_does_not_divide_trains_what_one_device_does(task):
  shared, losses = trained(task, mesh.make(data=4), batch_size=18)
  alone, wanted = trained(task, None, batch_size=18)
  assert losses == pytest.approx(wanted, rel=1e-5)
  chex.assert_trees_all_close(shared, alone, rtol=1e-4, atol=1e-5)


def test_a_later_stage_may_use_what_an_earlier_one_trained(task):
  variables = learn.init_variables(
    jax.random.key(0), task.train, model=task.model
  )
  access = Access(
    variables, task.train, task.train, model=task.model, view=task.view
  )
  nad = registry.get("defenses", "nad")(
    teacher_epochs=1, epochs=1, batch_size=32
  )
  shared, alone = (
    nad.defend(jax.random.key(1), access, loop.host_fit(mesh=devices))
    for devices in (mesh.make(data=4), None)
  )
  chex.assert_trees_all_close(
    shared.variables, alone.variables, rtol=1e-3, atol=1e-4
  )
