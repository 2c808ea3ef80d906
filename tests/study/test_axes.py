"""Figures over a setting of a defense."""

import pytest
from matplotlib.figure import Figure

from bdjax.study import axes, drawing


@pytest.fixture
def drawn(fake, evidence):
  """Return the axes of one model's panel, before and after two settings."""
  rates = {"none": (0.97, 0.94), "super_ft(clean_rate=0.1)": (0.4, 0.9)}
  rates["super_ft(clean_rate=0.2)"] = (0.1, 0.92)
  records = [
    fake.record("blended", "conventional", name, asr=asr, ca=ca)
    for name, (asr, ca) in rates.items()
  ]
  made = evidence("sha_fig13", records)
  (panel,) = axes.over(made, [], "clean_rate")
  figure = Figure()
  panel.draw(figure.subplots())
  return figure.axes[0]


def test_both_metrics_go_over_the_setting(drawn):
  lines = {
    line.get_linestyle(): list(zip(*line.get_data(), strict=True))
    for line in drawn.lines
    if line.get_marker() not in ("None", "", "_")
  }
  assert lines["-"] == [(0.1, pytest.approx(40)), (0.2, pytest.approx(10))]
  assert lines["--"] == [(0.1, pytest.approx(90)), (0.2, pytest.approx(92))]


def test_gray_lines_show_what_there_was_before(drawn):
  flat = {
    line.get_linestyle(): line.get_ydata()[0]
    for line in drawn.lines
    if line.get_color() == axes.BEFORE
  }
  assert flat == {"-": pytest.approx(97), "--": pytest.approx(94)}


def test_each_method_has_a_line_of_its_own(fake, evidence):
  names = [f"{k}(clean_rate={v})" for k in ("ft", "super_ft") for v in (0.1, 1)]
  records = [fake.record("blended", "conventional", name) for name in names]
  (panel,) = axes.over(evidence("sha_fig13", records), [], "clean_rate")
  figure = Figure()
  panel.draw(figure.subplots())
  (legend,) = [figure.axes[0].get_legend()]
  assert [text.get_text() for text in legend.texts] == ["ft", "super_ft"]


@pytest.mark.parametrize("kind", ["over", "scatter"])
def test_what_says_nothing_of_a_defense_is_struck_through(fake, evidence, kind):
  usual = "conventional"
  records = [
    fake.record("blended", usual, "super_ft(lr_max1=0.1)", asr=0.3),
    fake.record("blended", usual, "super_ft(lr_max1=0.5)", asr=0.0, ca=0.1),
  ]
  made = evidence("sha_fig15", records)
  (panel,) = (
    axes.over(made, [], "lr_max1")
    if kind == "over"
    else drawing.scatter(made, [])
  )
  figure = Figure()
  panel.draw(figure.subplots())
  struck = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
  place = 0.5 if kind == "over" else 10.0
  assert [line.get_xydata().tolist() for line in struck] == [[[place, 0.0]]]
