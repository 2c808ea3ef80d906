import jax.numpy as jnp
import pytest

from bdjax.attacks.parts.goals import Goal


def test_a_goal_is_one_class_or_the_next():
  label = jnp.array([0, 1, 2, 3])
  assert Goal(2)(label).tolist() == [2, 2, 2, 2]
  assert Goal(mode="all2all", num_classes=4)(label).tolist() == [1, 2, 3, 0]
  with pytest.raises(ValueError, match="target is 4, but .* 4 classes"):
    Goal(4, num_classes=4)
