"""Training: what an epoch is, who runs it, optimizers, schedules, sweeps."""
