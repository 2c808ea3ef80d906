"""`bench compile`: targets, cases, programs, and processes that die.

Programs are lowered for this machine's CPUs: what a target's own compiler makes
of them is test_compile_targets.py.
"""
# ruff: noqa: D103

import json
import math
import re
import stat
import sys

import chex
import jax
import jax.numpy as jnp
import pytest

from bdjax.aot import case, cases, command, programs, table, targets
from bdjax.aot.shapes import Images
from bdjax.bench import __main__ as bench
from bdjax.data import augment
from bdjax.methods import registry
from bdjax.training import engine, learn, loop
from bdjax.types import Dataset, Recipe

TINY = {"model": "cnn", "args": {"width": 4}}
FEW = Images(12, (8, 8, 3), 10)
H100 = targets.parse("h100")


def test_targets_of_texts():
  pod = targets.parse("v5e:16x16")
  assert (pod.count, pod.gpu, pod.family) == (256, False, "v5e")
  assert pod.chip.flops == 197e12 and pod.chip.memory == 15.75 * 2**30
  assert (H100.count, H100.gpu) == (1, True) and H100.chip.flops == 989e12
  hosts = targets.parse("h100:2x8")
  assert targets._topology(hosts)["topology"] == "1x2x8"
  assert targets._topology(targets.parse("h100:8"))["topology"] == "1x1x8"
  joined = targets._topology(targets.parse("v4:2x2x1"))
  assert joined["topology_name"] == "v4:2x2x1"
  assert joined["chip_config_name"] == "megacore"


@pytest.mark.parametrize("text", ("v6x", "v5e:2by4", "v5e:0x4", "h100:1x2x8"))
def test_what_is_no_target_is_refused(text):
  with pytest.raises(ValueError, match=re.escape(repr(text))):
    targets.parse(text)


@pytest.mark.parametrize(("name", "units"), (("v4", 8), ("v5e", 4), ("v5p", 8)))
def test_a_clock_is_what_the_peak_needs(name, units):
  # Multiplications and additions of a cycle, of all matrix units.
  chip, once = targets.CHIPS[name], 2 * 128 * 128 * units
  assert chip.flops == pytest.approx(once * chip.clock, rel=0.01)


