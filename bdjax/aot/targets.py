"""Accelerators that programs can be compiled for without having one.

XLA compiles for a description of a device. TPUs' come with libtpu, by name and
shape of the slice (`v5e:2x4`); a GPU's is the text in `_GPUS`, as XLA prints it
on such a machine.
"""

import importlib.util
import os
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from bdjax.machine import backend
from bdjax.machine import mesh as meshes
from bdjax.methods import signature

# Apart from the environment of runs, where JAX would try these plug-ins first.
INSTALL = "begin the command with `uv run --isolated --group aot python`"


class Chip(NamedTuple):
  """What the data sheets say of a device; its peak is `backend`'s.

  Attributes:
    kind: as `jax.Device.device_kind` has it.
    memory: bytes that a program can have.
    bandwidth: bytes per second of that memory.
    clock: cycles per second, in which XLA estimates for TPUs; None for GPUs.
  """

  kind: str
  memory: float
  bandwidth: float
  clock: float | None = None

  @property
  def flops(self) -> float:
    """Dense 16-bit peak in FLOP/s."""
    return backend.device_peak_flops(self.kind)


# Bandwidths: cloud.google.com/tpu/docs (v4, v5e, v5p, v6e) and NVIDIA's data
# sheet of the H100 SXM. A TPU's memory is what its compiler grants a program
# ("exceeds available HBM (15.75G)"); a GPU's the three quarters that JAX takes
# at its start. A clock is the peak by what the matrix units do in a cycle, 2 x
# 128 x 128 in each of 8 (v4, v5p: two cores) or 4 (v5e). Not knowing the v6e's,
# we take the v5p's: its estimates compare programs, and are no times.
CHIPS = {
  "v4": Chip("TPU v4", 30.75 * 2**30, 1228e9, 1.05e9),
  "v5e": Chip("TPU v5 lite", 15.75 * 2**30, 819e9, 1.5e9),
  "v5p": Chip("TPU v5", 95.74 * 2**30, 2765e9, 1.75e9),
  "v6e": Chip("TPU v6 lite", 31.25 * 2**30, 1640e9, 1.75e9),
  "h100": Chip("NVIDIA H100 80GB HBM3", 0.75 * 84929347584, 3350e9),
}

_GPUS = {
  "h100": """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84929347584
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 12 }
runtime_version { major: 13 minor: 0 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
}

_JOINED = {"chip_config_name": "megacore"}


class Target(NamedTuple):
  """Devices to compile for: a chip, and how many of them in which shape."""

  name: str
  chip: Chip
  shape: tuple[int, ...]

  @property
  def family(self) -> str:
    """The chip's name, such as v5e."""
    return self.name.partition(":")[0]

  @property
  def gpu(self) -> bool:
    """Whether its devices are NVIDIA's."""
    return self.family in _GPUS

  @property
  def count(self) -> int:
    """Number of devices."""
    return int(np.prod(self.shape))


def parse(text: str) -> Target:
  """Returns the target of a text: v5e:2x4, h100, h100:8 or h100:2x8.

  A GPU's shape is devices of a host, or hosts x devices. Alone, a TPU's name
  means the smallest slice.

  Raises:
    ValueError: the chip is unknown, or the shape is none.
  """
  family, _, shape = text.partition(":")
  if family not in CHIPS:
    near = signature.nearest(family, CHIPS)
    raise ValueError(f"unknown target {text!r}, as v5e:2x4 is one: {near}")
  shape = shape or ("1" if family in _GPUS else "2x2")
  parts = shape.split("x")
  if not all(part.isdigit() and int(part) for part in parts):
    raise ValueError(
      f"the shape of target {text!r} is {shape!r}, but must be whole numbers "
      f"with x between them: {family}:2x4, say."
    )
  if family in _GPUS and len(parts) > 2:
    raise ValueError(
      f"target {text!r} has {len(parts)} numbers, but GPUs have hosts x "
      f"devices: {family}:2x8, say."
    )
  return Target(text, CHIPS[family], tuple(map(int, parts)))


def require(target: Target) -> None:
  """Raises ValueError if the compiler for a target is not installed."""
  names = ("jax_cuda13_plugin", "jax_cuda12_plugin")
  names = names if target.gpu else ("libtpu",)
  if not any(importlib.util.find_spec(name) for name in names):
    raise ValueError(
      f"compiling for {target.name} needs {names[0]}, which is not installed: "
      f"{INSTALL}."
    )


def environment(target: Target) -> dict[str, str]:
  """Returns the environment of a process that compiles for a target."""
  variables = {"JAX_PLATFORMS": "cpu"}
  if not target.gpu:  # libtpu would look for a TPU, and wait for it
    variables |= {
      "TPU_SKIP_MDS_QUERY": "1",
      "TPU_WORKER_HOSTNAMES": "localhost",
      "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
  return {**os.environ, **variables}


def devices(target: Target) -> list[jax.Device]:
  """Returns descriptions of a target's devices; see `environment`.

  Raises:
    ValueError: libtpu knows no such slice.
  """
  require(target)
  try:
    return list(topologies.get_topology_desc(**_topology(target)).devices)
  except Exception as error:  # the plug-ins raise many kinds
    reason = str(error).partition("\n")[0]
    raise ValueError(
      f"the compiler knows no target {target.name} ({reason}): try v5e:2x4, "
      "v5e:16x16, v4:2x2x1 or h100."
    ) from None


def _topology(target: Target) -> Mapping[str, str]:
  if not target.gpu:
    shape = "x".join(map(str, target.shape))
    name = {"platform": "tpu", "topology_name": f"{target.family}:{shape}"}
    # JAX takes both cores of a chip for one device; here a v4's must be told.
    return name | (_JOINED if target.family == "v4" else {})
  hosts, each = (1, *target.shape)[-2:]
  return {
    "platform": "cuda",
    "topology_name": "",
    "target_config": _GPUS[target.family],
    "topology": f"1x{hosts}x{each}",
  }


def mesh(devices: list[jax.Device], *, data: int = 1) -> Mesh:
  """Returns the mesh that a run would make of these devices."""
  grid = np.array(devices).reshape(len(devices) // data, data)
  kinds = (AxisType.Auto,) * 2
  return Mesh(grid, (meshes.MEMBER, meshes.DATA), axis_types=kinds)
