import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry

nad = registry.module("defenses", "nad")
FLAT = {"beta1": 0.0, "beta2": 0.0, "beta3": 0.0}


def make(name="nad", **args):
  return registry.get("defenses", name)(**({"batch_size": 16} | args))


def tuned(suspect, asked, defense):
  return defense.defend(jax.random.key(0), suspect, asked).variables


# Two places with energies 3 and 4, so that the norm is 5.
STUDENT = jnp.asarray([[1.0, -1.0, 1.0], [2.0, 0.0, 0.0]]).reshape(1, 1, 2, 3)
TEACHER = jnp.asarray([[7.0, 0.0, 0.0], [0.0, 0.0, 0.0]]).reshape(1, 1, 2, 3)


def test_attention_is_the_normalized_energy():
  np.testing.assert_allclose(
    nad.attention(STUDENT), np.asarray([[0.6, 0.8]]), rtol=1e-6
  )
  np.testing.assert_allclose(
    nad.attention(TEACHER), np.asarray([[1.0, 0.0]]), atol=1e-6
  )


def test_distance_is_the_mean_over_places():
  found = nad.distance([STUDENT, STUDENT], [TEACHER, 3 * STUDENT])
  # ((.6 - 1)^2 + .8^2) / 2; attention does not see the scale
  np.testing.assert_allclose(found, [0.4, 0.0], atol=1e-6)


def test_a_dead_map_has_a_gradient():
  def apart(features):
    return nad.distance([features], [TEACHER])[0]

  value, slope = jax.value_and_grad(apart)(jnp.zeros_like(TEACHER))
  np.testing.assert_allclose(value, 0.5, rtol=1e-6)  # (0 - 1)^2 over 2 places
  np.testing.assert_array_equal(slope, np.zeros((1, 1, 2, 3)))


def test_compares_the_last_three_places_or_the_pool():
  features = {f"layer{i}": jnp.full((2, 4, 4, i), float(i)) for i in (1, 2, 3)}
  features |= {
    "layer4": jnp.full((2, 2, 2, 4), 4.0),
    "pooled": jnp.ones((2, 5)),
  }
  plain = nad.maps(features, compat="paper")
  assert [x.shape[-1] for x in plain] == [2, 3, 4]
  bench = nad.maps(features, compat="backdoorbench")
  assert [x.shape for x in bench] == [(2, 4, 4, 3), (2, 2, 2, 4), (2, 1, 1, 5)]
  np.testing.assert_allclose(nad.attention(bench[2]), np.ones((2, 1)))
  with pytest.raises(ValueError, match="model has 0 of more than one place"):
    nad.maps({"pooled": features["pooled"]}, compat="paper")


def stages(*sides):
  """Returns features of stages from 0 on, squares of given sides."""
  maps = {f"layer{i}": jnp.ones((1, n, n, i + 1)) for i, n in enumerate(sides)}
  return maps | {"pooled": jnp.ones((1, 7))}


def channels(maps):
  return [x.shape[-1] for x in maps]


def test_stages_count_by_number():
  program = jax.jit(lambda: stages(*[2] * 12))
  assert channels(nad.maps(program(), compat="paper")) == [10, 11, 12]
  bench = nad.maps(program(), compat="backdoorbench")
  assert channels(bench) == [11, 12, 7]


def test_a_map_of_one_place_has_nothing_to_tell():
  alone = jax.random.normal(jax.random.key(0), (2, 1, 1, 5))
  np.testing.assert_allclose(nad.attention(alone), np.ones((2, 1)), rtol=1e-6)
  last = stages(8, 4, 2, 1)
  assert channels(nad.maps(last, compat="paper")) == [1, 2, 3]
  assert channels(nad.maps(last, compat="backdoorbench")) == [3, 4, 7]
  deep = stages(16, 8, 4, 2, 2, 1, 1)
  assert channels(nad.maps(deep, compat="paper")) == [3, 4, 5]


@pytest.mark.parametrize(
  ("sides", "compat", "said"),
  [
    ((2, 2), "paper", "3 feature maps, but the model has 2 of more than"),
    ((8, 4, 1), "paper", "3 feature maps, but the model has 2 of more than"),
    ((8,), "backdoorbench", "2 feature maps, but the model has 1 with a place"),
  ],
)
def test_too_few_maps_are_refused_before_the_teacher(
  suspect, sides, compat, said
):
  def apply(variables, images, train):
    return jnp.zeros((len(images), 4)), stages(*sides)

  shallow = suspect.replace(model=types.SimpleNamespace(apply=apply))
  with pytest.raises(ValueError, match=f"^nad compares {said}"):
    make(compat=compat).defend(jax.random.key(0), shallow, None)


def test_two_maps_suffice_with_the_pool():
  bench = nad.maps(stages(8, 4), compat="backdoorbench")
  assert channels(bench) == [1, 2, 7]


def test_without_attention_it_is_fine_tuning(suspect, asked):
  args = {"lr": 0.05, "epochs": 2}
  plain = tuned(suspect, asked, make("ft", **args))
  same = tuned(suspect, asked, make(teacher_epochs=0, **args, **FLAT))
  chex.assert_trees_all_close(plain, same, rtol=1e-4, atol=1e-6)


def test_backdoorbench_pool_pulls_nothing(suspect, asked):
  def kernel(beta, compat):
    args = FLAT | {"beta3": beta, "compat": compat}
    args |= {"epochs": 1, "teacher_epochs": 0}  # the suspect teaches
    found = tuned(suspect, asked, make(lr=0.05, **args))
    return np.asarray(found["params"]["conv3"]["kernel"])

  without, pooled = kernel(0.0, "backdoorbench"), kernel(1e3, "backdoorbench")
  np.testing.assert_allclose(pooled, without, atol=1e-5)
  assert np.abs(kernel(1e3, "paper") - without).max() > 1e-2


def test_teacher_and_student_start_from_the_suspect(suspect, asked):
  calls = []

  def noted(key, step, state, data, **how):
    calls.append((how["name"], how["epochs"], data, state))
    return asked(key, step, state, data, **how)

  defense = make(teacher_epochs=1, epochs=10, lr=0.1, schedule="steps")
  student = tuned(suspect, noted, defense)
  assert [c[:2] for c in calls] == [("teacher", 1), ("student", 10)]
  assert all(c[2] is suspect.clean for c in calls)
  lesson = calls[1][3]
  chex.assert_trees_all_equal(calls[0][3].variables, suspect.variables)
  chex.assert_trees_all_equal(lesson.student.variables, suspect.variables)
  moved = jax.tree.map(
    lambda a, b: bool((a != b).any()), lesson.teacher, student
  )
  assert all(jax.tree.leaves(moved))
  # 64 images, batch 16: epoch 2 begins with step 8
  np.testing.assert_allclose(asked.rates, [0.1] * 8 + [0.01] * 2, rtol=1e-6)
