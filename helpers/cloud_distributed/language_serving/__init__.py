"""Serving a language model with continuous batching."""
