"""What makes the first model: tokenizer, weights, fine-tuning, heads."""
