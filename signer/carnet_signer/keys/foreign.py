"""Private keys as other programs write them: which of them can be imported, and what to type for the others."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.errors import SigningError
from carnet.value import value

if TYPE_CHECKING:
    from carnet_signer.keys.signer import Passphrase

_LABEL = re.compile(rb"^-----BEGIN ([A-Z0-9 ]{1,40})-----", re.MULTILINE)
_DER = b"\x30"
"""The first byte of everything that ASN.1 calls a sequence: PKCS#8, PKCS#12, certificates."""
_IMPORTED = {
    b"PRIVATE KEY": "a PKCS#8 private key",
    b"ENCRYPTED PRIVATE KEY": "an encrypted PKCS#8 private key",
    b"EC PRIVATE KEY": "a private key in OpenSSL's older format for curves",
    b"EC PARAMETERS": "a private key in OpenSSL's older format for curves",
}
"""What `carnet key import` reads beside OpenSSH's own format, by PEM label."""
_NEW = "make one with `carnet key generate NAME`"
_OTHERS = {
    b"RSA PRIVATE KEY": ("an RSA key", f"carnet signs with Ed25519 and ECDSA P-256: {_NEW}"),
    b"DSA PRIVATE KEY": ("a DSA key", f"carnet signs with Ed25519 and ECDSA P-256: {_NEW}"),
    b"PGP PRIVATE KEY BLOCK": ("an OpenPGP key", f"carnet signs with keys of its own: {_NEW}"),
    b"PUBLIC KEY": ("a public key", "name the private key that belongs to it"),
    b"SSH2 PUBLIC KEY": ("a public key", "name the private key that belongs to it"),
    b"CERTIFICATE": ("a certificate, without a private key", "name the file of the private key that belongs to it"),
}


@value
class Unreadable:
    """Why a file is no private key that can be opened.

    Attributes:
        what: What it is instead, such as `an RSA key`.
        hint: What to type.
    """

    what: str
    hint: str


def is_importable(data: bytes) -> bool:
    """Whether a file is, by its label, a private key that `load` reads."""
    return any(label in _IMPORTED for label in _LABEL.findall(data))


def load(data: bytes, path: Path, passphrase: Passphrase) -> object:
    """Read a private key in PKCS#8 or SEC 1, as OpenSSL writes them in PEM, encrypted or not.

    Args:
        data: The file.
        path: Where it is.
        passphrase: Asked when it is encrypted.

    Returns:
        A private key of whatever kind, as cryptography holds it.

    Raises:
        SigningError: It does not open, or is damaged.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        try:
            return load_pem_private_key(data, None)
        except TypeError:  # it is encrypted
            return load_pem_private_key(data, ask(path, passphrase))
    except UnsupportedAlgorithm:
        raise SigningError(f"{path} is of a kind that carnet does not know", hint=_NEW) from None
    except ValueError:
        raise SigningError(
            f"{path} does not open with this passphrase, or the file is damaged",
            hint=f"`openssl pkey -in {shlex.quote(str(path))} -noout -check` tells which",
        ) from None


def ask(path: Path, passphrase: Passphrase) -> bytes:
    """The passphrase of a private key file that has one.

    Raises:
        SigningError: There is nobody to ask, or it is empty.
    """
    secret = passphrase(f"passphrase of {path.name}")
    if secret is None:
        raise SigningError(
            f"{path} is locked and there is nobody to ask for its passphrase",
            hint="add `--passphrase-file FILE`, a file that only you can read; or run it in a terminal",
        )
    if not secret:
        raise SigningError(
            f"{path} does not open with an empty passphrase", hint="type the one that it was encrypted with"
        )
    return secret


def why_not(data: bytes, path: Path) -> Unreadable:
    """What a file is that is no private key in OpenSSH's format, and what to do about it."""
    name = shlex.quote(str(path))
    if not data.strip():
        return Unreadable("empty", f"bring the file back from a backup, or {_NEW}")
    for label in _LABEL.findall(data):
        if label in _IMPORTED:
            return Unreadable(
                _IMPORTED[label], f"`carnet key import {name} NAME` makes the file NAME of it, which carnet signs with"
            )
        if label in _OTHERS:
            return Unreadable(*_OTHERS[label])
    if b"BEGIN OPENSSH PRIVATE KEY" in data:
        return Unreadable("a damaged private key", "bring the file back from a backup: some of it is missing")
    if data.startswith(b"PuTTY-User-Key-File"):
        return Unreadable(
            "a private key of PuTTY's", f"`puttygen {name} -O private-openssh-new -o NEW`, then use the file NEW"
        )
    if data.startswith((b"ssh-", b"ecdsa-", b"sk-", b"{")):
        return Unreadable("a public key", "name the private key that belongs to it, mostly the file without `.pub`")
    if data.startswith(_DER):
        return Unreadable(
            "binary, such as PKCS#8 or PKCS#12",
            f"`openssl pkey -in {name} -out NEW` writes it as text, which `carnet key import NEW NAME` reads",
        )
    return Unreadable(
        "not a private key", f"name a file that `carnet key generate` or `ssh-keygen -t ed25519` made, or {_NEW}"
    )
