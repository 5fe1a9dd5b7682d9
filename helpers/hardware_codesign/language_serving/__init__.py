"""A language model served: its phases on the roofline, an engine's switches, load tests, answer caches."""
