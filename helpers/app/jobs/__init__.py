"""Long computations in another process."""
