import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.defenses.parts import hypergradient
from bdjax.methods import registry
from bdjax.training import engine, loop

i_bau = registry.module("defenses", "i_bau")


def quadratic(terms, a=0.8, b=3.0, step=0.5, delta=2.0, theta=0.7):
  """Inner a (d - b t)^2 / 2, outer (d - 1)^2 / 2 + t^2 / 2."""

  def outer(delta, theta):
    return (delta - 1) ** 2 / 2 + theta**2 / 2, delta

  def towards(delta, theta):
    return delta - step * a * (delta - b * theta)

  args = jnp.float32(delta), jnp.float32(theta)
  return hypergradient.hypergradient(outer, towards, *args, terms=terms)


def test_hypergradient_sums_its_series():
  (value, said), found = quadratic(terms=3)
  assert value == pytest.approx(0.745) and said == 2
  # dP/dd = 1 - .4 = .6; v = (1 + .6 + .36)(2 - 1); dP/dt = .4 * 3
  assert found == pytest.approx(0.7 + 1.96 * 1.2, rel=1e-5)
  assert quadratic(terms=1)[1] == pytest.approx(0.7 + 1.2, rel=1e-5)


def test_hypergradient_tends_to_the_total_derivative():
  # The solution is d = 3 t, whose slope is 3: t + 3 (d - 1).
  assert quadratic(terms=60)[1] == pytest.approx(0.7 + 3.0, rel=1e-5)


def asked_of(suspect, **args):
  """Returns what `fit` is asked, its steps compiled."""
  asked = {}

  def fit(key, step, state, data, **how):
    del key
    asked.update(step=[*map(jax.jit, step)], state=state, data=data, how=how)
    return state, {}

  defense = i_bau.make(rounds=3, batch_size=16, share=0.2, **args)
  defense.defend(jax.random.key(0), suspect, fit)
  return asked


@pytest.fixture(scope="module")
def asked(suspect):
  return asked_of(suspect, radius=0.5)


@pytest.fixture(scope="module")
def batch(suspect):
  return engine.take(suspect.clean, jnp.arange(16))


def test_rounds_are_pairs_of_passes_over_the_clean_subset(asked, suspect):
  assert asked["data"] is suspect.clean
  assert asked["how"] == {"epochs": 6, "batch_size": 16, "name": "i_bau"}
  assert len(asked["step"]) == 2
  chex.assert_trees_all_equal(
    asked["state"].victim.variables, suspect.variables
  )


@pytest.mark.parametrize("bounded", [True, False])
def test_perturbation_climbs_on_the_models_own_answers(
  bounded, asked, suspect, batch
):
  how = asked if bounded else asked_of(suspect, bounded=False)
  delta = jax.random.normal(jax.random.key(3), (1, 8, 8, 3)) / 10
  state = how["state"].replace(delta=delta, step=jnp.int32(1))
  after, _ = how["step"][0](jax.random.key(0), state, batch)

  @jax.jit
  @jax.grad
  def slope(delta):
    def answer(images):
      images = jnp.clip(images, 0, 1) if bounded else images
      return suspect.model.apply(suspect.variables, images, train=False)[0]

    guess = answer(batch.image).argmax(-1)
    logp = jax.nn.log_softmax(answer(batch.image + delta))
    gain = -jnp.take_along_axis(logp, guess[:, None], 1).mean()
    return gain - 1e-3 * (delta**2).sum()

  wanted = delta + 10 * slope(delta)
  size = float(jnp.linalg.norm(wanted))
  assert size > 0.5
  if bounded:
    wanted = wanted * 0.5 / size
  np.testing.assert_allclose(after.delta, wanted, rtol=1e-3, atol=1e-5)
  chex.assert_trees_all_equal(after.victim, state.victim)


