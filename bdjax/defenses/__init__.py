"""Backdoor defenses, one file each: `make(...) -> Defense`."""
