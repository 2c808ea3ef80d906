"""What methods' own arguments must not be."""

import re

import pytest

from bdjax.methods import registry


@pytest.mark.parametrize(
  ("kind", "name", "argument", "value"),
  [
    ("attacks", "badnets", "rate", 1.5),
    ("attacks", "narcissus", "mode", "all2all"),
    ("attacks", "sig", "mode", "all2all"),
    ("defenses", "abl", "bound", "soft"),
    ("defenses", "activation_clustering", "silhouette", -2.0),
    ("defenses", "anp", "alpha", 1.5),
    ("defenses", "anp", "select", "oracle"),
    ("defenses", "clp", "u", -1),
    ("defenses", "fine_pruning", "threshold", 2),
    ("defenses", "ft", "lr", 0),
    ("defenses", "ft", "schedule", "step"),
    ("defenses", "ft_sam", "rho", -0.1),
    ("defenses", "i_bau", "terms", 0),
    ("defenses", "nad", "beta2", -1),
    ("defenses", "neural_cleanse", "factor", 1.0),
    ("defenses", "neural_cleanse", "rounds", 0),
    ("defenses", "rnp", "stop", 2),
    ("defenses", "strip", "false_alarms", 0),
    ("defenses", "super_ft", "lr_max1", -1),
  ],
)
def test_a_bad_argument_is_named(kind, name, argument, value):
  sentence = re.escape(f"{name}.{argument} is {value!r}, but must be ")
  with pytest.raises(ValueError, match=sentence):
    registry.get(kind, name)(**{argument: value})
