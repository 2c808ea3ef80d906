"""Of a checkpoint the right weights are taken, and which is said."""

import numpy as np
import pytest

from bdjax.interop import refusals, tensors

NAMES = [f"layer{i}.weight" for i in range(10)]


def weights(value, prefix=""):
  return {prefix + name: np.full(2, value, np.float32) for name in NAMES}


def read(forge, put, value, asked=None):
  found = tensors.read(put(forge.saved(value)), weights=asked)
  assert found.tensors.keys() == set(NAMES)
  return found.tensors[NAMES[0]][0], found.taken, found.others


BESIDE = {"epoch": 3, "state_dict": weights(1), "state_dict_ema": weights(2)}
SHARED = weights(1, "model.") | weights(2, "ema_model.")


@pytest.mark.parametrize(
  ("value", "names"),
  [
    (BESIDE, ("state_dict", "state_dict_ema")),
    (
      {"model": weights(1), "model_ema": weights(2, "module.")},
      ("model", "model_ema"),
    ),
    (
      {"net": weights(1), "ema": {"shadow": weights(2)}},
      ("net", "ema.shadow"),
    ),
    ({"state_dict": SHARED}, ("state_dict.model", "state_dict.ema_model")),
    (SHARED, ("model", "ema_model")),
  ],
)
def test_averaged_weights_are_taken_unless_raw_ones_are_asked_for(
  forge, put, value, names
):
  raw, averaged = names
  assert read(forge, put, value) == (2, averaged, (raw,))
  assert read(forge, put, value, "ema") == (2, averaged, (raw,))
  assert read(forge, put, value, "raw") == (1, raw, (averaged,))
  assert read(forge, put, value, raw) == (1, raw, (averaged,))


def test_what_counts_averages_is_no_weight(forge, put):
  averaged = weights(2, "module.") | {"n_averaged": np.array(5)}
  value = {"model": weights(1), "model_ema": averaged}
  assert read(forge, put, value)[:2] == (2, "model_ema")


@pytest.mark.parametrize(
  ("value", "taken"),
  [
    ({"teacher": weights(1), "student": weights(2)}, "student"),
    ({"a": {"b": weights(1)}, "c": weights(2)}, "c"),
  ],
)
def test_weights_without_a_usual_name_are_asked_for(forge, put, value, taken):
  with pytest.raises(refusals.Refused, match="several sets of .*--weights"):
    read(forge, put, value)
  assert read(forge, put, value, taken) == (2, taken, ())


def test_the_only_weights_need_no_usual_name(forge, put):
  value = {"best": np.array(0.5), "classifier": weights(1)}
  assert read(forge, put, value) == (1, "classifier", ())
  config = {"model": {"name": "resnet18"}, "state_dict": weights(1)}
  assert read(forge, put, config) == (1, "state_dict", ())


@pytest.mark.parametrize("asked", ["ema", "netG", "state"])
def test_weights_that_are_not_there_are_refused(forge, put, asked):
  value = {"state_dict": weights(1), "best": weights(2)}
  with pytest.raises(
    refusals.Refused, match=f"no weights called {asked}, but state_dict, best"
  ):
    read(forge, put, value, asked)


def test_two_of_a_model_are_both_named(forge, put):
  value = {"state_dict": weights(1), "best": weights(2)}
  assert read(forge, put, value) == (1, "state_dict", ("best",))


@pytest.mark.parametrize("name", ["ema", "raw"])
def test_a_set_may_be_called_like_a_choice(forge, put, name):
  """It is taken by its name, whether it is of the usual model or of none."""
  value = {"model": weights(1), "swa": weights(2), name: weights(3)}
  assert read(forge, put, value, name)[:2] == (3, name)
  alone = {"teacher": weights(1), name: weights(3)}
  assert read(forge, put, alone, name)[:2] == (3, name)


@pytest.mark.parametrize("outer", ["", "state_dict"])
def test_averages_of_pytorch_are_seen_within_one_state_dict(forge, put, outer):
  state = weights(1, "model.") | weights(2, "ema_model.module.")
  state["ema_model.n_averaged"] = np.array(5)
  value, start = ({outer: state}, f"{outer}.") if outer else (state, "")
  names = f"{start}ema_model", f"{start}model"
  assert read(forge, put, value) == (2, names[0], names[1:])
  assert read(forge, put, value, "raw") == (1, names[1], names[:1])
