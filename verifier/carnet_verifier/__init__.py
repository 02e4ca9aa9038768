"""What a build trusts: holds no key, executes nothing. The part to audit first."""
