"""How many members a sweep trains for one, by hand."""

import pytest

from bdjax.estimate import filling
from bdjax.runs import settings
from bdjax.runs.cells import Names


@pytest.mark.parametrize(
  ("rates", "width", "share"),
  [
    ("0.1,", 8, 4),  # one on four devices: the others repeat it
    ("0.1, 0.2", 8, 2),
    ("0.1, 0.2, 0.3, 0.4, 0.5", 8, 8 / 5),  # two each
    ("0.1, 0.2, 0.3, 0.4, 0.5", 1, 8 / 5),  # two chunks of four
  ],
)
def test_what_fills_a_chunk_is_counted(config, rates, width, share):
  made = config(
    defense__name="ft", sweep__axes=f"lr=({rates})", sweep__width=width
  )
  plan = settings.plan(made)
  found = filling.shares(plan)
  cells = Names(plan).cells()
  assert found.keys() == {Names(plan).id(cell) for cell in cells}
  tuned = [Names(plan).id(cell) for cell in cells if cell.defense]
  assert [found[name] for name in tuned] == [pytest.approx(share)] * len(tuned)
