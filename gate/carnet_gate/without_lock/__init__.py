"""Commands that work with more than the lock of a project, or with none."""
