"""The registry mirror: decides when to publish and keeps what was published; holds no key."""
