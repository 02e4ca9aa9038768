"""Who owns a crate, and what its maintainers signed."""
