"""PyTorch's ResNet50, VGG and ViT, for comparison: names, shapes and modules.

Written from torchvision's names and from those of the CIFAR models commonly
used. The shapes need no PyTorch; the modules get it as an argument.
"""

import functools

CLASSES = 5
PLANS = {
  "vgg16_bn": (2, 2, 3, 3, 3),
  "vgg19": (2, 2, 4, 4, 4),
  "vgg19_bn": (2, 2, 4, 4, 4),
}


def norm(name, channels):
  leaves = ("weight", "bias", "running_mean", "running_var")
  return {f"{name}.{leaf}": (channels,) for leaf in leaves}


def layer(name, *shape):
  return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def resnet50(layout, *, width, stem):
  side, end = (
    ("downsample", "fc")
    if layout == "torchvision"
    else (
      "shortcut",
      "linear",
    )
  )
  size = {"cifar": 3, "imagenet": 7}[stem]
  made = {"conv1.weight": (width, 3, size, size)} | norm("bn1", width)
  before = width
  for stage, blocks in enumerate((3, 4, 6, 3)):
    inner, out = width * 2**stage, 4 * width * 2**stage
    for block in range(blocks):
      name = f"layer{stage + 1}.{block}"
      made |= {
        f"{name}.conv1.weight": (inner, before, 1, 1),
        f"{name}.conv2.weight": (inner, inner, 3, 3),
        f"{name}.conv3.weight": (out, inner, 1, 1),
      }
      made |= norm(f"{name}.bn1", inner) | norm(f"{name}.bn2", inner)
      made |= norm(f"{name}.bn3", out)
      if block == 0:
        made[f"{name}.{side}.0.weight"] = (out, before, 1, 1)
        made |= norm(f"{name}.{side}.1", out)
      before = out
  return made | layer(end, CLASSES, before)


def vgg(layout, *, plan, width, hidden=None, head=None, norms=True):
  made, at, before = {}, 0, 3
  for stage, count in enumerate(plan):
    for _ in range(count):
      after = width * min(2**stage, 8)
      made |= layer(f"features.{at}", after, before, 3, 3)
      made |= norm(f"features.{at + 1}", after) if norms else {}
      at, before = at + 2 + norms, after
    at += 1
  if head == "compact":
    return made | layer("classifier", CLASSES, before)
  made |= layer("classifier.0", hidden, before * 49)
  made |= layer("classifier.3", hidden, hidden)
  return made | layer("classifier.6", CLASSES, hidden)


