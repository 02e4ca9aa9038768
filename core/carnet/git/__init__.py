"""git, as far as carnet reads it."""
