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
