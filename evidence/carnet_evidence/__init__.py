"""Evidence: what can be said of a crate from its bytes, its name, its history. Knows the shared words only."""
