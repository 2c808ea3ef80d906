"""bdjax from Python: a whole experiment in a call, and its numbers.

`bdjax.experiment`, `bdjax.load` and `bdjax.cleanse` are what is exported.
"""
