"""The offline ceremony, in which a repository's holders sign its root of trust."""
