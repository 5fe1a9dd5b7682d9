"""One language model over several machines: on paper, and cut over real processes here."""
