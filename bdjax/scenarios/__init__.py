"""What becomes of a planted model: one file each, `make(...) -> Scenario`.

Sha et al. (arXiv 2212.09067, section 2.2) name three ways to use the model of
somebody else: as it is, adapted to another task, or as an encoder.
"""
