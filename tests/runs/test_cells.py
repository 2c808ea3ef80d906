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


def test_seeds_share_a_protocol_and_what_a_command_sets_changes_it(config):
  made = config(defense__name="nad.bb", defense__epochs=20, seeds=(0, 1))

  def protocols(config, *keys):
    names = Names(settings.plan(config, frozenset(keys)))
    return {(c.called, names.protocol(c)) for c in names.cells()}

  before = protocols(made)
  assert len(before) == 2  # none, nad.bb: of both seeds
  set_on_top = protocols(made, "defense.epochs")  # it wins over the preset's
  assert {called for called, _ in set_on_top} == {
    called for called, _ in before
  }
  assert len(set_on_top & before) == 1  # that of none
  fewer = protocols(made | {"data": made["data"] | {"train_images": 160}})
  assert not fewer & before


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
