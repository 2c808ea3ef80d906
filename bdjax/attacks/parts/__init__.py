"""What attacks share: poisoned data, joint training, neurons, prototypes."""
