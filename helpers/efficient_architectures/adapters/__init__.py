"""One encoder for many tasks."""
