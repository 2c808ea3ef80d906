"""Seconds of tracing and compiling: nested ones count once."""

import jax
import jax.numpy as jnp
import pytest

from bdjax.machine import compiling


def test_spans_within_a_span_count_once():
  clock = compiling._Clock()
  clock.note(end=2.0, length=1.0)  # from 1 to 2
  clock.note(end=3.0, length=0.5)  # from 2.5 to 3
  assert clock.seconds == pytest.approx(1.5)
  clock.note(end=4.0, length=3.5)  # from .5 to 4: holds both
  assert clock.seconds == pytest.approx(3.5)
  clock.note(end=6.0, length=1.0)
  assert clock.seconds == pytest.approx(4.5)
  clock.note(end=6.5, length=1.0)  # another thread's, half of it counted
  assert clock.seconds == pytest.approx(5.0)


def test_what_compiles_is_heard():
  before = compiling.seconds()
  again = jax.jit(lambda x: jnp.sin(x) * 3.25)
  again(jnp.ones(7)).block_until_ready()
  first = compiling.seconds()
  assert first > before
  again(jnp.ones(7)).block_until_ready()
  assert compiling.seconds() == first
