"""The second opinion: python-tuf and in-toto must agree with carnet before the online signer signs anything."""
