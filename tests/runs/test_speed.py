import json

import pytest

from bdjax.machine import notes, storage
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


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"other": 4}'])
def test_a_width_is_measured_once_and_damage_is_mended(
  config, tmp_path, monkeypatch, text
):
  file, asked = tmp_path / "bdjax" / "widths.json", []
  monkeypatch.setattr(storage, "cache", lambda name: file)
  monkeypatch.setattr(widths, "best", lambda plan: asked.append(plan) or 8)
  if text is not None:
    file.parent.mkdir()
    file.write_text(text)
  plan = settings.plan(config())
  assert [widths.chosen(plan) for _ in range(2)] == [8, 8] and len(asked) == 1
  kept = json.loads(file.read_text())
  assert kept.pop("other", None) == (4 if "4" in str(text) else None)
  assert list(kept.values()) == [8]


def test_a_width_that_cannot_be_kept_stops_nothing(config, monkeypatch):
  said = []
  monkeypatch.setattr(notes, "say", said.append)
  monkeypatch.setattr(
    storage, "cache", lambda name: storage.Path("/proc/x/widths.json")
  )
  monkeypatch.setattr(widths, "best", lambda plan: 8)
  assert widths.chosen(settings.plan(config())) == 8
  assert said[0].startswith("how many members train at once cannot be kept in")
