"""`carnet mirror`: a command in each file."""
