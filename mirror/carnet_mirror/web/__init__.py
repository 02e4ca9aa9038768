"""HTTP: what clients, cargo and maintainers ask of a mirror."""
