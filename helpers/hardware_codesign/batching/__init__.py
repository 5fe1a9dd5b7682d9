"""How many texts at once, and padded how."""
