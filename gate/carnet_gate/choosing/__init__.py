"""Choosing versions: what cargo is shown, and what it could not choose."""
