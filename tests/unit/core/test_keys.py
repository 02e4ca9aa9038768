"""Public keys: which are allowed, how their ids come about, and what counts as a signature."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import CryptoSigner

from carnet.errors import FormatError
from carnet.tuf.keys import Profile, PublicKey, Signature, signers

# y-coordinates of the points whose order divides 8, both signs of x, and two encodings that are not canonical.
LOW_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def read(signer: CryptoSigner) -> PublicKey:
    return PublicKey.from_object(signer.public_key.to_dict(), keyid=signer.public_key.keyid)


@pytest.mark.parametrize("make", [CryptoSigner.generate_ed25519, CryptoSigner.generate_ecdsa])
def test_allowed_keys_are_read_and_verify(make: object) -> None:
    signer = make()  # type: ignore[operator]
    key = read(signer)
    signature = bytes.fromhex(signer.sign(b"message").signature)
    assert key.verifies(signature, b"message")
    assert not key.verifies(signature, b"another")
    assert not key.verifies(b"", b"message")
    assert key.to_object() == signer.public_key.to_dict()


@pytest.mark.parametrize("public", LOW_ORDER)
def test_low_order_and_non_canonical_points_are_refused(public: str) -> None:
    for profile in Profile:
        with pytest.raises(FormatError):
            PublicKey.from_object(
                {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}}, profile=profile
            )


def test_rsa_is_for_the_general_profile_only() -> None:
    key = CryptoSigner.generate_rsa().public_key
    with pytest.raises(FormatError, match="not allowed"):
        PublicKey.from_object(key.to_dict(), keyid=key.keyid)
    assert PublicKey.from_object(key.to_dict(), keyid=key.keyid, profile=Profile.GENERAL).keytype == "rsa"


def test_key_id_must_be_the_digest_of_the_key() -> None:
    key = CryptoSigner.generate_ed25519().public_key
    with pytest.raises(FormatError, match="not the digest"):
        PublicKey.from_object(key.to_dict(), keyid="0" * 64)


@pytest.mark.parametrize("damage", [None, [], {}, {"keytype": "ed25519"}, {"keytype": 1, "scheme": 2, "keyval": 3}])
def test_what_is_not_a_key_object_is_refused(damage: object) -> None:
    with pytest.raises(FormatError):
        PublicKey.from_object(damage)


def test_one_key_under_two_ids_counts_once() -> None:
    signer = CryptoSigner.generate_ed25519()
    plain = signer.public_key.to_dict()
    first = PublicKey.from_object(plain)
    second = PublicKey.from_object(plain | {"x-note": "the same key, another id"})
    assert first.keyid != second.keyid
    signature = bytes.fromhex(signer.sign(b"m").signature)
    offered = [Signature(first.keyid, signature), Signature(second.keyid, signature)]
    assert len(signers([first, second], offered, b"m")) == 1
    other = CryptoSigner.generate_ed25519()
    offered.append(Signature(read(other).keyid, bytes.fromhex(other.sign(b"m").signature)))
    assert len(signers([first, second, read(other)], offered, b"m")) == 2


def test_a_key_has_the_size_of_one() -> None:
    """What an owner writes beside a key, every client of the mirror remembers."""
    plain = CryptoSigner.generate_ed25519().public_key.to_dict()
    assert PublicKey.from_object(plain | {"note": "x" * 10_000}).extra == {"note": "x" * 10_000}
    with pytest.raises(FormatError, match="a key is larger than"):
        PublicKey.from_object(plain | {"note": "x" * 20_000})


def test_one_ecdsa_key_in_two_pem_layouts_counts_once() -> None:
    signer = CryptoSigner.generate_ecdsa()
    plain = signer.public_key.to_dict()
    pem = plain["keyval"]["public"]
    assert PublicKey.from_object(plain).material == (
        PublicKey.from_object(plain | {"keyval": {"public": pem + "\n\n"}}).material
    )


def pem_of(private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | Ed25519PrivateKey) -> str:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@cache
def rsa_private(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


SCHEMES = ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("curve", [ec.SECP224R1(), ec.SECP256R1(), ec.SECP256K1(), ec.SECP384R1(), ec.SECP521R1()])
def test_an_ecdsa_key_is_on_the_curve_that_its_scheme_names(curve: ec.EllipticCurve, scheme: str) -> None:
    key = {"keytype": "ecdsa", "scheme": scheme, "keyval": {"public": pem_of(ec.generate_private_key(curve))}}
    for profile in Profile:
        own = {"secp256r1": SCHEMES[0], "secp384r1": SCHEMES[1] if profile is Profile.GENERAL else None}
        if own.get(curve.name) == scheme:
            assert PublicKey.from_object(key, profile=profile).scheme == scheme
            continue
        with pytest.raises(FormatError, match=r"not on the curve|is not allowed"):
            PublicKey.from_object(key, profile=profile)


@pytest.mark.parametrize("keytype", ["ecdsa", *SCHEMES])
@pytest.mark.parametrize("other", ["rsa", "ed25519"])
def test_an_ecdsa_scheme_takes_no_key_of_another_kind(other: str, keytype: str) -> None:
    private = rsa_private() if other == "rsa" else Ed25519PrivateKey.generate()
    scheme = keytype if keytype in SCHEMES else SCHEMES[0]
    key = {"keytype": keytype, "scheme": scheme, "keyval": {"public": pem_of(private)}}
    for profile in Profile:
        with pytest.raises(FormatError, match=r"not on the curve|is not allowed"):
            PublicKey.from_object(key, profile=profile)


def rsa_key(public: str, scheme: str = "rsassa-pss-sha256") -> PublicKey:
    key = {"keytype": "rsa", "scheme": scheme, "keyval": {"public": public}}
    return PublicKey.from_object(key, profile=Profile.GENERAL)


@pytest.mark.parametrize("bits", [1024, 2040])
def test_a_short_rsa_key_is_refused(bits: int) -> None:
    assert rsa_key(pem_of(rsa_private())).keytype == "rsa"
    with pytest.raises(FormatError, match="at least 2048 bits"):
        rsa_key(pem_of(rsa_private(bits)))


@pytest.mark.parametrize("private", [ec.generate_private_key(ec.SECP384R1()), Ed25519PrivateKey.generate()])
def test_an_rsa_scheme_takes_no_key_of_another_kind(private: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> None:
    with pytest.raises(FormatError, match="an RSA public key"):
        rsa_key(pem_of(private))


@pytest.mark.parametrize("public", ["", "ed25519", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_pem_is_no_key(public: str) -> None:
    with pytest.raises(FormatError, match="not valid PEM"):
        rsa_key(public)


def test_a_pem_has_the_size_of_a_key() -> None:
    """Some readers of PEM skip what stands before it, however much it is."""
    pem = pem_of(ec.generate_private_key(ec.SECP256R1()))
    key = {"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256"}
    assert PublicKey.from_object(key | {"keyval": {"public": "\n" * 5000 + pem}}).keytype == "ecdsa"
    with pytest.raises(FormatError, match="in PEM is too large"):
        PublicKey.from_object(key | {"keyval": {"public": "\n" * 9990 + pem}})


def sign_rsa(private: rsa.RSAPrivateKey, scheme: str, message: bytes) -> bytes:
    digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[scheme[-3:]]
    if scheme.startswith("rsa-pkcs1v15"):
        return private.sign(message, padding.PKCS1v15(), digest)
    return private.sign(message, padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH), digest)


@pytest.mark.parametrize("bits", ["256", "384", "512"])
def test_an_rsa_signature_is_one_over_the_message_in_the_scheme(bits: str) -> None:
    private, another = rsa_private(), rsa_private(2056)
    schemes = [f"rsassa-pss-sha{bits}", f"rsa-pkcs1v15-sha{bits}"]
    for scheme, other in (schemes, reversed(schemes)):
        key = rsa_key(pem_of(private), scheme)
        assert key.verifies(sign_rsa(private, scheme, b"message"), b"message")
        assert not key.verifies(sign_rsa(private, scheme, b"message"), b"another")
        assert not key.verifies(sign_rsa(private, other, b"message"), b"message")
        assert not key.verifies(sign_rsa(another, scheme, b"message"), b"message")
        assert not key.verifies(b"", b"message")


@pytest.mark.parametrize(
    "damage", [str.upper, lambda text: text[:-1], lambda text: text + "0", lambda text: "g" + text[1:]]
)
def test_an_ed25519_key_is_64_lower_case_digits(damage: Callable[[str], str]) -> None:
    public = "ab" * 32
    with pytest.raises(FormatError, match="64 lower-case hex digits"):
        PublicKey.from_object({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": damage(public)}})
