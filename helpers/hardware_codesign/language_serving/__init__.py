"""Language models on paper."""
