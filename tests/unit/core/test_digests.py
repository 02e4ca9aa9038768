"""Digests, against the standard library's."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from carnet.digests import sha256_hex, sha256_raw


@given(st.binary(max_size=300))
def test_digests_are_sha256(data: bytes) -> None:
    assert sha256_raw(data) == hashlib.sha256(data).digest()
    assert sha256_hex(data) == hashlib.sha256(data).hexdigest()
    assert sha256_hex(bytearray(data)) == sha256_hex(data)
