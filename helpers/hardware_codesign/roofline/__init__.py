"""Limits of a model on a machine."""
