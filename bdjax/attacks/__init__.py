"""Backdoor attacks, one file each: `make(...) -> Attack`."""
