"""Next versions of a crate's roles, which pass from one signer to the next."""
