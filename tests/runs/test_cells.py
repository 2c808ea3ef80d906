from unittest import mock

from bdjax.runs import plans, settings
from bdjax.runs.cells import Names


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
