"""Compiling for accelerators that are not here, and reading what comes out.

`targets` knows the devices, `programs` bdjax's programs, `hlo` the compiler's
text, `reading` what that text says, `command` is `python -m bdjax.bench
compile`, and `case` the process of its own that each case gets.
"""
