"""Several steps after one another, measured together."""
