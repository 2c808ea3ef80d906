import pytest

from bdjax.runs import session


def test_a_second_stage_of_a_name_is_refused():
  asked = []

  def fit(*args, name, **how):
    asked.append((args, name, how))
    return "state", {}

  once = session.once(fit)
  assert once("key", name="jitter", epochs=2) == ("state", {})
  once("key", name="jitter2", epochs=3)
  said = "two stages are named 'jitter', .* such as 'jitter2'"
  with pytest.raises(ValueError, match=said):
    once("key", name="jitter", epochs=2)
  assert asked == [
    (("key",), "jitter", {"epochs": 2}),
    (("key",), "jitter2", {"epochs": 3}),
  ]
