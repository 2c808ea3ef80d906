"""Measured records beside the papers' printed numbers: verdicts and claims.

A config that names a study (`config.study`) stands for one published table or
figure. After its run, `study.page` matches each printed cell with what was
measured (`match`, `measured`), judges it by a stated rule (`verdict`), asks
whether the paper's claims hold (`fmn`, `sha`), and writes `study.html`.
"""
