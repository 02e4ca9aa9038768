"""The words that signer, mirror and verifier share. No private key, no network, no command line."""

VERSION = "0.1.0"
"""Of this release: `pyproject.toml` says the same."""
