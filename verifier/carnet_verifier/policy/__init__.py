"""What a build asks of a crate, and the verdict."""
