"""What people type; the only place that reads configuration files and the environment."""
