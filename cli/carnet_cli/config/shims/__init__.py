"""Shims: the folder that `carnet shim` writes for editors, and the way out of it."""
