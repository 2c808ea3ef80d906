"""Compiler options and peak speeds of the platform the program runs on.

On a CPU, XLA as shipped gives convolutions to YNNPACK, which is slow for
training; leaving YNNPACK only the reductions gives them to Eigen. Seen on 2
cores with jax 0.10.2 (PreActResNet18, width 64, steps in an epoch's scan,
paired samples): 1.13 times as fast at batch 64 and 1.09 at batch 128 as without
YNNPACK at all, for 1.4 times the temporary memory.

The option travels with one compilation, so no environment variable is needed
and no other program in the process is affected. It is experimental: a jax that
refuses it keeps its own.

Without YNNPACK at all, as speed over XLA's stock options (2 busy cores, whole
training steps of PreActResNet18, cases taking turns; jax 0.10.2 / 0.12.0.1): at
width 64, batch 128, 1.49 / 1.26, with two thirds of the temporary memory; at
width 16, batch 128, 0.99 / 1.01. `python -m bdjax.bench` measures it anew.
"""

import functools
from collections.abc import Callable

import jax

_YNN = "xla_cpu_experimental_ynn_fusion_type"
_WANTED = {"cpu": {_YNN: "LIBRARY_FUSION_TYPE_REDUCE"}}

# What float32 products are computed in. The platform's own is bfloat16 on a TPU
# and TensorFloat-32 on NVIDIA GPUs since Ampere; "high" is three bfloat16
# products on a TPU, "highest" is float32 everywhere.
PRECISIONS = ("default", "high", "highest")

# Dense 16-bit peaks in FLOP/s, without sparsity: NVIDIA's data sheets for GPUs
# and cloud.google.com/tpu/docs for TPUs. First match wins.
_PEAK_FLOPS = {
  "b200": 2.25e15,
  "h200": 989e12,
  "h100 pcie": 756e12,
  "h100 nvl": 835e12,
  "h100": 989e12,
  "a100": 312e12,
  "l40s": 362e12,
  "l40": 181e12,
  "l4": 121e12,
  "tpu v6 lite": 918e12,
  "tpu v5 lite": 197e12,
  "tpu v5": 459e12,
  "tpu v4": 275e12,
}


def require() -> None:
  """Refuses a platform that was asked for and is not here.

  Raises:
    ValueError: with the remedy.
  """
  try:
    jax.devices()
  except (AssertionError, RuntimeError) as error:
    asked = jax.config.jax_platforms or "of this machine"
    reason = f" ({str(error).splitlines()[0]})" if str(error) else ""
    raise ValueError(
      f"JAX cannot use the platform {asked}{reason}: install what it needs, as "
      "docs/install.md says, or set JAX_PLATFORMS=cpu."
    ) from error


def compiler_options(platform: str | None = None) -> dict[str, str]:
  """Returns what to give to `lowered.compile(compiler_options=...)`.

  The options are tried once on a tiny program; a compiler that refuses them
  gets none.

  Args:
    platform: "cpu", "gpu" or "tpu"; None for the default backend.
  """
  platform = platform or jax.default_backend()
  options = _WANTED.get(platform, {})
  return dict(options) if options and _accepts(platform) else {}


@functools.cache
def _accepts(platform: str) -> bool:
  with jax.default_device(jax.local_devices(backend=platform)[0]):
    lowered = jax.jit(lambda x: x + 1).lower(jax.ShapeDtypeStruct((), "f4"))
    try:
      lowered.compile(compiler_options=_WANTED[platform])
    except jax.errors.JaxRuntimeError:
      return False
  return True


def device_peak_flops(kind: str) -> float | None:
  """Returns a device's published dense bf16 peak in FLOP/s, None if unknown.

  Args:
    kind: `jax.Device.device_kind`, such as "NVIDIA H200" or "TPU v4".
  """
  name = kind.lower()
  return next((f for known, f in _PEAK_FLOPS.items() if known in name), None)


def exact(function: Callable) -> Callable:
  """Returns a function whose float32 products are float32 on every platform.

  For what decides which images or channels to remove. All else is computed as
  `jax.default_matmul_precision` says.
  """

  @functools.wraps(function)
  def call(*args, **kwargs):
    with jax.default_matmul_precision("highest"):
      return function(*args, **kwargs)

  return call
