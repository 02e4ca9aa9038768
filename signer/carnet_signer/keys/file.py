"""Keys in files: made, kept encrypted, imported, opened.

A private key file is OpenSSH's format with its bcrypt work factor raised (about a second for each guess): PKCS#8, as
cryptography writes it, would let an attacker guess thousands of passphrases a second. A file that others can read, or
that stands where others can swap it, is refused. The public half lies beside it in `<name>.pub`, as the JSON key object
that metadata carries.
"""

from __future__ import annotations

import base64
import os
import shlex
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from carnet import durable
from carnet.errors import ConfigError, MalformedKey, SigningError
from carnet.tuf.example_keys import EXAMPLE_MATERIAL
from carnet.tuf.keys import PublicKey, Signature
from carnet_signer.keys.foreign import ask, is_importable, load, why_not
from carnet_signer.keys.public import from_cryptography, public_path, read_public_key, write_public_key
from carnet_signer.keys.signer import Access, Backend, Passphrase, Scheme

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey

KDF_ROUNDS = 128
"""bcrypt rounds of a private key file: about a second on one core; OpenSSH's own default is 16 or 24."""
MIN_PASSPHRASE = 12
"""Characters; four random words have more."""
_MAX_KDF_ROUNDS = 10_000
_MAX_KEY_FILE = 64_000
_MAX_PASSPHRASE = 1_000


@dataclass(frozen=True)
class FileSigner:
    """A private key that was read into this process.

    Attributes:
        public_key: Its public half.
    """

    public_key: PublicKey
    _private: PrivateKey = field(repr=False)

    def sign(self, message: bytes) -> Signature:
        """Sign a message."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if isinstance(self._private, Ed25519PrivateKey):
            return Signature(self.public_key.keyid, self._private.sign(message))
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        return Signature(self.public_key.keyid, self._private.sign(message, ec.ECDSA(hashes.SHA256())))

    def __reduce__(self) -> str:
        raise TypeError("a private key is not to be copied")


def generate_key(path: Path, scheme: Scheme, passphrase: bytes | None, *, kdf_rounds: int = KDF_ROUNDS) -> PublicKey:
    """Make a key: the encrypted private half at `path`, the public half at `<path>.pub`.

    Args:
        path: Where the private key goes; nothing may be there.
        scheme: `ed25519` or `ecdsa` (P-256).
        passphrase: What encrypts it; None leaves it in the clear, for trials and for machines whose disk is the secret.
        kdf_rounds: bcrypt rounds; only tests have a reason to lower them.

    Raises:
        ConfigError: The passphrase is too short, or a file is there already.
        StorageError: The disk failed.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate() if scheme == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    return store_key(path, private, passphrase, kdf_rounds=kdf_rounds)


def import_key(
    source: Path, path: Path, unlock: Passphrase, passphrase: bytes | None, *, kdf_rounds: int = KDF_ROUNDS
) -> PublicKey:
    """Copy a private key (Ed25519 or P-256) into a file of our own, encrypted with our work factor.

    It may be in OpenSSH's format, or in PKCS#8 or SEC 1 as OpenSSL writes them in PEM.

    Args:
        source: Such as `~/.ssh/id_ed25519` or a `key.pem`; it is not changed.
        path: Where the copy goes, with `<path>.pub` beside it.
        unlock: Asked for the passphrase of `source` when it has one.
        passphrase: What encrypts the copy.
        kdf_rounds: As for `generate_key`.

    Raises:
        SigningError: The source is readable by others, has another type, or does not open.
        ConfigError: As `generate_key`.
    """
    return store_key(path, _open(source, unlock, foreign=True), passphrase, kdf_rounds=kdf_rounds)


