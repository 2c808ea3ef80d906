import pytest
from matplotlib.figure import Figure

from bdjax.report import plots


@pytest.mark.parametrize("values", [[166.0, 196.0], [12.0, 90.0], [1.0, 2e3]])
def test_a_log_axis_has_labels_within_its_range(values):
  axes = Figure().subplots()
  axes.plot(values, [0, 1])
  plots.log_axis(axes, values)
  low, high = axes.get_xlim()
  shown = [x for x in axes.get_xticks() if low <= x <= high]
  texts = axes.xaxis.get_major_formatter().format_ticks(shown)
  assert len(shown) >= 2 and all(texts)
