"""Who owns a crate, and how its owners follow those that were seen before."""
