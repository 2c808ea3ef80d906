import pytest

from bdjax.methods import registry


def test_methods_are_found_by_file_name():
  assert {"badnets", "blended"} <= set(registry.names("attacks"))
  assert {"ft", "super_ft", "ft_sam"} <= set(registry.names("defenses"))
  assert {"cnn", "preact_resnet18"} <= set(registry.names("models"))
  assert registry.get("attacks", "badnets").__module__.endswith("badnets")


@pytest.mark.parametrize("name", ["badnet", "../badnets", "_layers", ""])
def test_unknown_names_are_refused(name):
  with pytest.raises(ValueError, match="unknown attack"):
    registry.get("attacks", name)


def test_unknown_name_names_the_nearest():
  with pytest.raises(ValueError, match="did you mean badnets"):
    registry.get("attacks", "badnet")
  with pytest.raises(ValueError, match="unknown kind 'attack'"):
    registry.names("attack")


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_method_describes_itself_in_a_line(kind):
  for name, line in registry.describe(kind).items():
    assert 10 < len(line) <= 80, name
