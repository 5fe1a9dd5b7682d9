"""Duplicate texts."""
