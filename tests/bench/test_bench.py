"""The benchmarks run at toy size and report what they say they report."""
# ruff: noqa: D103

import json

import jax
import pytest

from bdjax.bench import __main__ as bench
from bdjax.bench import attack_step, augmentation, inversion, job, measure

TINY = ["--arch", "cnn", "--width", "4", "--batch", "4", "--size", "8"]


def test_all_benchmarks_run_and_write_json(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(job, "_seconds", lambda *given: 2.0)  # see its own test
  path = tmp_path / "bench.json"
  few = ["--samples", "2", "--attacks", "badnets", "--widest", "1"]
  few += ["--json", str(path)]
  rows = bench.main(["all", *TINY, *few])
  written = json.loads(path.read_text())
  assert written["rows"] == rows
  assert written["options"]["batch"] == [4]
  assert written["machine"]["device"] == jax.devices()[0].device_kind
  assert {row["benchmark"] for row in rows} == set(bench.BENCHMARKS)
  for row in rows:
    assert row["slowest"] <= row["images_per_second"] <= row["fastest"]
  flop = {r["gflop_per_image"] for r in rows if r["benchmark"] == "train_step"}
  assert len(flop) == 1 and flop.pop() > 0
  assert "epoch, crop and flip" in {row["case"] for row in rows}
  first, second = (r for r in rows if r["benchmark"] == "fresh")
  assert (first["case"], second["case"]) == ("nothing cached", "program cached")
  assert first["peak_mib"] is None and second["predicted_mib"] > 0
  step, forward = (r for r in rows if r["benchmark"] == "roofline")
  assert step["share_of_matmul"] > 0 and forward["intensity"] > 0
  assert "train_step" in capsys.readouterr().out


def test_an_attack_that_only_poisons_data_trains_with_the_plain_step():
  options = measure.Options(
    arch="cnn", width=4, size=8, batch=(4,), samples=1, attacks="badnets"
  )
  (row,) = attack_step.run(options)
  assert row["case"] == "badnets: train"
  task = attack_step._task(options, 4)
  (stage,) = attack_step._stages(attack_step._attack("badnets", 16), task)
  clean = attack_step._clean_stage(task)

  def flops(stage):
    _, step, state = stage
    batch = measure.first_batch(task.train)
    lowered = jax.jit(step).lower(jax.random.key(0), state, batch)
    return lowered.cost_analysis()["flops"]

  assert flops(stage) == pytest.approx(flops(clean), rel=0.01)


def test_cases_take_turns():
  calls = []
  seconds = measure.take_turns(
    {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2
  )
  assert "".join(calls) == "ab" + "abab"
  assert {name: len(s) for name, s in seconds.items()} == {"a": 2, "b": 2}


def test_speed_and_ratio_by_hand():
  assert measure.speed([1.0, 2.0, 4.0], 8) == {
    "images_per_second": 4.0,
    "slowest": 2.0,
    "fastest": 8.0,
  }
  assert measure.ratio([1.0, 2.0, 4.0], [2.0, 8.0, 4.0]) == 2.0


def test_utilization_needs_a_known_peak(monkeypatch):
  monkeypatch.setattr(measure.backend, "device_peak_flops", lambda kind: 100.0)
  assert measure.utilization(30.0, 0.5) == pytest.approx(0.6)
  assert measure.utilization(None, 0.5) is None
  monkeypatch.setattr(measure.backend, "device_peak_flops", lambda kind: None)
  assert measure.utilization(30.0, 0.5) is None


def test_torch_peer_has_as_many_parameters_as_the_model():
  pytest.importorskip("torch")
  from bdjax.bench import torch_peer

  net = torch_peer.preact_resnet18(10, width=64)
  assert sum(p.numel() for p in net.parameters()) == 11_171_146


def test_a_job_is_a_run_from_planting_to_scores(monkeypatch):
  options = measure.Options(arch="cnn", width=4, images=100, epochs=1)
  found = []

  def finished(plan, path, *args, **how):
    found.extend([plan, list(path.iterdir())])
    return path, {}

  monkeypatch.setattr(job.whole, "finish", finished)
  assert job.ours(options, 8) > 0
  plan, before = found
  assert before == []
  assert [m.label for m in plan.attacks] == ["badnets"]
  tuned = [m.args["epochs"] for m in plan.defenses]
  assert tuned == [1, 1]
  assert (plan.train.size, plan.test.size) == (100, 20)
  assert job.trained(options) == 100 + 2 * 20


def test_the_torch_job_does_the_same(monkeypatch):
  pytest.importorskip("torch")
  from bdjax.bench import torch_job

  seen = []
  monkeypatch.setattr(
    torch_job,
    "_train",
    lambda net, data, o, batch, rate: seen.append(
      (len(data.label), batch, [float(rate(i)) for i in range(2)])
    ),
  )
  options = measure.Options(width=4, images=100, epochs=1)
  assert torch_job.main(options, 10) > 0
  # cosine from .01 over ten steps; .01; from super-FT's base upward (in
  # float32, which loses three digits where 1 - position is near 0)
  assert seen[0] == (100, 10, pytest.approx([0.01, 0.00975528]))
  assert seen[1] == (20, 10, [0.01, 0.01])
  assert seen[2] == (20, 10, pytest.approx([3e-4, 0.1], rel=1e-4))


def test_inversion_is_timed_against_a_loop_over_classes():
  options = measure.Options(
    arch="cnn", width=4, size=8, batch=(4,), steps=1, samples=1
  )
  rows = {row["case"]: row for row in inversion.run(options)}
  loop = rows.pop("one class at a time")
  assert loop["ratio_to_loop"] == 1
  for row in rows.values():
    ratio = row["images_per_second"] / loop["images_per_second"]
    assert row["ratio_to_loop"] == pytest.approx(ratio)


def test_a_view_is_priced_in_forward_passes():
  options = measure.Options(arch="cnn", width=4, size=8, batch=(4,), samples=1)
  rows = {row["case"]: row for row in augmentation.run(options)}
  assert set(rows) == {"forward pass", "crop and flip", "simclr view"}
  whole = rows["forward pass"]["images_per_second"]
  for row in rows.values():
    ratio = whole / row["images_per_second"]
    assert row["cost_in_forward_passes"] == pytest.approx(ratio)


def test_a_file_in_a_bucket_is_refused_before_measuring(capsys):
  with pytest.raises(SystemExit):
    bench.main(["train_step", "--json=gs://b/x.json"])
  said = capsys.readouterr().err
  assert "--json is gs://b/x.json, but must be a local path" in said
