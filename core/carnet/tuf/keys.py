"""Public keys, key ids and thresholds: which keys are allowed, and when enough distinct ones have signed.

carnet's own repositories use Ed25519 and ECDSA P-256 only. The general profile also reads RSA and P-384, for TUF
repositories that others run; it is used by the conformance client and never by the product.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from carnet import strictjson
from carnet.digests import sha256_hex
from carnet.errors import FormatError
from carnet.strictjson import JsonObject
from carnet.value import field, value

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey


class Profile(Enum):
    """Which keys and names are accepted."""

    PRODUCT = "product"
    """Ed25519 and ECDSA P-256; a key id is the digest of its key; roles are the ones of the trust model."""
    GENERAL = "general"
    """What the TUF specification allows: RSA and P-384 too, free key ids and role names."""


_P = 2**255 - 19
# The y-coordinates of the eight points of Ed25519 whose order divides 8. A key that is one of them accepts a signature
# that was made without any private key, for every message.
_LOW_ORDER_Y = frozenset(
    (
        0,
        1,
        _P - 1,
        2707385501144840649318225287225658788936804267575313519463743609750303402022,
        _P - 2707385501144840649318225287225658788936804267575313519463743609750303402022,
    )
)
_MAX_KEY = 20_000
_KEYID = re.compile(r"[0-9a-f]{64}\Z")
_MAX_PEM = 10_000
_P256 = ("secp256r1", "SHA256")
_P384 = ("secp384r1", "SHA384")
_ECDSA = {
    "ecdsa-sha2-nistp256": _P256,
    "ecdsa-sha2-nistp384": _P384,
}
_RSA = {
    "rsassa-pss-sha256": "SHA256",
    "rsassa-pss-sha384": "SHA384",
    "rsassa-pss-sha512": "SHA512",
    "rsa-pkcs1v15-sha256": "SHA256",
    "rsa-pkcs1v15-sha384": "SHA384",
    "rsa-pkcs1v15-sha512": "SHA512",
}


@value
class Signature:
    """One signature of a TUF file or a DSSE envelope: who claims to have signed, and the raw signature bytes."""

    keyid: str
    sig: bytes


@value
class PublicKey:
    """A public key as TUF and in-toto metadata carry it (TUF specification, 4.2).

    Attributes:
        keyid: The name it goes by: the sha256, in hex, of the canonical JSON of its key object.
        keytype: `ed25519`, `ecdsa`, or in the general profile `rsa`.
        scheme: How it signs, such as `ed25519` or `ecdsa-sha2-nistp256`.
        public: The public part as the metadata writes it: hex for Ed25519, PEM otherwise.
        material: Bytes that are equal for two keys if and only if they are the same key, whatever id, scheme or PEM
            layout they go by. Thresholds count these.
        extra: Fields of the key object that carnet does not know; they are part of its id.
    """

    keyid: str
    keytype: str
    scheme: str
    public: str
    material: bytes = field(repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    @classmethod
    def from_object(cls, key: Any, *, keyid: str | None = None, profile: Profile = Profile.PRODUCT) -> PublicKey:
        """Read a key object of TUF or in-toto metadata.

        Args:
            key: The parsed JSON: `keytype`, `scheme`, `keyval.public`.
            keyid: The id it is listed under; recomputed when None.
            profile: Which key types are accepted.

        Raises:
            FormatError: Not a key object, a type that the profile refuses, a key id that is not the key's digest
                (product profile), a low-order or non-canonical Ed25519 point, a curve other than the scheme's.
        """
        match key:
            case {"keytype": str(keytype), "scheme": str(scheme), "keyval": {"public": str(public)}}:
                pass
            case _:
                raise FormatError("a key needs keytype, scheme and keyval.public, all strings")
        canonical = strictjson.canonical(key, "a key")
        if len(canonical) > _MAX_KEY:
            raise FormatError(f"a key is larger than {_MAX_KEY} bytes")
        own_id = sha256_hex(canonical)
        if profile is Profile.PRODUCT and keyid is not None and keyid != own_id:
            raise FormatError(
                f"key id {keyid[:64]!a} is not the digest of its key",
                hint=f"the key's own id is {own_id}",
            )
        material = _material(keytype, scheme, public, profile)
        known = ("keytype", "scheme", "keyval")
        extra: dict[str, Any] = {name: value for name, value in key.items() if name not in known}
        more = {name: value for name, value in key["keyval"].items() if name != "public"}
        if more:
            extra["keyval"] = more
        return cls(keyid or own_id, keytype, scheme, public, material, extra)

    @classmethod
    def ed25519(cls, raw: bytes) -> PublicKey:
        """The key of 32 raw Ed25519 bytes.

        Raises:
            FormatError: Not 32 bytes, or a low-order or non-canonical point.
        """
        return cls.from_object({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": raw.hex()}})

    def to_object(self) -> JsonObject:
        """The key object, as metadata carries it; its canonical JSON hashes to the key id."""
        keyval = {"public": self.public} | self.extra.get("keyval", {})
        rest = {name: value for name, value in self.extra.items() if name != "keyval"}
        return {"keytype": self.keytype, "scheme": self.scheme, "keyval": keyval} | rest

    @cached_property
    def _handle(self) -> Any:
        if self.keytype == "ed25519":
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

            return Ed25519PublicKey.from_public_bytes(self.material)
        return _load_pem(self.public)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made `signature` over `message`."""
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

        try:
            if self.keytype == "ed25519":
                self._handle.verify(signature, message)
            elif self.keytype in ("ecdsa", *_ECDSA):
                from cryptography.hazmat.primitives import hashes
                from cryptography.hazmat.primitives.asymmetric import ec

                digest = getattr(hashes, _ECDSA[self.scheme][1])()
                self._handle.verify(signature, message, ec.ECDSA(digest))
            else:
                _verify_rsa(self._handle, self.scheme, signature, message)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError):
            return False
        return True