def vit(layout, *, width, patch, size, resize=False):
  first, second = (
    ("mlp.0", "mlp.3")
    if "0.13" not in layout
    else (
      "mlp.linear_1",
      "mlp.linear_2",
    )
  )
  made = {
    "class_token": (1, 1, width),
    "encoder.pos_embedding": (1, (size // patch) ** 2 + 1, width),
    **layer("conv_proj", width, 3, patch, patch),
  }
  for i in range(12):
    name = f"encoder.layers.encoder_layer_{i}"
    made |= layer(f"{name}.ln_1", width) | layer(f"{name}.ln_2", width)
    made[f"{name}.self_attention.in_proj_weight"] = (3 * width, width)
    made[f"{name}.self_attention.in_proj_bias"] = (3 * width,)
    made |= layer(f"{name}.self_attention.out_proj", width, width)
    made |= layer(f"{name}.{first}", 4 * width, width)
    made |= layer(f"{name}.{second}", width, 4 * width)
  made |= layer("encoder.ln", width) | layer("heads.head", CLASSES, width)
  return {f"1.{k}": v for k, v in made.items()} if resize else made


SHAPES = {
  "resnet50": resnet50,
  "vgg16_bn": functools.partial(vgg, plan=PLANS["vgg16_bn"]),
  "vgg19": functools.partial(vgg, plan=PLANS["vgg19"], norms=False),
  "vgg19_bn": functools.partial(vgg, plan=PLANS["vgg19_bn"]),
  "vit_b_16": vit,
}


def torch_resnet50(torch, layout, *, width, stem):
  nn, relu = torch.nn, torch.nn.functional.relu
  side = "downsample" if layout == "torchvision" else "shortcut"

  class Block(nn.Module):
    """A bottleneck whose stride is in its second convolution."""

    def __init__(self, before, inner, stride):
      super().__init__()
      out = 4 * inner
      self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
      self.bn1 = nn.BatchNorm2d(inner)
      self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
      self.bn2 = nn.BatchNorm2d(inner)
      self.conv3 = nn.Conv2d(inner, out, 1, bias=False)
      self.bn3 = nn.BatchNorm2d(out)
      conv = nn.Conv2d(before, out, 1, stride, bias=False)
      projected = nn.Sequential(conv, nn.BatchNorm2d(out))
      setattr(self, side, projected if before != out else nn.Sequential())

    def forward(self, x):
      y = relu(self.bn1(self.conv1(x)))
      y = self.bn3(self.conv3(relu(self.bn2(self.conv2(y)))))
      return relu(y + getattr(self, side)(x))

  class Net(nn.Module):
    """A stem, four stages and a linear layer."""

    def __init__(self):
      super().__init__()
      form = (7, 2, 3) if stem == "imagenet" else (3, 1, 1)
      self.conv1 = nn.Conv2d(3, width, *form, bias=False)
      self.bn1, before = nn.BatchNorm2d(width), width
      for i, blocks in enumerate((3, 4, 6, 3)):
        stage = []
        for j in range(blocks):
          stage.append(Block(before, width * 2**i, 2 if i and not j else 1))
          before = 4 * width * 2**i
        setattr(self, f"layer{i + 1}", nn.Sequential(*stage))
      self.head = "fc" if layout == "torchvision" else "linear"
      setattr(self, self.head, nn.Linear(before, CLASSES))

    def forward(self, x):
      x = relu(self.bn1(self.conv1(x)))
      if stem == "imagenet":
        x = nn.functional.max_pool2d(x, 3, 2, 1)
      for i in range(4):
        x = getattr(self, f"layer{i + 1}")(x)
      return getattr(self, self.head)(x.mean((2, 3)))

  return Net()


def torch_vgg(
  torch, layout, *, plan, width, hidden=None, head=None, norms=True
):
  nn = torch.nn
  parts, before = [], 3
  for i, count in enumerate(plan):
    for _ in range(count):
      after = width * min(2**i, 8)
      conv = nn.Conv2d(before, after, 3, padding=1)
      parts += [conv, nn.BatchNorm2d(after)] if norms else [conv]
      parts.append(nn.ReLU())
      before = after
    parts.append(nn.MaxPool2d(2, 2))

  class Net(nn.Module):
    """Convolutions, a pool and a classifier."""

    def __init__(self):
      super().__init__()
      self.features = nn.Sequential(*parts)
      self.avgpool = nn.AdaptiveAvgPool2d(1 if head == "compact" else 7)
      if head == "compact":
        self.classifier = nn.Linear(before, CLASSES)
        return
      self.classifier = nn.Sequential(
        *(nn.Linear(49 * before, hidden), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()),
        nn.Linear(hidden, CLASSES),
      )

    def forward(self, x):
      return self.classifier(self.avgpool(self.features(x)).flatten(1))

  return Net()


def torch_vit(torch, layout, *, width, patch, size, resize=False):
  nn = torch.nn

  class Block(nn.Module):
    """Attention and a hidden layer."""

    def __init__(self):
      super().__init__()
      self.ln_1 = nn.LayerNorm(width, eps=1e-6)
      self.ln_2 = nn.LayerNorm(width, eps=1e-6)
      heads = width // 64
      self.self_attention = nn.MultiheadAttention(
        width, heads, batch_first=True
      )
      up, down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
      self.mlp = nn.Sequential(up, nn.GELU(), nn.Dropout(0), down)

    def forward(self, x):
      y = self.ln_1(x)
      x = x + self.self_attention(y, y, y, need_weights=False)[0]
      return x + self.mlp(self.ln_2(x))

  class Net(nn.Module):
    """Patches, a class token, blocks and a linear layer."""

    def __init__(self):
      super().__init__()
      self.conv_proj = nn.Conv2d(3, width, patch, patch)
      self.class_token = nn.Parameter(torch.zeros(1, 1, width))
      names = {f"encoder_layer_{i}": Block() for i in range(12)}
      self.encoder = nn.Module()
      self.encoder.layers = nn.Sequential()
      for name, block in names.items():
        self.encoder.layers.add_module(name, block)
      self.encoder.ln = nn.LayerNorm(width, eps=1e-6)
      tokens = (size // patch) ** 2 + 1
      self.encoder.pos_embedding = nn.Parameter(torch.zeros(1, tokens, width))
      self.heads = nn.Sequential()
      self.heads.add_module("head", nn.Linear(width, CLASSES))

    def forward(self, x):
      x = self.conv_proj(x).flatten(2).transpose(1, 2)
      x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
      x = self.encoder.layers(x + self.encoder.pos_embedding)
      return self.heads(self.encoder.ln(x)[:, 0])

  enlarge = nn.Upsample((size, size), mode="bilinear", align_corners=False)
  return nn.Sequential(enlarge, Net()) if resize else Net()


NETS = {
  "resnet50": torch_resnet50,
  "vgg16_bn": functools.partial(torch_vgg, plan=PLANS["vgg16_bn"]),
  "vgg19": functools.partial(torch_vgg, plan=PLANS["vgg19"], norms=False),
  "vgg19_bn": functools.partial(torch_vgg, plan=PLANS["vgg19_bn"]),
  "vit_b_16": torch_vit,
}
