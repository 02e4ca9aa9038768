"""SHA-256 of bytes that are in memory, the one digest that carnet relies on.

It comes from `cryptography`, whose OpenSSL is there anyway for signatures. The standard library's `hashlib` loads the
system's OpenSSL beside it, which takes longer than all hashing of a look at a lock.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256, Hash

_SHA256 = SHA256()


def sha256_raw(data: bytes | bytearray) -> bytes:
    """The digest, 32 bytes. Other threads run meanwhile."""
    hashing = Hash(_SHA256)
    hashing.update(data)
    return hashing.finalize()


def sha256_hex(data: bytes | bytearray) -> str:
    """The digest as metadata, locks and indexes write it: 64 lower-case hexadecimal digits."""
    return sha256_raw(data).hex()
