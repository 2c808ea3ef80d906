"""Records on disk, and their statistics against hand-computed values."""
# ruff: noqa: D103

import json

import jax.numpy as jnp
import numpy as np
import pytest

from bdjax import report
from bdjax.report import intervals, results


def cell(seed=0, **changes):
  """Return a complete record with invented numbers."""
  record = dict.fromkeys(results.REQUIRED, 0.5)
  record |= dict.fromkeys((*results.GROUP, "device"), "x")
  counts = {"test_images": 100, "triggered_images": 10, "clean_images": 5}
  counts["devices"] = 1
  record |= {"cell": f"c{seed}", "planted": "p", "seed": seed, **counts}
  return record | changes


def test_append_then_read_gives_the_records_back(tmp_path):
  path = tmp_path / "results.jsonl"
  results.append(path, [cell(0), cell(1)])
  results.append(path, [cell(2)])
  assert results.read(path) == [cell(0), cell(1), cell(2)]
  assert results.read(tmp_path / "absent.jsonl") == []


def test_append_stores_arrays_as_lists_and_non_finite_numbers_as_null(tmp_path):
  path = tmp_path / "results.jsonl"
  lr = [np.float32(0.5), float("inf")]
  record = cell(ca=jnp.float32(0.25), asr=np.nan, lr=lr, steps=np.arange(2))
  results.append(path, [record])
  (read,) = results.read(path)
  assert (read["ca"], read["asr"]) == (0.25, None)
  assert (read["lr"], read["steps"]) == ([0.5, None], [0, 1])


def test_torn_last_line_is_ignored_and_dropped_by_the_next_append(tmp_path):
  path = tmp_path / "results.jsonl"
  results.append(path, [cell(0)])
  whole = path.read_bytes()
  path.write_bytes(whole + whole[:40])
  assert results.read(path) == [cell(0)]
  results.append(path, [cell(1)])
  assert path.read_bytes().startswith(whole)
  assert results.read(path) == [cell(0), cell(1)]


def test_a_file_that_is_one_torn_line_starts_anew(tmp_path):
  path = tmp_path / "results.jsonl"
  path.write_text('{"cell": "c')
  results.append(path, [cell(0)])
  assert results.read(path) == [cell(0)]


@pytest.mark.parametrize(
  ("bad", "why"),
  [
    ('{"cell": ', "Expecting value"),
    ("[1]", "a JSON object was expected"),
    ('{"ca": NaN}', "NaN is not JSON"),
    ("{}", "it lacks cell, planted, dataset and"),
    (json.dumps(cell(ca="0.5")), "its ca is '0.5', but must be from 0 to 1"),
    (json.dumps(cell(asr=1.5)), "its asr is '1.5'"),
    (json.dumps(cell(seed=None)), "its seed is 'None', but must be a whole"),
    (json.dumps(cell(attack=["x"])), "its attack is .* but must be text"),
    ("[" * 100_000, "its brackets are too deep"),
    ('{"cell": ' * 100_000, "its brackets are too deep"),
  ],
  ids=lambda text: text[:20],
)
def test_a_bad_line_is_named(tmp_path, bad, why):
  path = tmp_path / "results.jsonl"
  good = json.dumps(cell())
  path.write_text(f"{good}\n{bad}\n{good}\n")
  with pytest.raises(ValueError, match=rf"results\.jsonl, line 2 .*{why}"):
    results.read(path, required=results.REQUIRED)


def test_a_blank_line_is_no_record(tmp_path):
  path = tmp_path / "results.jsonl"
  good = json.dumps(cell())
  path.write_text(f"{good}\n \n{good}\n\n\n")
  assert results.read(path) == [cell(), cell()]


@pytest.mark.parametrize("bad", ["[1]", "{", "", '{"a":' * 100_000])
def test_a_file_that_is_no_object_is_named(tmp_path, bad):
  path = tmp_path / "config.json"
  assert results.read_object(path) is None
  path.write_text(bad)
  with pytest.raises(ValueError, match="config.json is not what a"):
    results.read_object(path)


def test_append_names_missing_keys_and_writes_nothing(tmp_path):
  path = tmp_path / "results.jsonl"
  bad = cell(1)
  del bad["ra"], bad["device"]
  with pytest.raises(ValueError, match="'c1' lacks ra, device"):
    results.append(path, [cell(0), bad])
  assert not path.exists()
  with pytest.raises(ValueError, match="object"):
    results.append(path, [cell(0, ca=object())])


def test_append_of_curves_asks_for_their_own_keys(tmp_path):
  path = tmp_path / "curves.jsonl"
  row = {"cell": "c", "stage": "ft", "epoch": 1}
  results.append(path, [row], required=results.CURVE)
  assert results.read(path) == [row]
  with pytest.raises(ValueError, match="lacks epoch"):
    results.append(path, [{"cell": "c", "stage": "s"}], required=results.CURVE)


