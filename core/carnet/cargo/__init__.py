"""cargo's formats: names, archives, manifests, index lines, lock files."""
