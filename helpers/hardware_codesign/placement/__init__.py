"""Which machine to rent."""
