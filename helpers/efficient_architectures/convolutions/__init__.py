"""Convolutions of several designs, on paper and measured."""
