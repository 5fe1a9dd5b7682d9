"""Exports: the same model for another runtime, or with fewer bits."""
