import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bdjax.methods import registry
from bdjax.training import engine, learn
from bdjax.types import Batch

sau = registry.module("defenses", "sau")


def softmax(logits):
  powers = np.exp(logits - logits.max(-1, keepdims=True))
  return powers / powers.sum(-1, keepdims=True)


def lost(logits, classes, label, betas):
  """Returns the perturbation's objective, image by image, in numpy."""
  total = 0.0
  for i, y in enumerate(label):
    p, q = (softmax(one[i]) for one in logits)
    now = p.argmax(), q.argmax()
    fooled = [a != b[i] for a, b in zip(now, classes, strict=True)]
    for f, r in zip(fooled, (p, q), strict=True):
      total += 0 if f else betas[0] * np.log(r[y]) / 2
    if not (all(fooled) and now[0] == now[1]):
      m = (p + q) / 2
      js = (p * np.log(p / m)).sum() / 2 + (q * np.log(q / m)).sum() / 2
      total += betas[1] * js
  return total / len(label)


def test_divergence_by_hand():
  one = jnp.asarray([[0.0, 0.0], [1.0, 3.0]])
  other = jnp.asarray([[40.0, -40.0], [2.0, 4.0]])
  # (1/2, 1/2) and (1, 0) have the middle (3/4, 1/4).
  halves = 0.5 * np.log(2 / 3) + 0.5 * np.log(2)
  wanted = [(halves + np.log(4 / 3)) / 2, 0.0]
  np.testing.assert_allclose(
    sau.divergence(one, other), wanted, rtol=1e-5, atol=1e-6
  )


def test_losses_count_who_resists():
  logits = [
    np.asarray([[2.0, 0, 1], [0, 3, 1], [1, 0, 2], [1, 0, 2]]),
    np.asarray([[2.0, 1, 0], [0, 2, 1], [0, 1, 0], [1, 2, 4]]),
  ]
  # Nobody is fooled; both and alike; both and apart; the model alone.
  classes = [np.asarray([0, 0, 0, 0]), np.asarray([0, 0, 0, 2])]
  label = np.asarray([0, 2, 0, 1])
  arrays = [jnp.float32(one) for one in logits]
  found = sau.losses(arrays, [*map(jnp.int32, classes)], jnp.int32(label))
  for betas, value in zip(np.eye(2), found, strict=True):
    wanted = lost(logits, classes, label, betas)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
  p, q = softmax(logits[0][0]), softmax(logits[1][0])
  by_hand = (np.log(p[0]) + np.log(q[0]) + np.log(softmax(logits[1][3])[1])) / 8
  np.testing.assert_allclose(found[0], by_hand, rtol=1e-5)


def test_risk_by_hand():
  p = np.asarray([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.0005, 0.5, 0.4995]])
  lured, wrong = jnp.asarray([2, 1, 0]), jnp.asarray([True, False, True])
  logits = jnp.float32(np.log(p))
  value, slope = jax.value_and_grad(sau.risk)(logits, lured, wrong)
  wanted = (-np.log(0.5 + 1e-6) - np.log(0.999 + 1e-6)) / 3
  assert value == pytest.approx(wanted, rel=1e-5)
  # d -log(1 - p_c) / dz = p_c (1[c] - p) / (1 - p_c): here 1 - p_c is p_c.
  np.testing.assert_allclose(
    slope[0], np.asarray([-0.2, -0.3, 0.5]) / 3, rtol=1e-4
  )
  np.testing.assert_array_equal(slope[1:], 0)


def test_perturbation_is_that_of_numeric_slopes():
  rng = np.random.default_rng(0)
  pair = [rng.normal(size=(4, 3)) for _ in range(2)]
  images, label = rng.random((6, 2, 2, 1)), np.asarray([0, 1, 2, 0, 1, 2])

  def logits(delta):
    return [3 * (images + delta).reshape(6, 4) @ one for one in pair]

  classes = [one.argmax(-1) for one in logits(0.0)]
  delta, kinds = np.full(images.shape, 0.6), set()
  for _ in range(4):
    now = [one.argmax(-1) for one in logits(delta)]
    kinds |= {*zip(now[0] != classes[0], now[1] != classes[1], strict=True)}
    slope = np.zeros(delta.shape)
    for place in np.ndindex(delta.shape):
      ends = []
      for h in (1e-5, -1e-5):
        moved = delta.copy()
        moved[place] += h
        ends.append(lost(logits(moved), classes, label, (0.2, 1.5)))
      slope[place] = ends[0] - ends[1]
    slope[abs(slope) < 1e-12] = 0
    delta = np.clip(delta - 0.4 * np.sign(slope), -0.6, 0.6)
  assert len(kinds) == 4 and len(np.unique(delta.round(6))) > 3

  def answer(weights, x):
    return 3 * x.reshape(6, 4) @ weights

  found = sau.perturbation(
    answer,
    [*map(jnp.float32, pair)],
    [*map(jnp.int32, classes)],
    Batch(jnp.float32(images), jnp.int32(label), jnp.arange(6)),
    sau.Rules(0.6, 0.4, 4, beta_adv=0.2, beta_share=1.5),
  )
  np.testing.assert_allclose(found, delta, atol=1e-5)


