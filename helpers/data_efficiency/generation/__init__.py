"""More rows from few."""
