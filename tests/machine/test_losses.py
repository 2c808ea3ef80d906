import jax
import pytest

from bdjax.machine import losses


@pytest.mark.parametrize(
  ("error", "lost"),
  [
    (jax.errors.JaxRuntimeError("INTERNAL: gone"), True),
    (ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed"), True),
    (ValueError("badnets.size is 33, but images are 32x32"), False),
    (KeyError("x"), False),
  ],
)
def test_what_says_that_another_process_is_gone(error, lost, monkeypatch):
  assert not losses.lost(error)  # there is no other
  monkeypatch.setattr(losses, "several", lambda: True)
  assert losses.lost(error) == lost
