"""The same model in fewer bits."""
