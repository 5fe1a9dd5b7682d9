"""Attention of several kinds, on paper and measured."""
