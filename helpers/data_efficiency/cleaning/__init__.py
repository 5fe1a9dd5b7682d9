"""Wrong labels and damaged texts: what is there, what is wrong, and its repair."""
