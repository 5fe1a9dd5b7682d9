"""What a fleet costs, rented, serverless or on the spot market."""
