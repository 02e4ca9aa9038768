"""Private keys: made, kept encrypted, opened by URI."""
