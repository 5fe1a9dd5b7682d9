"""What predicts: one protocol, one file for each runtime."""
