"""A month's cost in sentences: the visitor's bill, its stages, and two bills side by side."""
