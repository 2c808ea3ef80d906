"""What becomes of a planted model: one file each, `make(...) -> Scenario`.

Sha et al. (arXiv 2212.09067, section 2.2) tell three ways in which a model of
somebody else is used: as it is, adapted to another task, or as an encoder.
"""
