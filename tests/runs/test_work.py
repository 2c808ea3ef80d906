import jax
import jax.numpy as jnp
import pytest
from jax import lax

from bdjax.models.parts import conv
from bdjax.runs import work
from bdjax.training import loop
from bdjax.types import Dataset


def counted(function, *args):
  return work.flop(jax.make_jaxpr(function)(*args).jaxpr)


def test_a_matrix_product_by_hand():
  x, y = jnp.ones((5, 3)), jnp.ones((3, 7))
  assert counted(jnp.matmul, x, y) == 2 * 5 * 3 * 7
  several = jnp.ones((4, 5, 3)), jnp.ones((4, 3, 7))
  assert counted(jnp.matmul, *several) == 4 * 2 * 5 * 3 * 7


@pytest.mark.parametrize(
  ("strides", "padding", "outputs"),
  [((1, 1), "SAME", 8 * 8), ((2, 2), "SAME", 4 * 4), ((1, 1), "VALID", 6 * 6)],
)
def test_a_convolution_by_hand(strides, padding, outputs):
  x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))

  def run(x, kernel):
    return conv.conv_general_dilated(x, kernel, strides, padding)

  assert counted(run, x, kernel) == 2 * 2 * outputs * (3 * 3 * 3) * 4


def test_inserted_zeros_are_not_multiplied():
  x, kernel = jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3, 5))
  dims = ("NHWC", "HWIO", "NHWC")

  def larger(x, kernel):
    return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=dims)

  assert counted(larger, x, kernel) == 2 * (8 * 8) * 27 * 5 / 4


def test_loops_count_by_their_length_and_branches_by_the_dearer():
  x = jnp.ones((4, 4))

  def loop(x):
    return lax.scan(lambda c, _: (c @ x, None), x, length=6)[0]

  def either(x):
    return lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

  assert counted(loop, x) == 6 * 2 * 4**3
  assert counted(either, x) == 2 * 2 * 4**3
  assert counted(jax.jit(loop), x) == 6 * 2 * 4**3


def linear(params, image):
  return image.reshape(image.shape[0], -1) @ params


def descend(key, state, batch):
  del key

  def loss(params):
    return linear(params, batch.image).sum()

  value, grad = jax.value_and_grad(loss)(state)
  return state - grad, {"loss": value}


def still(key, state, batch):
  del key
  return state, {"loss": linear(state, batch.image).sum()}


@pytest.fixture
def data():
  return Dataset(jnp.zeros((10, 2, 2, 3), jnp.uint8), jnp.zeros(10, jnp.int32))


FORWARD = 2 * 4 * 12 * 5  # of a batch of 4 images of 12 numbers, to 5 outputs


def test_a_stage_is_its_steps_times_a_step(data):
  def program(fit, state):
    state, told = fit(
      jax.random.key(0),
      descend,
      state,
      data,
      epochs=7,
      batch_size=4,
      name="all",
    )
    assert told["loss"].shape == (7,)
    return state

  shapes, (stage,) = work.stages(program, jnp.zeros((12, 5)))
  assert shapes.shape == (12, 5)
  assert (stage.name, stage.epochs, stage.batch_size) == ("all", 7, 4)
  assert stage.steps == 7 * 3  # 10 images in batches of 4
  assert stage.flop == 21 * 2 * FORWARD  # forward, and the kernel's gradient
  assert stage.state_bytes == 4 * 12 * 5


def test_steps_that_take_turns_count_each_its_own(data):
  def program(fit, state):
    turns = (descend, still)
    key = jax.random.key(0)
    fit(key, turns, state, data, epochs=5, batch_size=4, name="turns")
    return state

  _, (stage,) = work.stages(program, jnp.zeros((12, 5)))
  assert stage.flop == 3 * 3 * 2 * FORWARD + 2 * 3 * FORWARD


def test_what_no_result_needs_is_left_out(data):
  def idle(key, state, batch):
    jax.grad(lambda p: linear(p, batch.image).sum())(state)
    return still(key, state, batch)

  state = jnp.zeros((12, 5))
  assert work.step_flop(idle, state, data, 4) == FORWARD


def test_counts_agree_with_a_real_fit(data):
  """A counting fit returns what a training one returns, in shape."""
  state = jnp.zeros((12, 5))

  def program(fit, state):
    return fit(
      jax.random.key(0), descend, state, data, epochs=2, batch_size=4, name="x"
    )

  shapes, _ = work.stages(program, state)
  real = jax.eval_shape(lambda s: program(loop.scan_fit, s), state)
  assert jax.tree.map(lambda x: x.shape, shapes) == jax.tree.map(
    lambda x: x.shape, real
  )


def test_what_no_result_needs_is_left_out_within_loops_too():
  def body(i, x):
    def step(x, _):
      x @ jnp.ones((4, 30))  # of which nothing comes
      return x @ jnp.ones((4, 4)), None

    return lax.scan(step, x, length=5)[0]

  def several(x, count):
    return lax.fori_loop(0, count, body, x)

  traced = jax.make_jaxpr(several)(jnp.ones((3, 4)), 2)
  # How often a `while` goes round is not known: it counts once.
  assert work.flop(traced.jaxpr) == 5 * 2 * 3 * 4 * 4
