import pytest

from bdjax.methods import specs


def test_reads_names_presets_and_arguments():
  found = specs.parse("ft(lr=0.05), super_ft.scarce, ft_sam.bb(rho=-1)")
  assert found == [
    specs.Spec("ft", None, {"lr": 0.05}),
    specs.Spec("super_ft", "scarce", {}),
    specs.Spec("ft_sam", "bb", {"rho": -1}),
  ]


def test_text_round_trips():
  text = "ft.bb(lr=0.05, schedule='cosine')"
  assert str(specs.parse(text)[0]) == text
  assert specs.parse(("ft", "super_ft,ft_sam")) == specs.parse(
    "ft,super_ft,ft_sam"
  )


@pytest.mark.parametrize(
  "text", ["", "ft(", "ft(0.1)", "ft(lr=open('x'))", "a.b.c", "1+1", "ft lr", 3]
)
def test_refuses_anything_else(text):
  with pytest.raises(ValueError, match="cannot read|not the name"):
    specs.parse(text)


def test_brackets_of_an_argument_of_several_numbers_are_one_value():
  (spec,) = specs.parse("ia(mean=(0.5, 0.5, 0.5), rate=(0.1, 0.2))")
  expanded = specs.expand(spec, {}, ("mean",))
  assert [one.args for one in expanded] == [
    {"mean": (0.5, 0.5, 0.5), "rate": 0.1},
    {"mean": (0.5, 0.5, 0.5), "rate": 0.2},
  ]
  assert specs.swept(spec, ("mean",)) == {"rate": (0.1, 0.2)}
  assert specs.parse(str(expanded[0])) == [expanded[0]]


def test_brackets_in_brackets_are_an_axis_of_several_numbers():
  (spec,) = specs.parse("ia(mean=((0, 0.5), (1, 0.5)))")
  expanded = specs.expand(spec, {}, ("mean",))
  assert [one.args["mean"] for one in expanded] == [(0, 0.5), (1, 0.5)]
  axes = specs.axes("mean=((0, 0.5), (1, 0.5))")
  (bare,) = specs.parse("ia")
  assert specs.expand(bare, axes, ("mean",)) == expanded


def test_an_axis_of_single_numbers_is_none_of_several():
  (spec,) = specs.parse("ia")
  with pytest.raises(
    ValueError, match=r"axis mean is \(0.1, 0.2\), but .* own"
  ):
    specs.expand(spec, specs.axes("mean=(0.1, 0.2)"), ("mean",))
