"""Layout templates that people start from."""
