"""A language model in the place of people and of data: it labels, it writes rows, it reads examples or is tuned."""
