import pytest

from bdjax.runs import settings, speed, widths


@pytest.fixture(scope="module", params=[None, 2], ids=["alone", "together"])
def plan(config, request):
  axes = "lr=(0.1, 0.2)" if request.param else ""
  changes = {"sweep__width": request.param, "sweep__axes": axes}
  return settings.plan(config(train__batch_size=8, **changes))


def test_plain_training_is_timed(plan, monkeypatch):
  monkeypatch.setattr(speed, "seconds", lambda call, *args: call(*args) and 2.0)
  one = speed.measure(plan, 8)
  two = speed.measure(plan, 16)
  assert two.flops == pytest.approx(2 * one.flops) and one.flops > 0
  assert two.temp_bytes > one.temp_bytes > 0 < one.compile_seconds


def test_members_at_once_are_timed(plan, monkeypatch):
  monkeypatch.setattr(
    widths, "seconds", lambda call, *args: call(*args) and 2.0
  )
  assert [widths.rate(plan, width) for width in (1, 2)] == [1.0, 2.0]
