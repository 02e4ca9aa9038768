"""What a claimed crate's owners and release keys signed of its versions, read in a view."""
