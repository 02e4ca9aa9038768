"""TUF metadata of a publication: made here, without any private key."""
