"""Sentences, numbers and tables."""
