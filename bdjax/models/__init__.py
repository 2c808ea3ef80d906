"""Victim architectures, one file each: `make(num_classes, ...) -> nn.Module`.

Every model takes images [B, H, W, C] float32 in [0, 1] and returns
`(logits, features)`; normalization is its first layer.
"""
