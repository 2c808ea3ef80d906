"""The same training step in PyTorch, for a ratio measured in one run.

PreActResNet18 as in `bdjax.models.preact_resnet18`, channels-last, SGD with
momentum and coupled weight decay. Imports PyTorch, which bdjax does not need.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy, relu

from bdjax.bench.measure import Options

VERSION = torch.__version__
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Block(nn.Module):
  """bn-relu-conv twice; a projected shortcut takes the activated input."""

  def __init__(self, before: int, after: int, stride: int):
    """Makes a block from `before` to `after` channels."""
    super().__init__()
    self.bn1 = nn.BatchNorm2d(before)
    self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(after)
    self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
    self.project = None
    if stride != 1 or before != after:
      self.project = nn.Conv2d(before, after, 1, stride, bias=False)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps [B, before, h, w] to [B, after, h/stride, w/stride]."""
    active = relu(self.bn1(x))
    shortcut = x if self.project is None else self.project(active)
    return self.conv2(relu(self.bn2(self.conv1(active)))) + shortcut


def preact_resnet18(num_classes: int, *, width: int) -> nn.Sequential:
  """Builds the model; takes normalized images [B, 3, H, W]."""
  parts, before = [nn.Conv2d(3, width, 3, 1, 1, bias=False)], width
  for stage in range(4):
    after = width * 2**stage
    first = Block(before, after, 1 if stage == 0 else 2)
    parts += [first, Block(after, after, 1)]
    before = after
  head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes)]
  return nn.Sequential(*parts, *head)


def case(options: Options, batch: int) -> Callable[[], None]:
  """Returns the function that runs `options.steps` steps and waits."""
  torch.backends.cuda.matmul.allow_tf32 = True
  torch.backends.cudnn.benchmark = True  # as XLA tries algorithms, too
  net = preact_resnet18(10, width=options.width).to(DEVICE)
  net = net.to(memory_format=torch.channels_last)
  sgd = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
  model = torch.compile(net) if DEVICE == "cuda" else net
  image = torch.rand(batch, 3, options.size, options.size, device=DEVICE)
  image = image.to(memory_format=torch.channels_last)
  label = torch.arange(batch, device=DEVICE) % 10
  half = options.dtype == "bfloat16"

  def sample():
    for _ in range(options.steps):
      sgd.zero_grad(set_to_none=True)
      with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=half):
        loss = cross_entropy(model(image), label)
      loss.backward()
      sgd.step()
    if DEVICE == "cuda":
      torch.cuda.synchronize()

  return sample
