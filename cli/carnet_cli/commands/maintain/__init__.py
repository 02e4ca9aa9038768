"""Commands of those who maintain crates."""
