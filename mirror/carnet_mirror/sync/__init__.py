"""Copying crates from upstream and publishing them."""
