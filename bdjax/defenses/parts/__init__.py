"""What defenses share: tuning, pruning, filtering, inversion, clusters."""
