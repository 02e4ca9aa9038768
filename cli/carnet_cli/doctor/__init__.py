"""What `carnet doctor` looks at: one file for each check."""
