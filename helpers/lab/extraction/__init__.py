"""Extraction: what finds the wish and the fields of messages, and how well it does."""
