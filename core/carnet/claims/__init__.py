"""What owners and release keys say of a crate, and how it is handed to a mirror."""
