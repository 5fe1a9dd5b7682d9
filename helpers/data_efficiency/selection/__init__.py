"""Which rows to label, and how many."""
