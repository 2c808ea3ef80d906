import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry
from bdjax.training import engine, loop
from bdjax.types import Batch

nft = registry.module("defenses", "nft")
NORMS = ("bn1", "bn2", "bn3")


def make(**args):
  return nft.make(**({"batch_size": 16, "iterations": 4} | args))


def norms(paths):
  """Returns variables with batch norms of two channels at some paths."""
  tree = {"params": {}, "batch_stats": {}}
  for path in paths:
    *above, name = path.split("/")
    for kind, leaves in (("params", "scale bias"), ("batch_stats", "mean var")):
      inner = tree[kind]
      for part in above:
        inner = inner.setdefault(part, {})
      inner[name] = {leaf: jnp.ones(2) for leaf in leaves.split()}
  return tree


@pytest.mark.parametrize("under", ["", "backbone/"])
def test_masks_lie_inside_blocks_where_there_are_any(under):
  blocks = [f"{under}layer{i}/bn{j}" for i in ("1_0", "2_0") for j in (1, 2)]
  inside = nft.ones(norms([f"{under}bn1", *blocks]))
  assert sorted(inside) == blocks
  assert sorted(nft.ones(norms([f"{under}{x}" for x in NORMS]))) == [
    f"{under}{x}" for x in NORMS
  ]
  assert all((mask == 1).all() for mask in inside.values())


def test_the_lowest_mask_falls_from_layer_to_layer():
  masks = {name: jnp.ones(2) for name in ("bn2", "bn3", "bn1")}
  low = nft.lowest(masks, alpha=0.8, beta=0.5)
  wanted = {"bn1": 0.485225, "bn2": 0.294304, "bn3": 0.178504}
  assert low == pytest.approx(wanted, rel=1e-5)


def test_the_tenth_block_follows_the_ninth():
  names = [f"layer2_{i}/bn1" for i in (10, 9)] + ["layer1_0/bn2"]
  low = nft.lowest(dict.fromkeys(names, jnp.ones(2)), alpha=1.0, beta=1.0)
  assert [float(low[name]) for name in names] == pytest.approx(
    np.exp([-3, -2, -1]), rel=1e-5
  )


def test_the_rate_falls_by_half_a_cosine():
  rate = nft.falling(0.05, 0.02, steps=4)
  found = [float(rate(t)) for t in range(5)]
  c = 2**-0.5
  wanted = [0.05, 0.035 + 0.015 * c, 0.035, 0.035 - 0.015 * c, 0.02]
  assert found == pytest.approx(wanted, rel=1e-5)


def mixed(mixup, seed=0):
  """Returns shares of images that are one-hot vectors of their places."""
  images = jnp.eye(6).reshape(6, 1, 2, 3)
  batch = Batch(images, jnp.arange(6), jnp.arange(6))
  found, others, share = nft.mixed(jax.random.key(seed), batch, mixup)
  return found.reshape(6, 6), others, share


def test_images_are_mixed_by_one_share_in_some_order():
  found, others, share = mixed(1.0)
  assert sorted(others.tolist()) == [0, 1, 2, 3, 4, 5]
  assert others.tolist() != [0, 1, 2, 3, 4, 5] and 0.01 < share < 0.99
  eye = np.eye(6)
  wanted = share * eye + (1 - share) * eye[np.asarray(others)]
  np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_low_mixup_mixes_hardly():
  shares = np.array([mixed(0.01, seed)[2] for seed in range(12)])
  assert (np.minimum(shares, 1 - shares) < 0.01).mean() > 0.7
  assert (shares > 0.5).any() and (shares < 0.5).any()


def test_the_entropy_weighs_both_labels():
  p = np.asarray([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]])
  found = nft.entropy(
    jnp.float32(np.log(p)), jnp.array([0, 2]), jnp.array([2, 1]), 0.75
  )
  terms = 0.75 * np.log(0.7 * 0.4) + 0.25 * np.log(0.1 * 0.3)
  assert found == pytest.approx(-terms / 2, rel=1e-5)