def test_a_missing_compiler_is_named_with_the_remedy(monkeypatch, capsys):
  monkeypatch.setattr(targets.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(SystemExit) as left:
    bench.main(["compile", "--target", "v5e:2x4"])
  assert left.value.code == 2
  said = capsys.readouterr().err
  assert "libtpu" in said and "uv run --isolated --group aot" in said
  assert said.count("\n") == 1


def test_every_model_is_a_case_of_each_kind():
  names = {c.name for c in cases.of(H100)}
  for model in registry.names("models"):
    for dtype in cases.DTYPES:
      assert f"score/{model}/{dtype}" in names
      assert all(f"train/{model}/{dtype}/{b}" in names for b in cases.BATCHES)
  assert not any("sweep" in name or "parallel" in name for name in names)
  many = {c.name for c in cases.of(targets.parse("v5e:16x16"))}
  assert many > names and "planting_sweep/bfloat16/1" in many
  assert "data_parallel/float32/128" in many
  assert all(c.build in programs.BUILDERS for c in cases.of(H100))


def test_cases_are_chosen_by_pattern(capsys):
  found = cases.choose(H100, ["train/cnn/*/512", "simclr/*"])
  assert [c.name for c in found] == [
    "train/cnn/float32/512",
    "train/cnn/bfloat16/512",
    "simclr/float32",
    "simclr/bfloat16",
  ]
  with pytest.raises(ValueError, match="train/cmn"):
    cases.choose(H100, ["train/cmn/float32/128"])
  quick = cases.choose(H100, quick=True)
  assert len(quick) == len(registry.names("models")) + 1
  assert bench.main(["compile", "--target", "h100", "--list", "--quick"]) == []
  assert capsys.readouterr().out.split() == [c.name for c in quick]


def test_an_epoch_computes_what_training_computes():
  devices = jax.devices()[:1]
  (program,) = programs.train(devices, **TINY, batch=4, images=FEW)
  model = registry.get("models", "cnn")(10, width=4)
  image = jax.random.randint(jax.random.key(1), (12, 8, 8, 3), 0, 256).astype(
    jnp.uint8
  )
  data = Dataset(image, jnp.arange(12) % 10)
  seen = []

  def fit(key, step, state, data, *, epochs, batch_size, name, **how):
    datas = engine.alike((data,))
    again = jax.random.clone(key)
    seen.extend(jax.tree.map(jnp.copy, (again, state, datas)))
    return loop.scan_fit(
      key, step, state, data, epochs=1, batch_size=batch_size
    )

  wanted = learn.train_classifier(
    jax.random.key(3),
    data,
    fit,
    model=model,
    recipe=Recipe(batch_size=4),
    view=augment.standard(),
  )
  state, _ = program.lowered.compile()([], *seen, jnp.int32(0), jnp.int32(1))
  # Two programs, which need not round the last digit alike.
  chex.assert_trees_all_close(state.variables, wanted, rtol=1e-6, atol=1e-8)


def test_programs_of_regimes():
  own = {**TINY, "batch": 10, "images": Images(20, (8, 8, 3), 10)}
  devices = jax.devices()[:1]

  def stages(attack, regime):
    found = programs.plant(devices, attack=attack, regime=regime, **own)
    return [program.name for program in found]

  assert stages("badnets", "fmn") == ["train"]  # its turns share one program
  assert stages("wanet", "conventional") == ["train"]


def test_wanet_s_epoch_takes_what_it_closes_over():
  devices = jax.devices()[:1]
  own = {**TINY, "batch": 10, "images": Images(20, (8, 8, 3), 10)}
  found = list(
    programs.plant(devices, attack="wanet", regime="interleave", **own)
  )
  assert [p.name for p in found] == ["train"]  # its turns share one program
  held = found[0].lowered.args_info[0][0]
  assert [x.shape for x in held] == [(1, 8, 8, 2)]  # the warp's grid


def test_devices_that_share_a_batch_reduce():
  options = {**TINY, "batch": 8, "images": Images(16, (8, 8, 3), 10)}
  alone, shared = (
    next(programs.train(jax.devices(), share=share, **options))
    for share in (False, True)
  )
  count = len(jax.devices())
  assert count > 1 and shared.flop == alone.flop / count
  assert 8 in alone.batches and 8 // count in shared.batches
  assert case.compiled(H100, alone)["collectives"] == {}
  six = Images(16, (8, 8, 3), 10)
  (some,) = programs.train(
    jax.devices(), share=True, **TINY, batch=6, images=six
  )
  assert some.devices == math.gcd(6, count)
  assert case.compiled(H100, shared)["collectives"]["all-reduce"] > 0


def test_sweeps_and_what_else_is_compiled():
  devices = jax.devices()
  sweep = {**TINY, "width": 2, "images": FEW}
  (planted,) = programs.plant(devices, attack="badnets", batch=4, **sweep)
  row = case.compiled(H100, planted)
  assert row["compiles"] and row["fits"] and row["unexpected_groups"] == 0
  assert {tuple(x[:2]) for x in row["loops"]} >= {(2, 0), (3, 1)}
  options = {"epochs": 2, "batch_size": 4}
  (tuned,) = programs.defend(
    devices, defense="ft", options=options, rate=0.5, **sweep
  )
  assert 0 < tuned.flop < planted.flop
  (scored,) = programs.score(devices, **TINY, batch=4, images=FEW)
  assert scored.flop > 0 and case.compiled(H100, scored)["compiles"]


def test_other_stages_are_lowered():
  devices = jax.devices()[:1]
  found = programs.defend(
    devices,
    defense="neural_cleanse",
    options={"width": 10, "rounds": 1, "batch_size": 4},
    rate=1.0,
    images=FEW,
    **TINY,
  )
  assert [p.name for p in found] == ["invert", "unlearn"]
  (views,) = programs.pretrain(devices, **TINY, batch=4, images=FEW)
  assert views.name == "simclr" and {4, 8} <= views.batches


def fake_python(folder, text):
  path = folder / "python"
  path.write_text(f"#!{sys.executable}\n{text}")
  path.chmod(path.stat().st_mode | stat.S_IXUSR)
  return str(path)


ABORTS = """
import json, os, sys
print(json.dumps({"program": "first", "compiles": True}), flush=True)
print("W1126 12:00:00 a.cc:1] slow", file=sys.stderr)
print("F1126 12:00:00 1 b.cc:2] Check failed: a == b (1 vs. 2)",
      file=sys.stderr)
print("*** Check failure stack trace: ***", file=sys.stderr, flush=True)
os.abort()
"""


def test_a_process_that_xla_aborts_gives_a_row(tmp_path, monkeypatch):
  monkeypatch.setattr(command.sys, "executable", fake_python(tmp_path, ABORTS))
  (one, *_) = cases.of(H100)
  first, last = command.compile_case(H100, one)
  assert first["program"] == "first" and first["case"] == one.name
  assert not last["compiles"]
  assert last["why"] == "aborts XLA (signal 6): Check failed: a == b (1 vs. 2)"


def test_a_failure_and_a_late_end_are_told_apart():
  assert command.failure(1, "Traceback\nValueError: no\n") == (
    "fails with status 1: ValueError: no"
  )
  assert "minutes" in command.failure(None, "")
  assert command.failure(-9, "") == "aborts XLA (signal 9): no word"


def test_rows_are_written_and_shown(tmp_path, monkeypatch, capsys):
  (program,) = programs.train(jax.devices()[:1], **TINY, batch=4, images=FEW)
  row = {"target": "h100", "case": "train/cnn", **case.compiled(H100, program)}
  bad = {"target": "h100", "case": "bad", "program": "", "compiles": False}
  rows = [row, bad | {"why": "aborts XLA"}]
  monkeypatch.setattr(targets, "require", lambda target: None)
  monkeypatch.setattr(command, "compile_case", lambda *a, **k: iter(rows))
  out = tmp_path / "rows.jsonl"
  monkeypatch.setenv("COLUMNS", "200")
  pattern = "train/cnn/float32/128"
  argv = ["compile", "--target", "h100", "--cases", pattern, "--out", str(out)]
  assert bench.main(argv) == rows
  assert [json.loads(x) for x in out.read_text().splitlines()] == rows
  said = capsys.readouterr().out
  assert "train/cnn: train" in said and "aborts XLA" in said
  assert "no measurements" in said
  assert row["roofline_seconds"] >= row["arithmetic_seconds"] > 0
  assert row["total_mib"] == pytest.approx(
    row["argument_mib"]
    + row["temp_mib"]
    + row["output_mib"]
    + row["generated_code_mib"]
    - row["alias_mib"]
  )


def test_a_program_that_is_too_large_does_not_fit():
  (program,) = programs.train(jax.devices()[:1], **TINY, batch=4, images=FEW)
  small = H100._replace(chip=H100.chip._replace(memory=1000.0))
  row = {"case": "train", **case.compiled(small, program)}
  assert not row["fits"]
  assert "does not fit" in table._cells(row, gpu=True)
