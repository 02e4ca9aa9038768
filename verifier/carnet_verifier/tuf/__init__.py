"""The TUF client: from a pinned root to one verified view, and look-ups in it."""
