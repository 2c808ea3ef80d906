"""What models are made of, and what is known of their layers."""
