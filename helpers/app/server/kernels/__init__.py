"""The kernels behind the pages: how they begin, whose they are, and when they end."""
