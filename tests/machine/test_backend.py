"""The compiler options are accepted, change the program, and can be refused."""
# ruff: noqa: D103

import jax
import jax.numpy as jnp
import pytest

from bdjax.machine import backend


def test_options_are_accepted_and_safe_to_change():
  options = backend.compiler_options("cpu")
  lowered = jax.jit(lambda x: x * 2).lower(jnp.zeros(3))
  assert lowered.compile(compiler_options=options)(jnp.ones(3))[0] == 2
  options["nonsense"] = "1"
  assert "nonsense" not in backend.compiler_options("cpu")


def test_convolutions_leave_ynnpack_on_a_cpu():
  if not backend.compiler_options("cpu"):
    pytest.skip("This jax has no such option.")
  spec = jax.ShapeDtypeStruct((64, 64), jnp.float32)
  lowered = jax.jit(jnp.matmul).lower(spec, spec)
  chosen = lowered.compile(compiler_options=backend.compiler_options("cpu"))
  assert "__ynn" not in chosen.as_text()


def test_refused_options_fall_back_to_none(monkeypatch):
  monkeypatch.setitem(backend._WANTED, "cpu", {"xla_no_such_option": "1"})
  backend._accepts.cache_clear()
  assert backend.compiler_options("cpu") == {}
  backend._accepts.cache_clear()


def test_other_platforms_get_nothing():
  assert backend.compiler_options("tpu") == {}


@pytest.mark.parametrize(
  ("kind", "peak"),
  [
    ("NVIDIA H200", 989e12),
    ("NVIDIA H100 PCIe", 756e12),
    ("NVIDIA A100-SXM4-80GB", 312e12),
    ("NVIDIA L40S", 362e12),
    ("NVIDIA L4", 121e12),
    ("TPU v5 lite", 197e12),
    ("TPU v5p", 459e12),
    ("cpu", None),
  ],
)
def test_peak_flops(kind, peak):
  assert backend.device_peak_flops(kind) == peak
