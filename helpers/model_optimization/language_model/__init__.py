"""A language model with weights and cache in fewer bits."""
