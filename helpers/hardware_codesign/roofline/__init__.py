"""What limits a model on a machine."""
