"""VGG19 without batch norm, as torchvision defines it, or with a compact head.

143,667,240 parameters with torchvision's head and 1000 classes, 20,029,514 with
the compact one and 10.

What is said of `vgg19_bn` holds but for the norms. Methods that prune channels
by batch norms say that it has none.

Layers, features and parameter tree are those of `parts.vgg`.
"""

from bdjax.models.parts import vgg

make = vgg.maker(__name__, depth=19, norm=False)
