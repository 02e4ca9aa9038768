"""Public halves of keys: read from files, taken from what cryptography holds, and their fingerprints."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from carnet import durable, strictjson
from carnet.errors import ConfigError, FormatError
from carnet.strictjson import Json
from carnet.tuf.keys import PublicKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_MAX_FILE = 64_000
_ORIGIN = re.compile(r"[\x20-\x7e]{1,120}")
_ASK = "ask its owner for the file NAME.pub that `carnet key generate` or `ssh-keygen` made beside the private key"
_MAKE = "carnet signs with Ed25519 and ECDSA P-256: its owner makes such a key with `carnet key generate NAME`"


def public_path(path: Path) -> Path:
    """Where the public half of the private key at `path` lies."""
    return path.with_name(f"{path.name}.pub")


def write_public_key(path: Path, key: PublicKey) -> None:
    """Write a public key file, which must not be there yet.

    Raises:
        ConfigError: There is one already.
        StorageError: The disk failed.
    """
    try:
        durable.create_file(path, strictjson.encode(key.to_object()) + b"\n")
    except FileExistsError:
        raise ConfigError(f"{path} exists already", hint="keys are never overwritten") from None


def read_public_key(path: Path) -> PublicKey:
    """Read a public key file: our JSON key object, OpenSSH's `ssh-ed25519 AAAA... comment`, or OpenSSL's PEM.

    Raises:
        ConfigError: There is no such file, it is none of the three forms, or a key type that is not allowed.
    """
    with durable.users_file(path, "public key file"):
        data = _read(path)
        if b"PRIVATE KEY" in data:
            raise ConfigError(f"{path} is a private key", hint=_public_half_of(data, path))
        if data.startswith((b"ssh-", b"ecdsa-")):
            return _from_openssh(data, path)
        if data.lstrip().startswith(b"-----BEGIN PUBLIC KEY-----"):
            return _from_pem(data, path)
        if not data.lstrip().startswith(b"{"):
            what = (
                "holds no public key, neither as carnet writes them nor as OpenSSH does" if data.strip() else "is empty"
            )
            raise FormatError(f"public key file {path} {what}", hint=_ASK)
        return PublicKey.from_object(strictjson.parse_object(data, f"public key file {path}", max_bytes=_MAX_FILE))


def origin(path: Path) -> str:
    """Where a public key was read from, in 120 plain characters: the file's name, and OpenSSH's comment in it.

    Raises:
        ConfigError: There is no such file.
    """
    return origin_of(path.name, _read(path))


def origin_of(name: str, data: bytes) -> str:
    """The same for a file that somebody has read.

    Args:
        name: The file's name.
        data: What is in it.
    """
    words = data.split(maxsplit=2) if data.startswith((b"ssh-", b"ecdsa-")) else []
    comment = f" ({words[2].decode(errors='replace').strip()})" if len(words) > 2 else ""
    return "".join(char if " " <= char <= "~" else "?" for char in name + comment)[:120]


def read_origins(value: Json, what: str) -> dict[str, str]:
    """Where keys come from, by key id, as whoever drafted says: nothing is decided by it.

    Args:
        value: As `request.json` and the terms of a layout carry it.
        what: What carries it, for messages.

    Raises:
        FormatError: One is more than a short, plain name, which could be taken for words of carnet's.
    """
    if isinstance(value, dict) and all(isinstance(said, str) and _ORIGIN.fullmatch(said) for said in value.values()):
        return {keyid: str(said) for keyid, said in value.items()}
    raise FormatError(
        f"{what} says of a key that it comes from something else than a short, plain name",
        hint="ask whoever made it to make it anew: `origins` has 1 to 120 letters of ASCII for each key id",
    )


def said_origin(keyid: str, origins: Mapping[str, str]) -> str:
    """Where a key comes from, to be read behind its id, with whose word that is; empty when nobody says."""
    return f"; whoever drafted this says that it is from {origins[keyid]!r}" if keyid in origins else ""


def _read(path: Path) -> bytes:
    try:
        return durable.read_file(path, "public key file", max_bytes=_MAX_FILE)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no public key file {path}",
            hint=f"name its place if it was moved; `carnet key list {shlex.quote(str(path.parent))}` lists those there",
        ) from None


def _public_half_of(data: bytes, path: Path) -> str:
    if public_path(path).exists():
        return f"hand out its public half, {public_path(path)}"
    if b"OPENSSH PRIVATE KEY" in data:
        return (
            f"`ssh-keygen -y -f {shlex.quote(str(path))} > {shlex.quote(str(public_path(path)))}` makes its public half"
        )
    return f"`carnet key import {shlex.quote(str(path))} NAME` makes NAME to sign with, and NAME.pub to hand out"


def from_cryptography(public: Ed25519PublicKey | EllipticCurvePublicKey) -> PublicKey:
    """The key object of a public key that cryptography holds.

    Raises:
        FormatError: Another curve than P-256, or a low-order point.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if isinstance(public, Ed25519PublicKey):
        return PublicKey.ed25519(public.public_bytes(Encoding.Raw, PublicFormat.Raw))
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return PublicKey.from_object({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": pem}})


def openssh_fingerprint(key: PublicKey) -> str:
    """The key's fingerprint as `ssh-keygen -l` prints it: `SHA256:` and base64 without padding."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import load_der_public_key, ssh_key_fingerprint

    loaded: object
    if key.keytype == "ed25519":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        loaded = Ed25519PublicKey.from_public_bytes(key.material)
    else:
        loaded = load_der_public_key(key.material)
    digest = ssh_key_fingerprint(loaded, hashes.SHA256())  # type: ignore[arg-type]
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _from_openssh(data: bytes, path: Path) -> PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        return _of_known_kind(load_ssh_public_key(data.strip()), path)
    except (ValueError, UnsupportedAlgorithm, NotImplementedError):  # a certificate's, a curve point's in short form
        raise FormatError(f"public key file {path} is not an OpenSSH public key", hint=_ASK) from None


def _from_pem(data: bytes, path: Path) -> PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return _of_known_kind(load_pem_public_key(data), path)
    except (ValueError, UnsupportedAlgorithm):
        raise FormatError(f"public key file {path} is damaged, or of an unknown kind", hint=_ASK) from None


def _of_known_kind(public: object, path: Path) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if isinstance(public, Ed25519PublicKey | EllipticCurvePublicKey):
        return from_cryptography(public)
    raise FormatError(f"public key file {path} is neither Ed25519 nor ECDSA P-256", hint=_MAKE)
