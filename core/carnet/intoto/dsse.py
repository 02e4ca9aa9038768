"""The DSSE envelope that links, layouts and statements are signed in (DSSE protocol, version 1)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from typing import Any

from carnet import strictjson
from carnet.errors import FormatError
from carnet.strictjson import JsonObject
from carnet.tuf.keys import Signature, is_keyid

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""The DSSE payload type of links, layouts and statements."""

MAX_ENVELOPE = 16 * 1024 * 1024
MAX_SIGNATURES = 32


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that a DSSE signature covers: the pre-authentication encoding (DSSE protocol, version 1)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A DSSE envelope: a payload, and signatures over its type and bytes.

    Attributes:
        payload: The exact bytes that were signed.
        signatures: As offered; nothing is verified here. One per key id.
        payload_type: Always `PAYLOAD_TYPE`.
    """

    payload: bytes
    signatures: tuple[Signature, ...] = ()
    payload_type: str = PAYLOAD_TYPE

    @classmethod
    def from_bytes(cls, data: bytes, what: str = "a DSSE envelope") -> Envelope:
        """Read an envelope.

        Raises:
            FormatError: Too large, not strict JSON, or not an envelope of in-toto metadata.
        """
        return cls.from_object(strictjson.parse(data, what, max_bytes=MAX_ENVELOPE), what)

    @classmethod
    def from_object(cls, value: Any, what: str = "a DSSE envelope") -> Envelope:
        """Read an envelope that was parsed already.

        Raises:
            FormatError: Not an envelope of in-toto metadata, or one key id signs twice.
        """
        match value:
            case {"payload": str(payload), "payloadType": str(payload_type), "signatures": list(signatures)}:
                pass
            case _:
                raise FormatError(f"{what} needs payload, payloadType and signatures")
        if payload_type != PAYLOAD_TYPE:
            raise FormatError(f"{what} holds {payload_type[:60]!a}, not {PAYLOAD_TYPE}")
        if len(signatures) > MAX_SIGNATURES:
            raise FormatError(f"{what} has more than {MAX_SIGNATURES} signatures")
        read = tuple(_signature(item, what) for item in signatures)
        if len({signature.keyid for signature in read}) != len(read):
            raise FormatError(f"{what} has two signatures of one key id")
        return cls(decode_base64(payload, f"the payload of {what}"), read)

    @property
    def message(self) -> bytes:
        """What the signatures are over."""
        return pae(self.payload_type, self.payload)

    def with_signature(self, signature: Signature) -> Envelope:
        """The same envelope with one more signature; an older one of the same key id gives way."""
        others = tuple(item for item in self.signatures if item.keyid != signature.keyid)
        return replace(self, signatures=(*others, signature))

    def to_object(self) -> JsonObject:
        """The JSON form."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": item.keyid, "sig": base64.b64encode(item.sig).decode()} for item in self.signatures
            ],
        }

    def to_bytes(self) -> bytes:
        """The JSON form as a file, one line."""
        return strictjson.encode(self.to_object()) + b"\n"


def _signature(value: Any, what: str) -> Signature:
    match value:
        case {"keyid": str(keyid), "sig": str(sig)} if is_keyid(keyid) and len(sig) <= 8192:
            return Signature(keyid, decode_base64(sig, f"a signature of {what}"))
        case _:
            raise FormatError(f"{what}: each signature needs keyid (64 hex digits) and sig (base64)")


def decode_base64(text: str, what: str) -> bytes:
    """Decode standard base64 strictly.

    Raises:
        FormatError: Not base64, or with characters that do not belong.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise FormatError(f"{what} is not base64") from None
