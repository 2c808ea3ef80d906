"""Pictures as PNG: of triggers, and of where their energy lies."""

import base64
import io

import numpy as np

GREY = 128  # no difference


def png(image: np.ndarray) -> str:
  """Returns an image [H, W, C] uint8, C 1 or 3, as the data URI of a PNG."""
  from matplotlib.image import imsave

  buffer = io.BytesIO()
  imsave(buffer, np.broadcast_to(image, (*image.shape[:2], 3)), format="png")
  return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def difference(
  clean: np.ndarray, triggered: np.ndarray, gain: int = 10
) -> np.ndarray:
  """Returns `gain` times what the trigger adds, as uint8 about mid-grey."""
  change = triggered.astype(np.int32) - clean.astype(np.int32)
  return np.clip(GREY + gain * change, 0, 255).astype(np.uint8)


def heat(values: np.ndarray) -> np.ndarray:
  """Returns an array [H, W] as a picture [H, W, 3] uint8, dark to light."""
  import matplotlib

  low, high = values.min(), values.max()
  scaled = (values - low) / (high - low or 1.0)
  return (255 * matplotlib.colormaps["magma"](scaled)[..., :3]).astype(np.uint8)
