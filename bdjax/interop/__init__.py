"""Models to and from PyTorch's files, without PyTorch and without running code.

`tensors` reads and writes files, `layouts` maps PyTorch's names to our models
as the `tables` say, `archive` reads PyTorch's own format, and `pytorch` writes
it where PyTorch is installed. A file that cannot be read is refused with a
ValueError of one sentence; nothing in a file is ever called or extracted.
"""