def is_keyid(text: str) -> bool:
    """Whether `text` has the form of a key id: 64 lower-case hex digits."""
    return _KEYID.match(text) is not None


def signers(keys: Iterable[PublicKey], signatures: Iterable[Signature], message: bytes) -> list[PublicKey]:
    """The keys that signed, each distinct key once, however often or under however many ids it is listed.

    Args:
        keys: The keys that may sign.
        signatures: The signatures offered; unknown key ids and invalid ones count for nothing.
        message: The exact bytes that were signed.

    Returns:
        Keys with a valid signature, distinct in key material (a threshold counts people, not ids), in the order of
        `signatures`.
    """
    by_id = {key.keyid: key for key in keys}
    found: dict[bytes, PublicKey] = {}
    for signature in signatures:
        key = by_id.get(signature.keyid)
        if key is not None and key.material not in found and key.verifies(signature.sig, message):
            found[key.material] = key
    return list(found.values())


def _material(keytype: str, scheme: str, public: str, profile: Profile) -> bytes:
    if keytype == "ed25519" and scheme == "ed25519":
        return _ed25519_material(public)
    # Both spellings of the key type are in use: TUF says "ecdsa", older files repeat the scheme.
    if keytype in ("ecdsa", scheme) and scheme in _ECDSA:
        if profile is Profile.PRODUCT and scheme != "ecdsa-sha2-nistp256":
            raise FormatError(f"key scheme {scheme} is not allowed", hint="use Ed25519 or ECDSA P-256")
        return _ecdsa_material(public, _ECDSA[scheme][0])
    if keytype == "rsa" and scheme in _RSA and profile is Profile.GENERAL:
        return _rsa_material(public)
    raise FormatError(
        f"key type {keytype[:40]!a} with scheme {scheme[:40]!a} is not allowed",
        hint="use Ed25519 or ECDSA P-256",
    )


def _ed25519_material(public: str) -> bytes:
    if _KEYID.match(public) is None:
        raise FormatError("an Ed25519 public key must be 64 lower-case hex digits")
    raw = bytes.fromhex(public)
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _P:
        raise FormatError("an Ed25519 public key is not in canonical form")
    if y in _LOW_ORDER_Y:
        raise FormatError("an Ed25519 public key is a low-order point, which accepts forged signatures")
    return raw


def _load_pem(public: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if len(public) > _MAX_PEM:
        raise FormatError("a public key in PEM is too large")
    try:
        return load_pem_public_key(public.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise FormatError("a public key is not valid PEM") from None


def _der(key: EllipticCurvePublicKey | RSAPublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _ecdsa_material(public: str, curve: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    key = _load_pem(public)
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != curve:
        raise FormatError(f"an ECDSA public key is not on the curve {curve} that its scheme names")
    return _der(key)


def _rsa_material(public: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    key = _load_pem(public)
    if not isinstance(key, RSAPublicKey) or key.key_size < 2048:
        raise FormatError("an RSA public key needs at least 2048 bits")
    return _der(key)


def _verify_rsa(key: RSAPublicKey, scheme: str, signature: bytes, message: bytes) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    digest = getattr(hashes, _RSA[scheme])()
    if scheme.startswith("rsa-pkcs1v15"):
        key.verify(signature, message, padding.PKCS1v15(), digest)
    else:
        key.verify(signature, message, padding.PSS(padding.MGF1(digest), padding.PSS.AUTO), digest)
