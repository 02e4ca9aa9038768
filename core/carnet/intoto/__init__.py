"""in-toto links, layouts and the envelopes that they are signed in."""
