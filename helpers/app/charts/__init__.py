"""Charts that draw with no network."""
