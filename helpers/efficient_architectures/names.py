"""What all parts of this strategy call themselves, and what nobody does."""

STRATEGY = "efficient architectures"


def never() -> bool:
    """Nobody cancels."""
    return False
