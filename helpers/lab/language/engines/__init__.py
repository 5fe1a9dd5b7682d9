"""Engines that run a language model, beside what all of them have in common."""
