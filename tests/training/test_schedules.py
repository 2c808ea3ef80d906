import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.training import schedules
from bdjax.types import Recipe


def rates(schedule, steps):
  return np.asarray(jax.jit(jax.vmap(schedule))(jnp.arange(steps)))


def test_triangle_by_hand():
  wave = schedules.triangle(1.0, 3.0, cycle_steps=4)
  assert rates(wave, 9).tolist() == [1, 2, 3, 2, 1, 2, 3, 2, 1]


def test_odd_cycle_and_sawtooth_by_hand():
  wave = schedules.triangle(0.0, 6.0, cycle_steps=5)
  np.testing.assert_allclose(rates(wave, 6), [0, 3, 6, 4, 2, 0], atol=1e-5)
  saw = schedules.triangle(0.0, 4.0, cycle_steps=4, shape="sawtooth")
  assert rates(saw, 6).tolist() == [0, 1, 2, 3, 0, 1]  # never 4


def torch_triangular(step, low, high, half):
  """Evaluates PyTorch's documented CyclicLR formula."""
  cycle = np.floor(1 + step / (2 * half))
  x = np.abs(step / half - 2 * cycle + 1)
  return low + (high - low) * np.maximum(0, 1 - x)


def test_super_finetune_is_two_cyclical_phases():
  got = rates(schedules.SuperCycles().schedule(8), 120)
  phase1 = torch_triangular(np.arange(80), 3e-4, 0.1, 10)
  phase2 = torch_triangular(np.arange(40), 3e-4, 1e-3, 10)
  np.testing.assert_allclose(got, np.r_[phase1, phase2], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("steps", "cycle"), [(196, 490), (40, 100), (10, 24)])
def test_default_keeps_four_cycles_in_phase_one(steps, cycle):
  schedule = schedules.SuperCycles().schedule(steps)
  got = rates(schedule, 10 * steps)
  assert abs(int(got[:cycle].argmax()) - cycle // 2) == 0
  peaks = np.flatnonzero(np.isclose(got, 0.1, rtol=1e-5, atol=1e-8))
  assert len(peaks) == 4
  assert (np.diff(peaks) == cycle).all()


def test_phases_start_at_the_base_rate_whatever_the_cycle():
  how = {"phase1_epochs": 3, "cycle_steps": 7, "lr_base": 0.01, "lr_max2": 0.02}
  schedule = schedules.SuperCycles(**how).schedule(5)
  assert float(schedule(0)) == pytest.approx(0.01)
  assert float(schedule(15)) == pytest.approx(0.01)
  assert float(schedule(14)) == pytest.approx(0.01)  # 14 = two whole cycles
  assert float(schedule(15 + 3)) == pytest.approx(0.02)


@pytest.mark.parametrize(("cycle", "reached"), [(19, True), (20, False)])
def test_a_cycle_of_twice_phase_one_never_reaches_its_peak(cycle, reached):
  how = {"phase1_epochs": 2, "cycle_steps": cycle}
  highest = rates(schedules.SuperCycles(**how).schedule(5), 40).max()
  assert (highest == pytest.approx(0.1)) == reached


def test_fmn_cycles_once_an_epoch_in_two_phases():
  schedule = schedules.Cycles().schedule(10, 5)
  got = rates(schedule, 50)
  np.testing.assert_allclose(got[5:30:10], 0.1, rtol=1e-5, atol=1e-8)
  np.testing.assert_allclose(got[35:50:10], 1e-3, rtol=1e-5, atol=1e-8)
  np.testing.assert_allclose(got[::10], 3e-4, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("steps", "each"), [(1, 1), (2, 2), (3, 2)])
def test_epochs_of_two_steps_or_more_see_both_extremes(steps, each):
  got = rates(schedules.Cycles(phase1=1.0).schedule(steps, 4), 4 * steps)
  extremes = np.isclose(got, 3e-4) | np.isclose(got, 0.1)
  seen = [
    len(set(e[i]))
    for e, i in zip(
      got.reshape(4, steps), extremes.reshape(4, steps), strict=True
    )
  ]
  assert seen == [each] * 4


@pytest.mark.parametrize(
  ("make", "rates", "text"),
  [
    (
      schedules.SuperCycles,
      {"lr_max1": 1e-4},
      "^lr_max1 is 0.0001, below lr_base, which is 0.0003, so .* least 0.0003",
    ),
    (schedules.SuperCycles, {"lr_base": 0.01}, "^lr_max2 is 0.001, below lr_b"),
    (schedules.Cycles, {"lr_min": 0.2}, "^lr_max1 is 0.1, below lr_min, which"),
  ],
)
def test_peaks_below_the_rate_between_them_are_refused(make, rates, text):
  with pytest.raises(ValueError, match=text):
    make(**rates)
  jax.eval_shape(lambda rates: make(**rates).lr_max1, rates)  # no values yet
  make(**{k: jnp.float32(v) for k, v in rates.items()})


def test_peaks_may_be_as_low_as_the_rate_between_them():
  flat = schedules.SuperCycles(lr_base=0.01, lr_max1=0.01, lr_max2=0.05)
  assert set(rates(flat.schedule(4), 40).tolist()) == {np.float32(0.01)}


def test_rates_can_be_traced_and_swept():
  def at_peak(lr):
    return schedules.SuperCycles(lr_max1=lr).schedule(8)(10)

  peaks = jnp.array([0.1, 0.3])
  np.testing.assert_allclose(jax.vmap(at_peak)(peaks), peaks, rtol=1e-6)


def test_cosine_and_constant():
  cosine = schedules.by_name("cosine", 0.2, steps=10)
  np.testing.assert_allclose(
    rates(cosine, 11), 0.1 * (1 + np.cos(np.pi * np.arange(11) / 10)), atol=1e-7
  )
  assert float(schedules.by_name("constant", 0.2, steps=10)(99)) == 0.2


@pytest.mark.parametrize(
  ("call", "text"),
  [
    (lambda: schedules.triangle(0.0, 1.0, cycle_steps=1), "cycle_steps is 1"),
    (
      lambda: schedules.triangle(0.0, 1.0, cycle_steps=4, shape="sine"),
      "shape is 'sine'",
    ),
    (lambda: schedules.by_name("step", 0.1, steps=1), "schedule is 'step'"),
  ],
)
def test_errors_name_the_value(call, text):
  with pytest.raises(ValueError, match=text):
    call()


def test_over_all_epochs():
  decayed = schedules.over(Recipe(lr=0.2, epochs=5))(4)
  assert float(decayed(10)) == pytest.approx(0.1)  # half of 20 steps
  assert float(decayed(20)) == pytest.approx(0)
  assert float(schedules.over(Recipe(lr=0.2, epochs=0))(4)(0)) > 0


@pytest.mark.parametrize("steps", [3, 1024, 1025])
def test_a_list_has_the_rates_of_its_schedule(steps):
  wave = schedules.triangle(1.0, jnp.float32(3.0), cycle_steps=4)
  rates = schedules.listed(wave, steps)
  step = jnp.arange(steps)
  np.testing.assert_array_equal(rates(step), jax.vmap(wave)(step))
  assert float(rates(jnp.int32(2))) == 3.0