def store_key(path: Path, private: PrivateKey, passphrase: bytes | None, *, kdf_rounds: int = KDF_ROUNDS) -> PublicKey:
    """Write a private key and its public half, as `generate_key` does."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        KeySerializationEncryption,
        NoEncryption,
        PrivateFormat,
    )

    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        check_passphrase(passphrase)
        encryption = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(kdf_rounds).build(passphrase)
    public = from_cryptography(private.public_key())
    beside = public_path(path)
    _check_folder(path)
    if os.path.lexists(beside):
        raise ConfigError(f"{beside} exists already", hint="choose another name; keys are never overwritten")
    data = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption)
    try:
        durable.create_file(path, data, mode=0o600)
        write_public_key(beside, public)
    except FileExistsError as error:
        raise ConfigError(f"{error.filename2} exists already", hint="keys are never overwritten") from None
    return public


def check_passphrase(passphrase: bytes) -> None:
    """Refuse a passphrase that can be guessed however slow each guess is.

    Raises:
        ConfigError: Too short, too long, or one character over and over.
    """
    if len(passphrase) > _MAX_PASSPHRASE:
        raise ConfigError(
            f"a passphrase has at most {_MAX_PASSPHRASE} bytes", hint="four or five random words are enough"
        )
    if len(passphrase.decode("utf-8", "replace")) < MIN_PASSPHRASE or len(set(passphrase)) < 5:
        raise ConfigError(
            f"the passphrase is too weak: it needs at least {MIN_PASSPHRASE} characters, five of them different",
            hint="four or five random words are easy to type and hard to guess",
        )


def open_key(path: Path, access: Access) -> FileSigner:
    """Open a private key file.

    Raises:
        SigningError: Missing, readable by others, locked, of another type, or not the private half of the `.pub` file
            beside it.
    """
    private = _open(path, access.passphrase, insecure_example_keys=access.insecure_example_keys)
    public = from_cryptography(private.public_key())
    if public_path(path).exists() and read_public_key(public_path(path)).material != public.material:
        raise SigningError(
            f"{public_path(path)} is not the public half of {path}",
            hint="one of the two files was replaced: find out which before you sign anything",
        )
    return FileSigner(public, private)


def _read_public(path: Path) -> PublicKey:
    """The public half that lies beside a private key, or the file itself."""
    beside = public_path(path)
    return read_public_key(beside if path.suffix != ".pub" and beside.exists() else path)


def _open(
    path: Path, passphrase: Passphrase, *, foreign: bool = False, insecure_example_keys: bool = False
) -> PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    # git keeps no permissions: example keys lie there for everybody, and are no secret anyway.
    if insecure_example_keys and _is_example(path):
        data = durable.read_file(path, "private key file", max_bytes=_MAX_KEY_FILE)
    else:
        data = read_secret_file(path, "private key file")
    if foreign and is_importable(data):
        return _of_known_kind(load(data, path, passphrase), path)
    try:
        try:
            private = load_ssh_private_key(data, None)
        except TypeError:  # it is encrypted
            secret = ask(path, passphrase)
            _check_rounds(data, path)
            private = load_ssh_private_key(data, secret)
    except (ValueError, UnsupportedAlgorithm) as error:
        if b"OPENSSH PRIVATE KEY" in data and "checksum" in str(error):
            raise SigningError(f"{path} does not open with this passphrase", hint="or the file is damaged") from None
        unreadable = why_not(data, path)
        raise MalformedKey(
            f"{path} is not a private key that carnet can read: it is {unreadable.what}", hint=unreadable.hint
        ) from None
    return _of_known_kind(private, path)


def _of_known_kind(private: object, path: Path) -> PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if isinstance(private, Ed25519PrivateKey):
        return private
    if isinstance(private, EllipticCurvePrivateKey) and private.curve.name == "secp256r1":
        return private
    raise MalformedKey(
        f"{path} is neither an Ed25519 nor an ECDSA P-256 key", hint="make one with `carnet key generate NAME`"
    )


def _is_example(path: Path) -> bool:
    beside = public_path(path)
    return path.exists() and beside.exists() and read_public_key(beside).material in EXAMPLE_MATERIAL


def _check_rounds(data: bytes, path: Path) -> None:
    """Refuse a work factor that would keep this process busy for hours: a damaged file, or a trap."""
    body = b"".join(line for line in data.splitlines() if not line.startswith(b"-"))
    try:
        key = base64.b64decode(body, validate=False)
    except ValueError:
        raise MalformedKey(f"{path} is not a private key that carnet can read", hint="the file is damaged") from None
    _, found, options = key.partition(b"\x00\x00\x00\x06bcrypt")
    salt = int.from_bytes(options[4:8], "big")
    if found and int.from_bytes(options[8 + salt : 12 + salt], "big") > _MAX_KDF_ROUNDS:
        raise SigningError(f"{path} asks for more than {_MAX_KDF_ROUNDS} bcrypt rounds", hint="the file is damaged")


def read_secret_file(path: Path, what: str) -> bytes:
    """Read a file that only its owner may read.

    Raises:
        SigningError: Missing, readable or writable by others, someone else's, or in a folder where others can swap it.
    """

    def check(status: os.stat_result) -> None:
        if status.st_uid not in (os.geteuid(), 0):
            raise SigningError(
                f"{what} {path} belongs to another user",
                hint="a key is its owner's: sign as that user, or with a key of your own",
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise SigningError(
                f"{what} {path} can be read or changed by others (mode {stat.S_IMODE(status.st_mode):04o})",
                hint=f"if nobody has read it: `chmod 600 {shlex.quote(str(path))}`; if not, make a new key",
            )

    _check_folder(path)
    try:
        return durable.read_file(path, what, max_bytes=_MAX_KEY_FILE, check=check)
    except FileNotFoundError:
        raise SigningError(
            f"there is no {what} {path}",
            hint=f"name its place if it was moved; `carnet key list {shlex.quote(str(path.parent))}` lists those there",
        ) from None


def _check_folder(path: Path) -> None:
    """Refuse a folder in which any user may replace files: write permission for all and no sticky bit."""
    try:
        mode = path.parent.stat().st_mode
    except OSError:
        return  # opening the file will say what is wrong
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise SigningError(
            f"everybody may replace files in {path.parent}, where the key would be",
            hint=f"`chmod o-w {shlex.quote(str(path.parent))}`, or keep keys elsewhere",
        )


BACKEND = Backend(
    schemes=("file",),
    form="PATH or file:PATH",
    meaning="a private key file that `carnet key generate` made",
    open=lambda rest, access: open_key(Path(rest), access),
    read_public=lambda rest, _: _read_public(Path(rest)),
    exists=lambda rest: Path(rest).exists(),
)
