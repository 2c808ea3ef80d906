"""Meshes of devices that are not here: hosts of GPUs, slices of a TPU pod."""

import dataclasses

import jax
import numpy as np
import pytest

from bdjax.machine import mesh


@dataclasses.dataclass(frozen=True)
class Device:
  """A device as XLA describes one."""

  id: int
  slice_index: int | None
  process_index: int
  platform: str = "gpu"
  device_kind: str = "NVIDIA H100 80GB HBM3"


@pytest.fixture
def cluster(monkeypatch):
  """Returns what makes JAX see hosts of GPUs, each a slice of its own."""

  def make(hosts, each, order=1):
    found = [
      Device(h * each + i, h, h) for h in range(hosts) for i in range(each)
    ][::order]
    monkeypatch.setattr(jax, "devices", lambda *args: found)
    monkeypatch.setattr(jax, "device_count", lambda *args: len(found))
    return found

  return make


def ids(made):
  return [[device.id for device in row] for row in made.devices]


def test_devices_of_several_hosts_are_one_mesh(cluster):
  cluster(2, 4, order=-1)
  assert ids(mesh.all_devices()) == [[*range(8)]]
  members = mesh.make(data=2)
  assert ids(members) == [[0, 1], [2, 3], [4, 5], [6, 7]]
  assert members.axis_names == (mesh.MEMBER, mesh.DATA)
  assert ids(mesh.dividing(mesh.all_devices(), 4)) == [
    [*range(4)],
    [4, 5, 6, 7],
  ]


def test_devices_of_one_host_are_as_jax_orders_them():
  made = mesh.make(data=2)
  wanted = jax.make_mesh((2, 2), (mesh.MEMBER, mesh.DATA))
  np.testing.assert_array_equal(made.devices, wanted.devices)
  with pytest.raises(ValueError, match="4 devices cannot be shared out 3"):
    mesh.make(data=3)
