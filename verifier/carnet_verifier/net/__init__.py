"""How bytes come to the verifier, with limits of its own."""
