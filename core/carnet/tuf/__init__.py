"""TUF roles: keys, values, files, and the tree that they form."""
