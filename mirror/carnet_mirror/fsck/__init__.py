"""Checking a mirror, as its clients would and beyond."""
