"""Serving a language model: a fleet, simulated on paper or calibrated, and against tokens that are bought."""
