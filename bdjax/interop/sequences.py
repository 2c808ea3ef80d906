"""How torchvision numbers modules that it puts into sequences, as data.

A rule is a pattern and a replacement of `re.sub`, from our dotted path of a
module to theirs; all rules of a layout are applied one after the other.
"""

from collections.abc import Sequence

Rules = tuple[tuple[str, str], ...]


def vgg(stages: Sequence[int], *, norm: bool) -> Rules:
  """Returns a VGG's: convolution, norm, ReLU; a max pool after each stage.

  Args:
    stages: how many convolutions each has.
    norm: whether they have norms.
  """
  position, rules = 0, []
  for stage, count in enumerate(stages, 1):
    for i in range(1, count + 1):
      rules.append((rf"^conv{stage}_{i}$", f"features.{position}"))
      if norm:
        rules.append((rf"^bn{stage}_{i}$", f"features.{position + 1}"))
      position += 3 if norm else 2
    position += 1
  return tuple(rules)
