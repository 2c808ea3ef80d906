"""The job of `bdjax.bench.job` in plain PyTorch, as one would write it.

Images stay in memory, normalized, channels-last; each batch is cropped (4
pixels of padding) and mirrored as a whole. Rates, epochs, decay and the two
phases are those of bdjax's job.
"""

import copy
import json
import math
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from bdjax.bench import job
from bdjax.bench.measure import Options
from bdjax.bench.torch_peer import DEVICE, preact_resnet18
from bdjax.training.schedules import SuperCycles

PADDING = 4
RATE, SQUARE, TARGET = 0.1, 3, 0  # BadNets' own
LR = 0.01
SCORED = 500  # images at once


class Images(NamedTuple):
  """Normalized images [N, 3, H, W], labels [N], and what white is there."""

  image: Tensor
  label: Tensor
  white: Tensor

  def some(self, index: Tensor) -> "Images":
    """Returns those at an index, or where a mask says so."""
    return Images(self.image[index], self.label[index], self.white)

  def triggered(self) -> "Images":
    """Returns them with the white square, labeled with the target."""
    image = self.image.clone()
    image[:, :, -SQUARE:, -SQUARE:] = self.white[:, None, None]
    return Images(image, torch.full_like(self.label, TARGET), self.white)


def main(options: Options, batch: int) -> float:
  """Does the job; returns its seconds."""
  count = round(job.CLEAN_RATE * options.images)
  size = min(batch, count)
  waves = _waves(options, count, size)  # by JAX, whose start is none of this
  start = time.perf_counter()
  torch.manual_seed(0)
  torch.backends.cudnn.benchmark = True  # as XLA tries algorithms, too
  torch.backends.cuda.matmul.allow_tf32 = True
  train, test = _data(options)
  net = preact_resnet18(10, width=options.width).to(DEVICE)
  net = net.to(memory_format=torch.channels_last)
  steps = options.epochs * math.ceil(len(train.label) / batch)

  def cosine(step: int) -> float:
    return LR * (1 + math.cos(math.pi * step / steps)) / 2

  _train(net, _poisoned(train), options, batch, cosine)
  clean = train.some(_share(train, job.CLEAN_RATE))
  models = [net]
  for rate in (lambda step: LR, waves):
    tuned = copy.deepcopy(net)
    _train(tuned, clean, options, size, rate)
    models.append(tuned)
  lured = test.some(test.label != TARGET).triggered()
  for model in models:
    _accuracy(model, test), _accuracy(model, lured)
  return time.perf_counter() - start


def _data(options: Options) -> list[Images]:
  made = job.images(options)
  train, test = (
    torch.from_numpy(made[split][0]).to(DEVICE).permute(0, 3, 1, 2) / 255
    for split in ("train", "test")
  )
  mean, std = train.mean((0, 2, 3)), train.std((0, 2, 3))

  def whole(image: Tensor, label: np.ndarray) -> Images:
    image = (image - mean[:, None, None]) / std[:, None, None]
    image = image.contiguous(memory_format=torch.channels_last)
    label = torch.from_numpy(label).to(DEVICE).long()
    return Images(image, label, (1 - mean) / std)

  return [whole(train, made["train"][1]), whole(test, made["test"][1])]


def _share(data: Images, share: float) -> Tensor:
  order = torch.randperm(len(data.label), device=DEVICE)
  return order[: round(share * len(order))]


def _poisoned(train: Images) -> Images:
  chosen = _share(train, RATE)
  lures = train.some(chosen).triggered()
  image, label = train.image.clone(), train.label.clone()
  image[chosen], label[chosen] = lures.image, lures.label
  return Images(image, label, train.white)


def _waves(options: Options, images: int, batch: int) -> Callable[[int], float]:
  """Returns super-fine-tuning's rate by step."""
  steps = math.ceil(images / batch)
  cycles = SuperCycles(phase1_epochs=(options.epochs + 1) // 2)
  return np.asarray(
    cycles.schedule(steps)(np.arange(steps * options.epochs))
  ).__getitem__


def _view(image: Tensor) -> Tensor:
  """Returns a batch cropped and mirrored at random, each image by itself."""
  count, _, height, width = image.shape
  places = torch.randint(2 * PADDING + 1, (2, count, 1), device=DEVICE)
  rows = places[0] + torch.arange(height, device=DEVICE)
  columns = places[1] + torch.arange(width, device=DEVICE)
  mirrored = torch.rand(count, 1, device=DEVICE) < 0.5
  columns = torch.where(mirrored, columns.flip(1), columns)
  padded = pad(image, (PADDING,) * 4).permute(0, 2, 3, 1)
  every = torch.arange(count, device=DEVICE)[:, None, None]
  return padded[every, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def _train(
  net: nn.Module,
  data: Images,
  options: Options,
  batch: int,
  rate: Callable[[int], float],
) -> None:
  net.train()
  sgd = torch.optim.SGD(net.parameters(), 0.0, momentum=0.9, weight_decay=5e-4)
  model = torch.compile(net) if DEVICE == "cuda" else net
  half, step = options.dtype == "bfloat16", 0
  for _ in range(options.epochs):
    for some in _share(data, 1).split(batch):
      sgd.param_groups[0]["lr"] = float(rate(step))
      sgd.zero_grad(set_to_none=True)
      with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=half):
        loss = cross_entropy(model(_view(data.image[some])), data.label[some])
      loss.backward()
      sgd.step()
      step += 1


@torch.inference_mode()
def _accuracy(net: nn.Module, data: Images) -> float:
  net.eval()
  right = 0
  for image, label in zip(
    data.image.split(SCORED), data.label.split(SCORED), strict=True
  ):
    right += int((net(image).argmax(1) == label).sum())
  return right / len(data.label)


if __name__ == "__main__":
  jax.config.update("jax_platforms", "cpu")  # and leaves a GPU's memory alone
  chosen, size = json.loads(sys.argv[1])
  print(json.dumps(main(Options(**chosen), size)))
