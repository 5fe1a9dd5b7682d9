"""Language models: a small causal one trained here, any of the Hub, and how well they know texts."""
