import jax
import jax.numpy as jnp

from bdjax.defenses.parts import depth


def test_numbers_in_names_count():
  names = ["layer10", "layer2", "layer2_10/bn1", "layer2_9/bn1", "bn1"]
  assert sorted(names, key=depth.counted) == [
    *("bn1", "layer2", "layer2_9/bn1", "layer2_10/bn1", "layer10")
  ]


def test_maps_come_by_depth_out_of_a_program():
  @jax.jit
  def answer():
    maps = {f"layer{i}": jnp.full((1, 2, 2, 3), i) for i in range(12)}
    return maps | {"hidden1": jnp.ones((1, 3)), "pooled": jnp.ones((1, 3))}

  features = answer()
  assert list(features)[2:5] == ["layer1", "layer10", "layer11"]  # as text
  found = depth.maps(features)
  assert [int(x[0, 0, 0, 0]) for x in found] == list(range(12))
