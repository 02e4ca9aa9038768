"""Configuration files, the environment, flags, and where carnet keeps what it remembers."""
