"""Models to and from PyTorch's files, without PyTorch and without running code.

`tensors` reads and writes files, `sets` picks the weights of what they hold,
`layouts` maps PyTorch's names, which `naming` finds, to our models as the
`tables` say. `archive` reads PyTorch's own format, `shards` models in several
files, and `pytorch` writes where PyTorch is installed. A file that cannot be
read is refused with a ValueError of one sentence; nothing in a file is ever
called or extracted.
"""
