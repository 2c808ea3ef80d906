"""Sweeps as lines, heat maps and best settings."""
# ruff: noqa: D103

import re

import pytest

from bdjax import report
from bdjax.report import results, sweeps, swept


def cell(fake, lr, seed=0, *, asr=0.5, der=0.5, **axes):
  args = ", ".join(f"{k}={v!r}" for k, v in {"lr": lr, **axes}.items())
  name = f"ft({args})"
  found = {f"axis.{k}": v for k, v in {"lr": lr, **axes}.items()}
  return fake.record(
    "badnets", "fmn", name, seed, asr=asr, ca=0.9, der=der, **found
  )


def test_one_axis_is_a_line(fake):
  made = [cell(fake, lr, seed) for lr in (0.1, 0.01) for seed in (0, 1)]
  (sweep,) = swept.sweeps(made)
  assert sweep.title == ("badnets", "fmn", "ft")
  assert sweep.axes == {"lr": [0.01, 0.1]}
  ((caption, svg),) = sweeps.panels(sweep)
  assert caption == "" and ">lr<" in svg


def test_two_axes_are_heat_maps_and_words_are_panels(fake):
  made = [
    cell(fake, lr, asr=0.123, rho=rho, shape=shape)
    for lr in (0.1, 0.01)
    for rho in (1, 2)
    for shape in ("triangle", "sawtooth")
  ]
  (sweep,) = swept.sweeps(made)
  shown = sweeps.panels(sweep)
  assert [caption for caption, _ in shown] == [
    "ASR shape = triangle",
    "CA shape = triangle",
    "ASR shape = sawtooth",
    "CA shape = sawtooth",
  ]
  assert shown[0][1].count(">12.3<") == 4
  assert shown[1][1].count(">90.0<") == 4


def test_what_is_missing_is_left_white(fake):
  made = [
    cell(fake, 0.1, rho=1),
    cell(fake, 0.1, rho=2),
    cell(fake, 0.2, rho=1),
  ]
  (sweep,) = swept.sweeps(made)
  assert sweeps.panels(sweep)[0][1].count(">50.0<") == 3


def test_best_has_the_highest_mean_der(fake):
  made = [
    cell(fake, 0.1, 0, der=0.9, asr=0.1),
    cell(fake, 0.1, 1, der=0.5, asr=0.3),
    cell(fake, 0.2, 0, der=0.8, asr=0.4),
  ]
  (sweep,) = swept.sweeps(made)
  first, second = sweeps.best(sweep)
  assert first["setting"] == "lr = 0.2" and first["der"] == 0.8
  assert second == {
    "setting": "lr = 0.1",
    "seeds": 2,
    "asr": pytest.approx(0.2),
    "ca": pytest.approx(0.9),
    "der": pytest.approx(0.7),
    "verdict": "weak",
    "diverged": 0,
  }
  elsewhere = [
    cell(fake, lr, der=None, asr=asr) for lr, asr in ((1, 0.3), (2, 0.1))
  ]
  (sweep,) = swept.sweeps(elsewhere)
  assert [row["setting"] for row in sweeps.best(sweep)] == ["lr = 2", "lr = 1"]


@pytest.mark.parametrize(
  ("ders", "said"),
  [
    # differences .1, .12, .14: mean .12, sd .02; 4.303 * .02 / sqrt(3) = .0497
    (
      ((0.8, 0.84, 0.9), (0.7, 0.72, 0.76)),
      "12.0 [7.0, 17.0] points of DER ahead of the next, over 3 seeds",
    ),
    # .1, -.1, .3: mean .1, sd .2; 4.303 * .2 / sqrt(3) = .4968
    (
      ((0.8, 0.6, 0.9), (0.7, 0.7, 0.6)),
      "Not told apart: 10.0 [-39.7, 59.7] points of DER ahead of the next",
    ),
    (((0.8,), (0.7,)), "Not sure: it has no two seeds"),
    (((0.8, 0.8), (0.8, 0.8)), "Every setting gave the same rates"),
  ],
)
def test_the_order_of_settings_is_as_sure_as_its_seeds(fake, ders, said):
  made = [
    cell(fake, lr, seed, der=der, asr=1 - der)
    for lr, seeds in zip((0.1, 0.2), ders, strict=True)
    for seed, der in enumerate(seeds)
  ]
  (sweep,) = swept.sweeps(made)
  assert sweeps.sure(sweep).startswith(said)


def test_a_setting_alone_is_compared_with_none(fake):
  made = [cell(fake, 0.1), cell(fake, 0.2, asr=0.0, der=0.9)]
  made[1] |= {"ca": 0.0}  # destroyed
  (sweep,) = swept.sweeps(made)
  assert sweeps.sure(sweep) == ""