def test_every_pass_starts_from_zero(asked, batch):
  perturb, state = asked["step"][0], asked["state"]
  far = state.replace(delta=state.delta.at[0, 0].set(0.1))
  fresh, _ = perturb(jax.random.key(0), state, batch)
  # 64 images in batches of 16: a pass has four steps.
  reset, _ = perturb(jax.random.key(0), far.replace(step=jnp.int32(8)), batch)
  going, _ = perturb(jax.random.key(0), far.replace(step=jnp.int32(6)), batch)
  np.testing.assert_array_equal(fresh.delta, reset.delta)
  assert (going.delta != reset.delta).any()


def test_unlearning_keeps_statistics_and_perturbation(asked, batch):
  delta = jnp.full((1, 8, 8, 3), 0.01)
  state = asked["state"].replace(delta=delta)
  after, metrics = asked["step"][1](jax.random.key(0), state, batch)
  np.testing.assert_array_equal(after.delta, delta)
  new, old = after.victim.variables, state.victim.variables
  chex.assert_trees_all_equal(new["batch_stats"], old["batch_stats"])
  moved = jax.tree.map(
    lambda a, b: float(abs(a - b).max()), new["params"], old["params"]
  )
  # Adam's first step has the size of its rate.
  assert max(jax.tree.leaves(moved)) == pytest.approx(1e-3, rel=1e-3)
  assert np.isfinite(metrics["loss"])


def test_hypergradient_of_trees_is_the_one_through_the_last_steps():
  """At the solution, K terms are the gradient through K more steps."""
  keys = jax.random.split(jax.random.key(0), 3)
  params = {
    "w": jax.random.normal(keys[0], (5, 4)),
    "v": jax.random.normal(keys[1], (4,)),
  }
  x = jax.random.normal(keys[2], (6, 5))

  def value(delta, params):
    return (jnp.tanh((x + delta[None]) @ params["w"]) @ params["v"]).mean()

  def towards(delta, params):
    inner = lambda d: (d**2).sum() - value(d, params)  # noqa: E731
    return delta - 0.2 * jax.grad(inner)(delta)

  def steps(params, start, count):
    def step(delta, _):
      return towards(delta, params), None

    return jax.lax.scan(step, start, None, length=count)[0]

  @jax.jit
  def both(params):
    solution = steps(params, jnp.zeros(5), 200)
    _, found = hypergradient.hypergradient(
      lambda delta, params: (value(delta, params), ()),
      towards,
      solution,
      params,
      terms=4,
    )
    through = jax.grad(lambda p: value(steps(p, solution, 4), p))(params)
    direct = jax.grad(lambda p: value(solution, p))(params)
    return found, through, direct

  found, through, direct = both(params)
  chex.assert_trees_all_close(found, through, rtol=1e-4, atol=1e-6)
  assert abs(found["w"] - direct["w"]).max() > 1e-2


def test_a_share_of_a_batch_is_perturbed_and_never_none():
  for size, share, count in ((100, 0.01, 1), (256, 0.01, 2), (16, 0.01, 1)):
    assert i_bau.some(jax.random.key(0), size, share).sum() == count
  first, other = (i_bau.some(jax.random.key(i), 50, 0.5) for i in (1, 2))
  assert (first != other).any()


def test_perturbation_is_shown_around_gray(suspect):
  delta = jnp.zeros((1, 8, 8, 3)).at[0, 2, 3].set(jnp.asarray([0.3, 0, -0.4]))

  def fit(key, step, state, data, **how):
    return state.replace(delta=delta), {}

  memo = i_bau.make(batch_size=16).defend(None, suspect, fit).memo
  np.testing.assert_allclose(memo["perturbation"][0, 2, 3], [0.8, 0.5, 0.1])
  assert (memo["perturbation"] != 0.5).sum() == 2
  assert memo["norm"] == pytest.approx(0.5)


def test_no_rounds_is_the_identity(suspect):
  defense = i_bau.make(rounds=0, batch_size=16)
  state = defense.defend(jax.random.key(0), suspect, loop.host_fit())
  chex.assert_trees_all_equal(state.variables, suspect.variables)
