"""What is said of cells that failed: why, where, and each reason once."""

import jax
import jax.numpy as jnp
import pytest

from bdjax.defenses.parts import clusters
from bdjax.runs import failed


def raised(function, *args):
  with pytest.raises(Exception) as caught:
    function(*args)
  return failed.reason(caught.value)


def test_the_line_of_a_method_is_named():
  said = raised(clusters.centered, None, jnp.ones(3, bool))
  kind, _, place = said.partition(": ")
  assert kind in ("TypeError", "AttributeError")
  assert "(defenses/parts/clusters.py:" in place


def test_who_asks_for_a_traced_number_is_told_what_to_do():
  tuned = compile("def look(x): return 1 if x > 0 else 2", "noisy.py", "exec")
  names = {}
  exec(tuned, names)
  said = raised(jax.jit(names["look"]), 1.0)
  assert said.startswith("TracerBoolConversionError: ")  # nobody's code
  where = failed.PACKAGE / "defenses" / "noisy.py"
  tuned = compile("def look(x): return 1 if x > 0 else 2", where, "exec")
  exec(tuned, names)
  said = raised(jax.jit(names["look"]), 1.0)
  assert said.startswith("defenses/noisy.py:1 asks in Python for the value")
  assert "use jnp.where" in said


def test_cells_that_failed_alike_are_told_once():
  why = {f"cell{i}": "no." for i in range(5)} | {"other": "yes?"}
  assert failed.told(why) == [
    "cell0, cell1, cell2 and 2 more failed and have no result: no.",
    "other failed and has no result: yes?",
  ]
