"""Keys that no method takes, and batches that the data cannot fill."""

import pytest

from bdjax.runs import keys, plans, settings


@pytest.mark.parametrize(
  ("changes", "text"),
  [
    (
      {"regime__name": "fmn", "regime__trun": 2},
      "^regime.trun: no regime has such an argument: did you mean turn",
    ),
    (
      {"sequela": {"name": "", "ratee": 3}},
      "^sequela.ratee: no sequel has such an argument: did you mean rate",
    ),
    (
      {"sequela": {"name": "membership", "imags": 3}},
      "^sequela.imags: no sequel .* did you mean images",
    ),
  ],
)
def test_a_key_that_no_method_of_its_kind_takes_is_refused(
  config, changes, text
):
  with pytest.raises(ValueError, match=text) as refused:
    settings.plan(config(**changes))
  assert "\n" not in str(refused.value)


def test_a_key_may_be_said_before_a_method_that_takes_it(config):
  ahead = config(regime__lr_max1=0.05, sequela={"name": "", "poisons": 3})
  assert settings.plan(ahead).regimes[0].label == "conventional"
  none = config(regime__trun=None)  # as the keys of a locked config are
  keys.check(plans.completed(none))


def test_a_config_names_a_regime(config):
  with pytest.raises(ValueError, match=r"regime.name is \[\], but must name a"):
    settings.plan(config(regime__name=[]))


def test_a_batch_is_refused_with_the_largest_that_fits(config):
  said = (
    r"^train.batch_size is 201, but the data has 200 examples: give at most "
    r"200, or more data\.$"
  )
  with pytest.raises(ValueError, match=said):
    settings.plan(config(train__batch_size=201))
  assert settings.plan(config(train__batch_size=200)).attacks
