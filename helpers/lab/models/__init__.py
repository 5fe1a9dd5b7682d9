"""Models that predict: one protocol, one file for each runtime."""
