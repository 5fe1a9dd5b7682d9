"""Making the first model: tokenizer, weights, fine-tuning, heads."""
