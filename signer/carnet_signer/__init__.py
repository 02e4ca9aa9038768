"""Everything that holds a private key."""
