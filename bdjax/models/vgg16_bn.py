"""VGG16 with batch norm, as torchvision defines it or in CIFAR's compact form.

138,365,992 parameters with torchvision's head and 1000 classes, 14,728,266 with
the compact one and 10.

Layers, features and parameter tree are those of `parts.vgg`.
"""

from bdjax.models.parts import vgg

make = vgg.maker(__name__, depth=16)
