from unittest import mock

from bdjax.runs import plans, settings
from bdjax.runs.cells import Names


def test_regimes_share_the_clean_model_of_a_seed(config):
  made = config(
    regime__name="conventional,cyclic,fmn,interleave",
    train__match="steps",
    train__epochs=4,
    seeds=(0, 1),
  )
  names = Names(settings.plan(made))
  for seed in (0, 1):
    cells = [cell for cell in names.cells() if cell.seed == seed]
    assert len({names.clean(cell) for cell in cells}) == 1
    assert len({names.planted(cell) for cell in cells}) == 4


def test_a_name_is_computed_once_however_often_it_is_asked(config, monkeypatch):
  plan = settings.plan(config(defense__name="ft,super_ft", seeds=(0, 1)))
  digest = mock.Mock(wraps=plans.digest)
  monkeypatch.setattr(plans, "digest", digest)
  names = Names(plan)

  def asked():  # of cells that are made anew, as by a later step
    return [(names.id(c), names.planted(c)) for c in names.cells()]

  first = asked()
  assert len(set(first)) == 6 and len({planted for _, planted in first}) == 2
  assert digest.call_count == 6 + 2
  assert asked() == first
  assert digest.call_count == 6 + 2
