"""Where crates come from: registries that others run."""
