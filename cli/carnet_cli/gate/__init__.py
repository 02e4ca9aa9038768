"""The gate in front of cargo."""
