"""What a run will take: measured here, or compiled for elsewhere."""