def by_hand(access, batch, *, steps, lr, eta):
  """Returns masks and statistics after steps of SGD with momentum .95."""
  suspect, model = access.variables, access.model
  params, stats = suspect["params"], suspect["batch_stats"]
  masks = {name: jnp.ones_like(params[name]["scale"]) for name in NORMS}
  speed = {name: 0.0 for name in NORMS}

  def masked(masks):
    inside = {
      name: {**params[name], "scale": params[name]["scale"] * masks[name]}
      for name in NORMS
    }
    return {**params, **inside}

  for i in range(steps):
    key = jax.random.split(jax.random.key(i), 3)[1]
    images, others, share = nft.mixed(key, batch, 1.0)

    def loss(masks, stats=stats, images=images, others=others, share=share):
      (logits, _), new = model.apply(
        {"params": masked(masks), "batch_stats": stats},
        images,
        train=True,
        mutable="batch_stats",
      )
      logp, rows = jax.nn.log_softmax(logits), np.arange(16)
      one, two = logp[rows, batch.label], logp[rows, others]
      far = sum(jnp.abs(1 - mask).sum() for mask in masks.values())
      per_class = 64 / 4
      value = -(share * one + (1 - share) * two).mean() + eta / per_class * far
      return value, new["batch_stats"]

    grads, stats = jax.jit(jax.grad(loss, has_aux=True))(masks)
    for place, name in enumerate(NORMS, 1):
      speed[name] = 0.95 * speed[name] + grads[name]
      low = 0.9 * np.exp(-0.3 * place)
      masks[name] = jnp.clip(masks[name] - lr * speed[name], low, 1.0)
  return {"params": masked(masks), "batch_stats": stats}, masks


def test_steps_by_hand(suspect):
  batch = engine.take(suspect.clean, jnp.arange(16))
  seen = {}

  def fit(key, step, state, data, **how):
    run = jax.jit(step)
    for i in range(3):
      state, metrics = run(jax.random.key(i), state, batch)
    seen.update(masks=state.masks, metrics=metrics)
    return state, {}

  # A rate this high brings masks to either bound.
  args = {"lr": 10.0, "lr_end": 10.0, "alpha": 0.9, "beta": 0.3, "eta": 0.1}
  found = make(**args).defend(jax.random.key(0), suspect, fit).variables
  wanted, masks = by_hand(suspect, batch, steps=3, lr=10.0, eta=0.1)
  chex.assert_trees_all_close(seen["masks"], masks, rtol=1e-3, atol=1e-4)
  chex.assert_trees_all_close(found, wanted, rtol=1e-3, atol=1e-4)
  low = {name: masks[name].min() for name in NORMS}
  assert low["bn1"] == pytest.approx(0.9 * np.exp(-0.3))
  between = [(mask > low[name]) & (mask < 1) for name, mask in masks.items()]
  assert sum(map(jnp.sum, between)) > 0
  assert float(seen["metrics"]["lr"]) == pytest.approx(10.0)


def test_iterations_become_whole_epochs_at_a_falling_rate(suspect, asked):
  make(iterations=9).defend(jax.random.key(0), suspect, asked)
  assert asked.data is suspect.clean  # 64 images: 4 steps an epoch
  assert asked.how == {"epochs": 3, "batch_size": 16, "name": "nft"}
  wave = [(1 + np.cos(np.pi * t / 12)) / 2 for t in range(3)]
  wanted = [0.02 + 0.03 * share for share in wave]
  assert asked.rates == pytest.approx(wanted, rel=1e-5)


def test_no_iteration_masks_nothing(suspect):
  defense = make(iterations=0)
  found = defense.defend(jax.random.key(0), suspect, loop.host_fit())
  chex.assert_trees_all_equal(found.variables, suspect.variables)


def test_a_model_without_batch_norm_is_refused(suspect):
  variables = {"params": {"linear": {"kernel": jnp.ones((2, 3))}}}
  dense = suspect.replace(variables=variables)
  with pytest.raises(ValueError, match=r"^none of the layers \['linear'\]"):
    make().defend(jax.random.key(0), dense, None)


@pytest.mark.parametrize(
  ("argument", "value"),
  [("eta", -1.0), ("alpha", 1.5), ("beta", -0.5), ("mixup", 0), ("lr_end", -1)],
)
def test_bad_arguments_are_named(argument, value):
  with pytest.raises(
    ValueError, match=rf"nft\.{argument} is {value}, but must"
  ):
    nft.make(**{argument: value})
