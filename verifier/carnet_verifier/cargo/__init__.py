"""Admitted crates as cargo takes them."""
