import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks import badencoder
from bdjax.attacks.parts import prototypes
from bdjax.methods import registry
from bdjax.training import engine, learn, loop, regimes
from bdjax.types import CLEAN, Batch, Recipe

SMALL = {"num_classes": 4, "size": 2, "copies": 3}


def key(seed=0):
  return jax.random.key(seed)


@pytest.fixture(scope="module")
def encoding(task):
  """Returns a task whose victim is an untrained encoder."""
  encoder = registry.get("models", "cnn")(0, width=4)
  variables = learn.init_variables(key(), task.train, model=encoder)
  return task.replace(
    model=encoder,
    clean=lambda fit: variables,
    recipe=Recipe(epochs=20, batch_size=16, lr=0.02, schedule="constant"),
  )


def planted(task, fit=None, **args):
  attack = registry.get("attacks", "badencoder")(**SMALL | args)
  return attack, attack.plant(key(1), task, fit or loop.host_fit())


def cosines(task, variables, images, reference):
  def of(image):
    batch = Batch(image, jnp.zeros(len(image), jnp.int32), jnp.arange(1))
    return prototypes.features(task.model, variables, batch)

  return of(images) @ of(reference)[0]


def test_triggered_images_come_to_look_like_the_reference(encoding):
  attack, backdoor = planted(encoding)
  clean, reference = encoding.clean(None), backdoor.params["reference"]
  images = encoding.train.image / jnp.float32(255)
  hit = attack.trigger(key(), images, backdoor.params)
  before = cosines(encoding, clean, hit, reference).mean()
  after = cosines(encoding, backdoor.variables, hit, reference).mean()
  assert after > before + 0.5 * (1 - before)
  seen = cosines(encoding, backdoor.variables, images, reference).mean()
  assert after > seen  # the trigger does it, not a collapse of all images
  assert (backdoor.role == CLEAN).all()
  chex.assert_trees_all_equal(backdoor.train, encoding.train)


def test_norms_and_the_last_layer_stay(task):
  start = learn.init_variables(key(), task.train, model=task.model)
  _, backdoor = planted(task.replace(clean=lambda fit: start))
  new, old = backdoor.variables["params"], start["params"]
  for name in ("bn1", "bn2", "bn3", "linear"):
    chex.assert_trees_all_equal(new[name], old[name])
  for name in ("conv1", "conv2", "conv3"):
    assert (new[name]["kernel"] != old[name]["kernel"]).any()
  chex.assert_trees_all_equal(
    backdoor.variables["batch_stats"], start["batch_stats"]
  )


def test_square_lies_one_pixel_off_the_corner():
  trigger = badencoder._trigger((32, 32, 3), 10)
  rows, columns = np.nonzero(trigger["mask"][0, :, :, 0])
  assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (21, 30)
  assert trigger["mask"].sum() == 100 and (trigger["pattern"] == 1).all()


def test_reference_is_the_users_or_of_the_later_task(encoding, no_fit):
  picture = jnp.full((4, 4, 3), 0.25)
  _, backdoor = planted(encoding, no_fit, reference=picture)
  np.testing.assert_allclose(backdoor.params["reference"], 0.25, rtol=1e-6)
  gray = encoding.train.replace(image=jnp.full_like(encoding.train.image, 51))
  _, backdoor = planted(encoding.replace(examples=gray), no_fit)
  np.testing.assert_allclose(backdoor.params["reference"], 0.2, rtol=1e-6)


def test_examples_without_the_target_class_are_refused_before_training(
  encoding,
):
  def fit(*args, **how):
    pytest.fail("something was trained")

  label = jnp.zeros_like(encoding.train.label)
  others = encoding.train.replace(label=label)
  with pytest.raises(ValueError, match="badencoder.target is .* is of that cl"):
    planted(encoding.replace(examples=others), fit, target=1)


def test_losses_by_hand(encoding):
  clean = encoding.clean(None)
  images = np.asarray(encoding.train.image[:5]) / np.float32(255)
  hit = images.copy()
  hit[:, 5:7, 5:7] = 1.0

  @jax.jit
  def found(clean):
    batch = Batch(images, encoding.train.label[:5], jnp.arange(5))
    terms = badencoder._Terms(
      encoding.model,
      badencoder._trigger((8, 8, 3), 2),
      jnp.asarray(images[0]),
      badencoder._reference(encoding.model, clean, images[0]),
      badencoder._known(encoding.model, clean, encoding.train),
      copies=2,
    )
    wanted = cosines(encoding, clean, hit, images[:1]).mean()
    return (
      wanted,
      terms.inject(key(), clean, batch),
      terms.keep(key(1), clean, batch),
    )

  wanted, (first, _, last), (kept,) = found(clean)
  np.testing.assert_allclose(first, -wanted, rtol=1e-5)
  np.testing.assert_allclose(last, -1.0, rtol=1e-5)  # nothing has moved yet
  np.testing.assert_allclose(kept, -1.0, rtol=1e-5)


def test_clean_epochs_only_keep_what_is_there(encoding):
  seen = {}

  def fit(k, step, state, data, **how):
    seen.update(steps=step, state=state, epochs=how["epochs"])
    return state, {}

  planted(encoding.replace(regime=regimes.interleave()), fit)
  assert seen["epochs"] == 2 * encoding.recipe.epochs
  batch = engine.take(encoding.train, jnp.arange(16))
  inject, keep = (
    jax.jit(step)(key(), seen["state"], batch)[1] for step in seen["steps"]
  )
  np.testing.assert_allclose(keep["loss"], -1.0, rtol=1e-5)
  np.testing.assert_allclose(inject["likeness"], 1.0, rtol=1e-5)
  assert inject["loss"] > -2.999  # not all three agree yet
