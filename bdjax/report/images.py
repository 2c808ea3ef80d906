"""Pictures as PNG: of triggers, and of where their energy lies."""

import base64
import io

import numpy as np

GREY = 128  # no difference
SEEN = 64  # of the 127 steps between it and white; chosen


def png(image: np.ndarray) -> str:
  """Returns an image [H, W, C] uint8, C 1 or 3, as the data URI of a PNG."""
  from matplotlib.image import imsave

  buffer = io.BytesIO()
  imsave(buffer, np.broadcast_to(image, (*image.shape[:2], 3)), format="png")
  return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def gain(clean: np.ndarray, triggered: np.ndarray) -> int:
  """Returns how often a difference must be taken to be seen, at least 1.

  The median change of the values that change is then `SEEN`, whether a few
  pixels change by much, as in a corner, or all by little, as in a blend.

  Args:
    clean: [K, H, W, C] uint8.
    triggered: the same.
  """
  change = abs(triggered.astype(np.int32) - clean.astype(np.int32))
  changed = change[change > 0]
  return max(1, round(SEEN / np.median(changed))) if changed.size else 1


def difference(
  clean: np.ndarray, triggered: np.ndarray, times: int
) -> np.ndarray:
  """Returns `times` what the trigger adds, as uint8 about mid-grey."""
  change = triggered.astype(np.int32) - clean.astype(np.int32)
  return np.clip(GREY + times * change, 0, 255).astype(np.uint8)


def heat(values: np.ndarray) -> np.ndarray:
  """Returns an array [H, W] as a picture [H, W, 3] uint8, dark to light."""
  import matplotlib

  low, high = values.min(), values.max()
  scaled = (values - low) / (high - low or 1.0)
  return (255 * matplotlib.colormaps["magma"](scaled)[..., :3]).astype(np.uint8)
