"""What lies on a machine: copies of crates, and vendor folders."""
