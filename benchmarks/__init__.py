"""This project beside its peers, in one run. Each module prints a table and writes JSON."""
