"""How methods are found by name, and what their arguments may be."""
