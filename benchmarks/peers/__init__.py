"""How each peer is run: its own recipe, on the same rows and machine."""
