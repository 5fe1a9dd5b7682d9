"""PyTorch modules, without tokenizer or card."""
