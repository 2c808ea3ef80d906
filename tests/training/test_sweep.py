import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.machine import mesh
from bdjax.training import learn, loop, optimizers, sweep


def training(task):
  """Returns a member: (data, {key, lr}) -> weights after an epoch."""

  def member(data, own):
    tx = optimizers.sgd(own["lr"])
    start, step = learn.supervised(task.model, tx, view=task.view)
    variables = learn.init_variables(own["key"], data, model=task.model)
    how = {"epochs": 1, "batch_size": 32}
    state, metrics = loop.scan_fit(
      own["key"], step, start(variables), data, **how
    )
    return state.variables, metrics["loss"]

  return member


def test_members_over_four_devices_are_those_alone(task, toy):
  member, devices = training(task), mesh.make()
  assert mesh.members(devices) == 4
  owned = [
    {"key": jax.random.key(i % 3), "lr": jnp.float32(0.01 * (i + 1))}
    for i in range(4)
  ]
  stacked = sweep.stack(owned, devices, size=4)
  run = sweep.program(member, devices, toy, stacked)
  together = sweep.unstack(run(toy, stacked), 4)
  alone = jax.jit(member)
  for own, got in zip(owned, together, strict=True):
    wanted = alone(toy, own)
    chex.assert_trees_all_close(got, wanted, rtol=1e-4, atol=1e-5)
  text = run.run.as_text()
  assert not re.search(r"all-gather|all-reduce|all-to-all|permute\(", text)


def test_stack_fills_up_and_unstack_undoes_it():
  devices = mesh.make(data=2)
  assert mesh.members(devices) == 2
  trees = [{"a": jnp.full(3, float(i)), "k": jax.random.key(i)} for i in (1, 2)]
  stacked = sweep.stack(trees, devices, size=4)
  assert stacked["a"].tolist() == [[1] * 3, [2] * 3, [2] * 3, [2] * 3]
  assert len(stacked["a"].sharding.device_set) == 4
  for i, tree in enumerate(sweep.unstack(stacked, 2)):
    assert tree["a"].tolist() == [i + 1] * 3
    np.testing.assert_array_equal(
      jax.random.key_data(tree["k"]), jax.random.key_data(jax.random.key(i + 1))
    )


def test_a_mesh_needs_a_divisor():
  with pytest.raises(ValueError, match="4 devices cannot be shared out 3"):
    mesh.make(data=3)


def test_chunks():
  assert sweep.chunks(range(5), 2) == [range(0, 2), range(2, 4), range(4, 5)]


@pytest.mark.parametrize(
  ("cells", "devices", "width", "wanted"),
  [
    (2, 1, 16, 2),  # not 14 copies of the second
    (2, 8, 4, 8),
    (9, 8, 4, 16),  # two a device, not 4, 4 and 1 on three
    (3, 1, 2, 2),
    (5, 1, 4, 3),  # two chunks, of 3 and of 2
    (64, 8, 4, 32),
  ],
)
def test_no_more_members_are_trained_than_there_are(
  cells, devices, width, wanted
):
  assert sweep.chunk_size(cells, devices, width) == wanted
