"""Named data with frozen splits, and what is in a file."""
