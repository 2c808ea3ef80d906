import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from bdjax.data import augment
from bdjax.methods import registry
from bdjax.runs import settings
from bdjax.training import adaptive, learn, loop, regimes
from bdjax.types import Dataset, Recipe


class Line(nn.Module):
  """Logits x w for images of one pixel x, with two classes."""

  @nn.compact
  def __call__(self, images, train=True):
    w = self.param("w", nn.initializers.zeros, (2,))
    return images.reshape(-1, 1) * w[None], {}


def pixel(label):
  return Dataset(jnp.full((1, 1, 1, 1), 255, jnp.uint8), jnp.array([label]))


def slope(w, label):
  """Returns the gradient of the cross-entropy of an image of 1."""
  p = np.exp(w) / np.exp(w).sum()
  return p - np.eye(2)[label]


STILL = {"momentum": 0.0, "weight_decay": 0.0}


def trained(defense, epochs, turn=1, fit=loop.scan_fit, schedule="constant"):
  """Returns w after the defense's turns on an image of class 1, and of 0."""
  regime = regimes.interleave(turn=turn)
  regime = regime._replace(against=adaptive.Turn(defense, turn), extra=False)
  variables = learn.train_classifier(
    *(jax.random.key(0), (pixel(0),) * turn + (pixel(1),) * turn),
    fit,
    model=Line(),
    recipe=Recipe(epochs, 1, lr=1.0, schedule=schedule, **STILL),
    regime=regime,
  )
  return np.asarray(variables["params"]["w"])


def tuning(name, **how):
  return registry.get("defenses", name)(batch_size=1, **how)


def test_a_clean_turn_takes_the_defenses_steps_from_its_own_beginning():
  """Its momentum lasts a turn of two steps, not from one to the next."""
  ft = tuning("ft", epochs=2, lr=0.5, momentum=0.9, weight_decay=0.0)
  w = np.zeros(2)
  for _ in range(2):
    speed = 0
    for _ in range(2):
      speed = 0.9 * speed + slope(w, 1)
      w = w - 0.5 * speed
    for _ in range(2):
      w = w - slope(w, 0)
  np.testing.assert_allclose(trained(ft, 8, turn=2), w, rtol=1e-5)


def test_a_sharpness_aware_defense_is_rehearsed_as_such():
  """The worst point at distance .5 lies along the gradient."""
  how = dict(rho=0.5, adaptive=False, smoothing=0.0, schedule="constant")
  up = slope(np.zeros(2), 1)
  w = -0.1 * slope(0.5 * up / np.linalg.norm(up), 1)
  wanted = w - slope(w, 0)
  got = trained(tuning("ft_sam", epochs=1, lr=0.1, **how, **STILL), 2)
  np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_a_rate_that_falls_begins_again_with_each_turn():
  plain = tuning("ft", epochs=1, lr=1.0, schedule="cosine", **STILL)
  w = np.zeros(2)
  for _ in range(3):
    w = w - slope(w, 1)
    w = w - slope(w, 0)
  np.testing.assert_allclose(trained(plain, 6), w, rtol=1e-5)


def test_the_attackers_own_rate_does_not_fall():
  ft = tuning("ft", epochs=1, lr=0.5, weight_decay=0.0)
  falling = trained(ft, 6, schedule="cosine")
  np.testing.assert_array_equal(falling, trained(ft, 6))


def test_epochs_on_the_hosts_time_take_the_same_steps():
  ft = tuning("ft", epochs=1, lr=0.5, weight_decay=0.0)
  got = trained(ft, 4, fit=loop.host_fit())
  np.testing.assert_allclose(got, trained(ft, 4), rtol=1e-6)


@pytest.fixture(scope="module")
def access(toy, model):
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  shapes = adaptive.shapes_of(toy, model, augment.identity)
  return shapes.replace(variables=variables)


@pytest.mark.parametrize("name", ["sau", "pam", "fst", "lp", "super_ft"])
def test_tunings_can_be_clean_turns(name, access, toy, model):
  make = registry.get("defenses", name)
  turn = adaptive.Turn(make(batch_size=16, epochs=1), 1)
  regime = regimes.interleave()._replace(against=turn)

  def train(data):
    return learn.train_classifier(
      *(jax.random.key(0), (data, data), loop.scan_fit),
      model=model,
      recipe=Recipe(2, 16),
      regime=regime,
    )

  shapes = jax.eval_shape(train, toy)
  assert jax.tree.structure(shapes) == jax.tree.structure(access.variables)


@pytest.mark.parametrize("name", ["nad", "clp", "spectral", "i_bau", "fip"])
def test_other_defenses_cannot(name, access):
  make = registry.get("defenses", name)
  fits = {"batch_size": 16} if name in ("nad", "i_bau", "fip") else {}
  defense = make(**fits)
  with pytest.raises(adaptive.Unsuited, match="not one training of one model"):
    jax.eval_shape(
      lambda variables: adaptive.opening(
        defense, jax.random.key(0), access.replace(variables=variables)
      )[1],
      access.variables,
    )


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("'ft,nad'", "must name one defense"),
    ("none", "must name one defense"),
    ("'ft(epochs=3)'", "its epochs are the turn's: leave them out"),
    ("'ft(lr=(0.1, 0.2))'", "which is 2 of them: name one"),
    ("fnt", "unknown defense 'fnt'"),
  ],
)
def test_what_is_no_defense_for_a_turn_is_refused(text, message, config):
  with pytest.raises(ValueError, match=message):
    settings.plan(config(regime__name=f"adaptive(defense={text})"))


def test_a_refusal_names_the_defenses_that_can(config):
  with pytest.raises(ValueError, match="one training of one model") as error:
    settings.plan(config(regime__name="adaptive(defense=nad)"))
  named = str(error.value).partition("it can be ")[2].rstrip(".").split(", ")
  assert {"ft", "ft_sam", "super_ft", "sau", "pam", "fst"} <= set(named)
  assert not {"nad", "clp", "abl", "strip", "fip", "i_bau"} & set(named)


def test_a_config_gives_the_defense_the_turns_length(config):
  made = settings.plan(
    config(
      regime__name="adaptive(defense='super_ft.fmn', turn=2)", train__epochs=4
    )
  )
  (regime,) = made.regimes
  assert regime.built.against.epochs == regime.built.turn == 2
  assert regime.args["defense"] == "super_ft.fmn"


@pytest.mark.parametrize("regime", ["sbl", "adaptive"])
def test_a_trigger_that_is_trained_with_the_victim_is_refused(regime, config):
  with pytest.raises(ValueError, match="latent trains its trigger with the"):
    settings.plan(config(attack__name="latent", regime__name=regime))
