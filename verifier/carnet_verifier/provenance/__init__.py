"""Whether the owners' layout was carried out, and the tarball is what was tagged."""
