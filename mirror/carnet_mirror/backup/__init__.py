"""A mirror as one file, and a mirror out of one."""
