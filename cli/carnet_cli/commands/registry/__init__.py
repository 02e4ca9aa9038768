"""Commands of those who run a registry: its holders and its operator."""
