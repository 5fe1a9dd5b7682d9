"""Controls, and what they show."""
