"""Private keys, each at a URI: one module for each place where keys are kept, behind one `Signer`."""
