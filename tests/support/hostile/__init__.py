"""Inputs that cost a reader as much as they can, and what they cost."""
