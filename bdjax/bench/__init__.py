"""Speed of training, measured: `python -m bdjax.bench`.

One file per benchmark, each with `run(options) -> list[dict]`, listed in
`__main__.BENCHMARKS`. Cases that are compared take turns within one run, so
that a ratio holds on a machine that is busy with other things.
"""
