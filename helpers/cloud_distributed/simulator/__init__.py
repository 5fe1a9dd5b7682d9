"""A fleet of replicas, simulated request by request."""
