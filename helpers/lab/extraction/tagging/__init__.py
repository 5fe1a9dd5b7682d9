"""A tagger of tokens as an extractor: its module, its training, and how its tags are read."""