def test_wilson_by_hand():
  # k = 2 of n = 10, z = 1.959964: centre (k + z^2/2) / (n + z^2) = 0.283260,
  # half width z / (n + z^2) * sqrt(k (n - k) / n + z^2 / 4) = 0.226577.
  low, high = intervals.wilson(0.2, 10)
  assert low == pytest.approx(0.056683, abs=2e-6)
  assert high == pytest.approx(0.509837, abs=2e-6)


def test_without_a_share_or_a_count_wilson_has_nothing():
  assert intervals.wilson(None, 10) is None
  assert intervals.wilson(0.0, 0) is None


def test_summarize_by_hand():
  records = [cell(s, ca=ca) for s, ca in ((2, 0.8), (0, 0.9), (1, 0.7))]
  (row,) = results.summarize(records)
  assert row["seeds"] == [0, 1, 2]
  assert row["ca"] == pytest.approx(0.8)
  assert row["ca_sd"] == pytest.approx(0.1)  # sqrt((0 + .01 + .01) / 2)
  assert (row["test_images"], row["triggered_images"]) == (300, 30)
  # t(.975; 2) = 4.302653: half width 4.302653 * .1 / sqrt(3) = .248414.
  assert row["ca_low"] == pytest.approx(0.551586, abs=1e-6)
  assert row["ca_high"] == 1.0
  assert row["ca_values"] == [0.9, 0.7, 0.8]  # in the order of the seeds


def test_summarize_one_seed_has_no_spread():
  (row,) = results.summarize([cell(0, asr=0.3)])
  assert row["asr"] == 0.3
  assert row["asr_sd"] is None
  assert row["left_low"] is row["left_high"] is None
  assert row["left_values"] == [0.3]


def test_summarize_of_a_missing_value_is_missing():
  (row,) = results.summarize([cell(0, asr=None), cell(1, asr=0.5)])
  assert row["asr"] is row["left"] is row["left_low"] is None


def test_summarize_counts_a_rerun_cell_once_and_keeps_groups_apart():
  records = [cell(0, ca=0.1), cell(0, ca=0.9), cell(9, defense="y", ca=0.2)]
  first, second = results.summarize(records)
  assert (first["ca"], first["seeds"]) == (0.9, [0])
  assert (second["ca"], second["defense"]) == (0.2, "y")


def test_summarize_refuses_to_mix_protocols():
  with pytest.raises(ValueError, match="'c0' and 'other' are both seed 0"):
    results.summarize([cell(0), cell(0, cell="other")])
  seeds = [cell(0, protocol="a"), cell(1, protocol="b")]
  with pytest.raises(ValueError, match="'c0' and 'c1' are seeds 0 and 1 of"):
    results.summarize(seeds)
  old = cell(2)  # as earlier versions recorded
  (row,) = results.summarize([seeds[0], cell(1, protocol="a"), old])
  assert row["seeds"] == [0, 1, 2]


def test_an_undefended_model_under_a_new_name_counts_once(tmp_path, fake):
  changes = {"planted": "p", "scenario": "transfer"}
  old = fake.record("a", "fmn", "none", 0, asr=0.9, **changes)
  new = old | {"cell": "new", "protocol": "q", "asr": 0.8}
  tuned = fake.record("a", "fmn", "ft", 0, **changes)
  results.append(tmp_path / "results.jsonl", [old, tuned])
  assert len(report.load(tmp_path).cells) == 2  # as earlier versions left it
  results.append(tmp_path / "results.jsonl", [new])
  cells = report.load(tmp_path).cells
  assert [c["cell"] for c in cells if c["defense"] == "none"] == ["new"]


def test_a_model_that_only_defenses_tell_of_has_no_protocol(tmp_path, fake):
  tuned = [
    fake.record("a", "fmn", "ft", seed, protocol="ft's") for seed in (0, 1)
  ]
  none = fake.record("a", "fmn", "none", 0, protocol="none's")
  results.append(tmp_path / "results.jsonl", [none, *tuned])
  rows = results.summarize(report.load(tmp_path).records)
  assert {row["defense"]: row["seeds"] for row in rows} == {
    "none": [0, 1],
    "ft": [0, 1],
  }


def test_a_model_that_only_defenses_tell_of_has_no_floor_of_theirs(
  tmp_path, fake
):
  record = fake.record("badnets", "fmn", "ft", 0, clean_asr=0.04)
  results.append(tmp_path / "results.jsonl", [record])
  defended, before = report.load(tmp_path).records
  if defended["defense"] == "none":
    defended, before = before, defended
  assert defended["clean_asr"] == 0.04
  assert before["defense"] == "none" and before["clean_asr"] is None
