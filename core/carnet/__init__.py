"""The words that signer, mirror and verifier share. No private key, no network, no command line."""
