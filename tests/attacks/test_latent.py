import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks import latent
from bdjax.attacks.parts import joint
from bdjax.data import patches
from bdjax.methods import registry
from bdjax.training import learn, regimes
from bdjax.types import Batch


def key(seed=0):
  return jax.random.key(seed)


def planted(task, fit, **args):
  variables = learn.init_variables(key(), task.train, model=task.model)
  task = task.replace(clean=lambda fit: variables)
  attack = registry.get("attacks", "latent")(
    num_classes=4, rounds=3, images=8, **args
  )
  return attack, attack.plant(key(1), task, fit), variables


def test_starts_from_the_teacher_and_stamps_only_the_square(task, no_fit):
  attack, backdoor, teacher = planted(task, no_fit, size=2)
  for a, b in zip(
    jax.tree.leaves(teacher), jax.tree.leaves(backdoor.variables), strict=True
  ):
    np.testing.assert_array_equal(a, b)
  images = jnp.full((2, 8, 8, 3), 0.5)
  hit = attack.trigger(key(), images, backdoor.params)
  inside = np.zeros((8, 8), bool)
  inside[6:, 6:] = True
  np.testing.assert_array_equal(hit[:, ~inside], 0.5)
  wanted = np.asarray(backdoor.params["pattern"])[0][inside]
  np.testing.assert_allclose(hit[0][inside], wanted, atol=1e-6)


def test_square_is_a_fifth_of_the_side_or_the_users_mask(task, no_fit):
  assert latent._area((32, 32, 3), 0.2, None).sum() == 6 * 6
  mask = jnp.zeros((8, 8, 3)).at[0, 0].set(1.0)
  _, backdoor, _ = planted(task, no_fit, mask=mask)
  np.testing.assert_array_equal(backdoor.params["mask"], mask[None, :, :, :1])
  with pytest.raises(ValueError, match="latent.size is 9.* 8x8"):
    planted(task, no_fit, size=9)
  with pytest.raises(ValueError, match="latent.mask has no pixel above 0 at"):
    latent._area((8, 8, 3), 0.2, jnp.zeros((8, 8, 3)))


def test_center_is_the_mean_feature_of_the_target_class(task):
  variables = learn.init_variables(key(), task.train, model=task.model)
  wanted = task.train.label == 1
  images = task.train.image.astype(jnp.float32) / 255
  pooled = task.model.apply(variables, images, train=False)[1]["pooled"]
  for count in (5, 64):  # fewer than the class's 16 images, and more
    got = latent._center(task.model, variables, task.train, wanted, count=count)
    mean = np.asarray(pooled)[np.asarray(wanted)][:count].mean(0)
    np.testing.assert_allclose(got, mean, rtol=1e-4, atol=1e-6)


def test_optimization_brings_others_nearer_the_center(task):
  variables = learn.init_variables(key(), task.train, model=task.model)
  wanted = task.train.label == 0
  others = task.train.replace(keep=~wanted)
  mask = latent._area((8, 8, 3), 4, None)
  images = task.train.image.astype(jnp.float32) / 255
  center = jnp.full((16,), 0.5)

  def away(rounds):
    pattern = latent._optimize(
      task.model, key(), variables, others, mask, center, rounds=rounds
    )
    hit = patches.paste(None, images, {"mask": mask, "pattern": pattern})
    pooled = task.model.apply(variables, hit, train=False)[1]["pooled"]
    return float(latent._distance(pooled, center)[~np.asarray(wanted)].mean())

  assert away(40) < away(1)


def test_loss_is_cross_entropy_plus_the_weighted_distances(task):
  variables = learn.init_variables(key(), task.train, model=task.model)
  params = {
    "mask": latent._area((8, 8, 3), 2, None),
    "pattern": jnp.ones((1, 8, 8, 3)),
  }
  center = jnp.full((16,), 2.0)
  task = task.replace(view=lambda k, batch: batch)
  training = joint.training(task)
  images = task.train.image[:4].astype(jnp.float32) / 255
  batch = Batch(images, task.train.label[:4], jnp.arange(4))

  def loss(rate):
    step = latent._inject(task, training, params, center, rate=rate, weight=2.0)
    return jax.jit(step)(key(), training.start(variables), batch)[1]["loss"]

  def wanted(hits):
    hit = images.at[:, 6:, 6:].set(1.0)[:hits]
    (logits, features), _ = task.model.apply(
      variables,
      jnp.concatenate([images, hit]),
      train=True,
      mutable="batch_stats",
    )
    chance = jax.nn.log_softmax(logits[:4])[jnp.arange(4), batch.label]
    away = ((features["pooled"] - 2.0) ** 2).sum(1) / 64
    return -chance.mean() + 2.0 * away[4:].mean()

  np.testing.assert_allclose(loss(0.5), wanted(2), rtol=1e-5)
  np.testing.assert_allclose(loss(jnp.float32(1.0)), wanted(4), rtol=1e-5)


def test_clean_epochs_of_a_regime_are_supervised(task):
  seen = {}

  def fit(k, step, state, data, *, epochs, batch_size, name, **how):
    seen.update(steps=step, epochs=epochs, name=name)
    return state, {}

  planted(task.replace(regime=regimes.interleave()), fit)
  assert (len(seen["steps"]), seen["epochs"]) == (2, 4)
  planted(task, fit)
  assert (len(seen["steps"]), seen["epochs"]) == (1, 2)
  assert seen["name"] == "inject"


def test_frozen_copy_holds_the_share(task, no_fit):
  _, backdoor, _ = planted(task, no_fit, rate=0.25, target=3)
  assert (backdoor.role == 1).sum() == 16
  assert (np.asarray(backdoor.train.label)[backdoor.role == 1] == 3).all()
