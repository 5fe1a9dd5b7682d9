"""The same weights in every runtime."""
