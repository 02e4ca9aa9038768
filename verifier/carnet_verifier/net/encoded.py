"""The body of an answer that came in gzip, decoded within a bound."""

from __future__ import annotations

from carnet.errors import TransportError


def most_encoded(most: int, encoding: bytes) -> int:
    """The most bytes that an encoded body may have, which is `most` bytes when it is decoded."""
    # Deflate can only grow by a few bytes in 16 kB, so the encoded body is bounded too.
    return most if encoding.lower() == b"identity" else most + (most >> 10) + 1024


def unzip(data: bytearray, max_bytes: int) -> bytes:
    """Decode a body.

    Raises:
        TransportError: It is no gzip, is cut off, or unpacks to more than `max_bytes`.
    """
    import zlib

    inflater = zlib.decompressobj(wbits=31)
    try:
        body = inflater.decompress(data, max_bytes + 1)
    except zlib.error:
        raise TransportError("the answer is not the gzip it says it is") from None
    if len(body) > max_bytes:
        raise TransportError(f"the answer unpacks to more than the {max_bytes} bytes that were asked for")
    if not inflater.eof or inflater.unused_data:
        raise TransportError("the answer's gzip is cut off, or has something after it")
    return body
