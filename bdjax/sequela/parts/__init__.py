"""What sequela share: judges of membership, and retraining."""
