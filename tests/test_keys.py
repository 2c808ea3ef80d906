"""No key is derived twice: by hand, and where no contract test looks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from jax import random

from bdjax.data import augment, distort
from bdjax.machine import keys
from bdjax.methods import registry
from bdjax.runs import evaluate, experiment
from bdjax.training import engine, learn, loop, simclr
from bdjax.types import Recipe

KEY = random.key(0)


def split_and_folded(key, i):
  return random.split(key)[1], random.fold_in(key, 1)


def split_and_folded_by_a_number_to_come(key, i):
  return random.bits(random.split(key)[0]), random.fold_in(key, i)


def split_in_two_programs(key, i):
  one = jax.jit(lambda key: random.bits(random.split(key)[0]))
  return one(key), random.split(key, 4)[0]


def split_inside_a_scan(key, i):
  def body(total, k):
    a, b = random.split(k)
    return total + random.uniform(a), random.uniform(random.fold_in(k, 0))

  return jax.lax.scan(body, 0.0, random.split(key, 3))


def split_one_by_one_and_all_at_once(key, i):
  ks = random.split(key, 3)
  return random.bits(ks[1]), jax.vmap(random.bits)(ks)


def drawn_twice(key, i):
  return random.uniform(key), random.uniform(key)


@pytest.mark.parametrize(
  "program",
  [
    split_and_folded,
    split_and_folded_by_a_number_to_come,
    split_in_two_programs,
    split_inside_a_scan,
    split_one_by_one_and_all_at_once,
    drawn_twice,
  ],
)
def test_a_key_that_is_derived_twice_is_found(program, reused):
  with jax.debug_key_reuse(False):
    assert reused(jax.make_jaxpr(program)(KEY, 1))


def by_purpose(key, i):
  one = random.bits(keys.key_for(key, "one"))
  return one, random.split(key), random.fold_in(key, 2)


def in_one_branch_or_the_other(key, i):
  def one(key):
    return random.bits(random.split(key)[0])

  def other(key):
    return random.bits(random.fold_in(key, 0))

  return jax.lax.cond(i > 0, one, other, key)


def each_of_many(key, i):
  def one(key):
    a, b = random.split(key)
    return random.bits(a), random.split(b, 3)

  return jax.vmap(one)(random.split(key, 3))


def in_a_loop(key, i):
  def body(j, total):
    return total + random.uniform(random.fold_in(key, j))

  return jax.lax.fori_loop(0, i, body, 0.0)


@pytest.mark.parametrize(
  "program",
  [by_purpose, in_one_branch_or_the_other, each_of_many, in_a_loop],
)
def test_keys_that_are_derived_once_are_not(program, reused):
  assert reused(jax.make_jaxpr(program)(KEY, 1)) == []


def test_folding_is_splitting():
  """Why there must be purposes; else all this is not needed."""
  folded = random.key_data(random.fold_in(KEY, 1))
  assert (folded == random.key_data(random.split(KEY, 3)[1])).all()


class Dropping(nn.Module):
  @nn.compact
  def __call__(self, x, *, train):
    x = x.reshape(len(x), -1)
    return nn.Dense(4)(nn.Dropout(0.5, deterministic=not train)(x)), {}


def test_dropout_and_augmentation_have_their_own_keys(toy, reused):
  model = Dropping()
  variables = model.init(KEY, jnp.zeros((1, 8, 8, 3)), train=False)
  init, step = learn.supervised(
    model, optax.sgd(0.1), view=augment.standard(padding=1)
  )
  batch = engine.take(toy, jnp.arange(16))
  assert reused(jax.make_jaxpr(step)(KEY, init(variables), batch)) == []


def test_an_attack_on_a_trained_model_draws_its_own_poisons(task, reused):
  make = registry.get("attacks", "trojaning")
  attack = make(num_classes=4, size=2, init="pretrained")

  def plant(key, task):
    return attack.plant(key, task, loop.scan_fit)

  assert reused(jax.make_jaxpr(plant)(KEY, task)) == []


def test_scores_use_a_key_once(task, toy, model, reused):
  attack = registry.get("attacks", "wanet")(num_classes=4)
  defense = registry.get("defenses", "strip")()

  def scores(key, task):
    k_cell, k_score = random.split(key)
    backdoor = experiment.plant(k_cell, attack, task, loop.scan_fit)
    access = experiment.access_to(backdoor, task, toy)
    state = experiment.defend(k_cell, defense, access, loop.scan_fit)
    return evaluate.suspicions(
      k_score,
      toy,
      backdoor.params,
      attack=attack,
      suspect=lambda key, images: defense.suspect(key, images, access, state),
      batch_size=32,
    )

  assert reused(jax.make_jaxpr(scores)(KEY, task)) == []


def test_contrastive_training_uses_a_key_once(toy, reused):
  encoder = registry.get("models", "cnn")(0, width=4)

  def pretrain(key):
    return simclr.pretrain(
      key,
      toy,
      loop.scan_fit,
      Recipe(epochs=1, batch_size=16),
      encoder=encoder,
      temperature=0.5,
    )

  assert reused(jax.make_jaxpr(pretrain)(KEY)) == []


def test_views_use_a_key_once(toy, reused):
  batch = engine.take(toy, jnp.arange(4))
  for view in (augment.standard(), distort.simclr()):
    assert reused(jax.make_jaxpr(view)(KEY, batch)) == []
