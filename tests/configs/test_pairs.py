"""The argument of the configs with two tasks: two datasets, maybe small."""

import importlib

import pytest

PAIRED = ("transfer", "encoder")


def make(name, argument):
  return importlib.import_module(f"configs.{name}").get_config(argument)


@pytest.mark.parametrize("name", PAIRED)
def test_two_datasets_are_the_adversarys_and_the_users(name):
  for argument in ("cifar10,stl10@32", "cifar10,stl10@32,small"):
    config = make(name, argument)
    assert config.data.name == "cifar10"
    assert config.downstream.name == "stl10@32"
  assert config.downstream.train_images == 5_000


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize(
  "argument",
  [
    "cifar10",
    "small",
    "cifar10,",
    ",gtsrb",
    "cifar10,gtsrb,smal",
    "cifar10,gtsrb,",
    "cifar10,gtsrb,small,small",
    "cifar10,gtsrb,stl10@32,small",
  ],
)
def test_other_words_are_refused_with_what_to_write(name, argument):
  said = f"is '{argument}', but must be two datasets, .* cifar10,gtsrb,small, s"
  with pytest.raises(ValueError, match=said):
    make(name, argument)
