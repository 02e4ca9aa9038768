"""A mirror as one file, a mirror out of one, and a mirror whose key has another place."""
