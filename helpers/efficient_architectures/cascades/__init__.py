"""Cheap models first, more expensive ones for what those are unsure of."""