@pytest.fixture(scope="module")
def sure(suspect):
  """Returns the suspect with a last layer that tells classes apart."""
  params = suspect.variables["params"]
  kernel = params["linear"]["kernel"] * 30
  params = params | {"linear": params["linear"] | {"kernel": kernel}}
  return suspect.replace(variables=suspect.variables | {"params": params})


def by_hand(access, batch, rules, *, moving):
  """Returns the variables after two steps of SGD, and who was wrong."""
  start, model = access.variables, access.model

  @jax.jit
  def answer(variables, images):
    return model.apply(variables, images, train=False)[0]

  @jax.jit
  def perturbation(pair, classes):
    return sau.perturbation(answer, pair, classes, batch, rules)

  now, seen = start, []
  for _ in range(2):
    pair = (now, start)
    classes = [answer(one, batch.image).argmax(-1) for one in pair]
    moved = batch.image + perturbation(pair, classes)
    lured = np.asarray(answer(start, moved).argmax(-1))
    own = np.asarray(classes[1])
    rows = [i for i in range(16) if lured[i] not in (batch.label[i], own[i])]
    seen.append(len(rows))
    images = jnp.concatenate([batch.image, moved])

    def loss(params, now=now, images=images, lured=lured, rows=rows):
      how = {"train": True, "mutable": "batch_stats"} if moving else {}
      out = model.apply(
        now | {"params": params}, images, **({"train": False} | how)
      )
      (logits, _), new = out if moving else (out, {})
      logp = jax.nn.log_softmax(logits)
      p = jnp.exp(logp[16:]).at[np.arange(16), lured].set(0)
      rest = p[np.asarray(rows)].sum(-1)
      terms = -jnp.log(1e-6 + jnp.minimum(rest, 0.999))
      entropy = -logp[np.arange(16), batch.label].mean()
      return entropy + 0.7 * terms.sum() / 16, new

    grads, new = jax.jit(jax.grad(loss, has_aux=True))(now["params"])
    params = jax.tree.map(lambda w, g: w - 0.01 * g, now["params"], grads)
    now = now | new | {"params": params}
  return now, seen


@pytest.mark.parametrize(("moving", "ascents"), [(False, 2), (True, 0)])
def test_two_steps_by_hand(moving, ascents, sure):
  rules = sau.Rules(radius=0.3, ascents=ascents)
  batch = engine.take(sure.clean, jnp.arange(16))
  tx = optax.sgd(0.01)
  step = jax.jit(
    sau.unlearning(sure.model, tx, lambda t: 0.5, rules, 0.7, moving=moving)
  )
  start = sure.variables
  state = sau.Unlearning(learn.begun(start, tx), start)
  for i in range(2):
    state, metrics = step(jax.random.key(i), state, batch)
  wanted, seen = by_hand(sure, batch, rules, moving=moving)
  assert all(0 < count < 16 for count in seen)
  assert metrics["lr"] == 0.5
  found = state.victim.variables
  chex.assert_trees_all_equal(state.suspect, start)
  chex.assert_trees_all_close(found, wanted, rtol=1e-4, atol=1e-5)
  stats = [tree["batch_stats"] for tree in (found, start)]
  same = jax.tree.map(lambda a, b: bool((a == b).all()), *stats)
  assert jax.tree.all(same) == (not moving)


def test_what_is_asked_of_fit(sure, asked):
  def moved(**args):
    args = {"batch_size": 16, "lr": 0.01, "epochs": 1} | args
    defense = sau.make(**args)
    found = defense.defend(jax.random.key(0), sure, asked).variables
    return jax.tree.map(jnp.subtract, found["params"], sure.variables["params"])

  plain = moved()
  assert asked.data is sure.clean
  assert asked.how == {"epochs": 1, "batch_size": 16, "name": "sau"}
  # Adam's first step has the size of its rate.
  size = max(float(abs(x).max()) for x in jax.tree.leaves(plain))
  assert asked.rates == pytest.approx([0.01]) and size == pytest.approx(
    0.01, rel=1e-3
  )
  for other in ({"beta_sar": 0.0}, {"radius": 0.01}, {"weight_decay": 0.5}):
    kernel = moved(**other)["linear"]["kernel"]
    assert (kernel != plain["linear"]["kernel"]).any(), other


@pytest.mark.parametrize(
  ("argument", "value"), [("radius", 0), ("ascents", -1), ("beta_sar", -0.5)]
)
def test_bad_arguments_are_named(argument, value):
  with pytest.raises(
    ValueError, match=rf"sau\.{argument} is {value}, but must"
  ):
    sau.make(**{argument: value})
