"""Commands of those who build."""
