"""Victim architectures, one file each: `make(num_classes, ...) -> nn.Module`.

Every model takes images [B, H, W, C] float32 in [0, 1]; normalization is its
first layer. It returns `(logits, features)`:

- `layerN` [B, h, w, c]: what follows each stage, three at least, numbered
  without a gap in the order of depth and never growing in size; in the model's
  `dtype`. Defenses compare and prune them.
- `pooled` [B, c] float32: what the last layer reads, an encoder's features.
- others by any other name, such as `hidden1`.

The last layer is named `linear`, with a kernel [c, num_classes] and a bias:
logits = pooled @ kernel + bias, float32 (`parts.layers.linear`). With
num_classes=0 there is none: the model is an encoder and its logits are `pooled`
itself. `head` is what a user puts on an encoder in the place of `linear`
(`parts.heads`): parameters then lie under `backbone` and `head`.

In evaluation images are answered one by one: no image's logits depend on
another's. Parameters and statistics are float32 whatever the dtype. A `make`
takes `width` (channels, by which all others scale), `mean`, `std` and `dtype`.
tests/models/test_contract.py checks all this of every file here.
"""
