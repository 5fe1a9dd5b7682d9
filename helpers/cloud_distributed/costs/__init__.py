"""Cost of a fleet: rented, serverless or on the spot market."""
