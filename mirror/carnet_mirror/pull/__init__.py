"""Bringing what clients ask for: which of it, how much of it, and once for everybody who waits."""
