"""Dollars, watt-hours and grams from measured throughput."""
