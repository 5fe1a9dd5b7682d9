"""Measurements: records, timing, intervals, energy, and where they are stored."""
