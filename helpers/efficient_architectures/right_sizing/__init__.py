"""One task by ever larger models."""
