"""VGG19 with batch norm, as torchvision defines it or in CIFAR's compact form.

143,678,248 parameters with torchvision's head and 1000 classes, 20,040,522 with
the compact one and 10.

"torchvision" is the default since it is what BackdoorBench trains, whatever the
dataset: the one place that is left of 32 x 32 images is repeated 49 times.

Layers, features and parameter tree are those of `parts.vgg`.
"""

from bdjax.models.parts import vgg

make = vgg.maker(__name__, depth=19)