def test_page_shows_them_and_nothing_without_axes(tmp_path, fake):
  results.append(tmp_path / "results.jsonl", [cell(fake, lr) for lr in (1, 2)])
  page = report.write(tmp_path).read_text()
  assert page.index("<h3>Sweep</h3>") < page.index('<table class="grid">')
  assert swept.sweeps([fake.record("badnets", "fmn", "ft", 0)]) == []
  plain = tmp_path / "plain"
  plain.mkdir()
  results.append(
    plain / "results.jsonl", [fake.record("badnets", "fmn", "ft", 0)]
  )
  assert not re.search("<h3>Sweep", report.write(plain).read_text())


def test_settings_that_diverged_are_named_and_not_drawn(fake):
  made = [cell(fake, lr, seed) for lr in (0.1, 0.01) for seed in (0, 1)]
  made.remove(made[1])  # seed 1 at .1
  lost = [cell(fake, lr, seed) for lr, seed in ((0.1, 1), (9.0, 0), (9.0, 1))]
  (sweep,) = swept.sweeps(made, lost)
  assert sweep.axes == {"lr": [0.01, 0.1, 9.0]}
  assert sweeps.lost(sweep) == [
    "lr = 0.1: 1 of 2 seeds",
    "lr = 9: 2 of 2 seeds",
  ]
  assert len(sweeps.best(sweep)) == 2
  (only,) = swept.sweeps([made[0]], lost[1:])  # one setting has a result
  assert sweeps.panels(only) and sweeps.lost(only) == ["lr = 9: 2 of 2 seeds"]


def test_what_is_not_swept_tells_methods_apart(fake):
  made = [
    fake.record(
      f"blended(alpha={alpha})",
      "fmn",
      f"ft(lr={lr}, epochs=3)",
      0,
      asr=asr,
      **{"axis.lr": lr},
    )
    for alpha, asr in ((0.1, 0.05), (0.3, 0.85))
    for lr in (0.01, 0.05)
  ]
  first, second = swept.sweeps(made)
  assert first.title == ("blended(alpha=0.1)", "fmn", "ft(epochs=3)")
  assert second.title == ("blended(alpha=0.3)", "fmn", "ft(epochs=3)")
  for sweep, word in ((first, "gone"), (second, "alive")):
    rows = sweeps.best(sweep)
    assert [(r["seeds"], r["verdict"]) for r in rows] == [(1, word)] * 2


def test_after_a_transfer_the_collapse_is_swept(fake):
  moved = {"scenario": "transfer", "der": None}
  made = [
    cell(fake, lr) | moved | {"asr": 0.5, "collapse": collapse}
    for lr, collapse in ((0.1, 0.9), (0.2, 0.3))
  ]
  (sweep,) = swept.sweeps(made)
  assert [(r["setting"], r["asr"]) for r in sweeps.best(sweep)] == [
    ("lr = 0.2", 0.3),
    ("lr = 0.1", 0.9),
  ]


def crossed(fake, attack, defense, axis, **rates):
  """Return a cell as a sweep of `lr` records it: by the defense's, if any."""
  return fake.record(attack, "fmn", defense, 0, **{"axis.lr": axis}, **rates)


def test_an_argument_that_both_methods_have_is_the_defenses(fake):
  made = [
    crossed(fake, f"x(lr={one})", f"ft(lr={two})", two)
    for one in (0.1, 0.2)
    for two in (0.1, 0.2)
  ]
  found = {sweep.title[0]: sweep for sweep in swept.sweeps(made)}
  assert found.keys() == {"x(lr=0.1)", "x(lr=0.2)"}
  assert all(sweep.axes == {"lr": [0.1, 0.2]} for sweep in found.values())
  assert all(len(sweep.cells) == 2 for sweep in found.values())


def test_a_method_of_one_setting_keeps_it(fake):
  made = [crossed(fake, "x(lr=0.1)", f"ft(lr={v})", v) for v in (0.1, 0.2, 0.3)]
  (sweep,) = swept.sweeps(made)
  assert sweep.title == ("x(lr=0.1)", "fmn", "ft")
  assert sweep.axes == {"lr": [0.1, 0.2, 0.3]}
  made = [crossed(fake, f"x(lr={v})", "ft(lr=0.1)", v) for v in (0.1, 0.2)]
  (sweep,) = swept.sweeps(made)
  assert sweep.title == ("x", "fmn", "ft(lr=0.1)")
  assert sweep.axes == {"lr": [0.1, 0.2]}


def test_a_setting_that_diverged_comes_after_whole_ones(fake):
  whole = [cell(fake, 0.1, seed, der=0.6) for seed in (0, 1)]
  lucky, lost = cell(fake, 0.2, 0, der=0.9), cell(fake, 0.2, 1)
  (sweep,) = swept.sweeps([*whole, lucky], [lost])
  rows = [(r["setting"], r["diverged"]) for r in sweeps.best(sweep)]
  assert rows == [("lr = 0.1", 0), ("lr = 0.2", 1)]
