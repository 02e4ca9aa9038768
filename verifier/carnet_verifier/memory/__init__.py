"""What a client keeps between runs."""
