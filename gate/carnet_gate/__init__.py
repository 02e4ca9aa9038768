"""The gate: runs the user's own cargo behind the verifier."""
