"""Texts that say the same twice."""
