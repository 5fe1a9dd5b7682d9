"""A small causal language model in fewer bits."""
