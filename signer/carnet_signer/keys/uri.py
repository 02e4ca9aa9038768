"""A key is a URI: its scheme says which backend keeps the key. A path without a scheme is a file."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import carnet_signer.keys
from carnet.errors import ConfigError
from carnet.tuf.example_keys import refuse_example_keys
from carnet.tuf.keys import PublicKey
from carnet_signer.keys.signer import Access, Backend, Passphrase, Say, Scheme, Signer

_FILE = "file"


def backends() -> Iterator[Backend]:
    """Every place where keys are kept: the modules of this folder that have a `BACKEND`, sorted by name."""
    package = carnet_signer.keys
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        found = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "BACKEND", None)
        if isinstance(found, Backend):
            yield found


def load_signer(
    uri: str, passphrase: Passphrase, *, insecure_example_keys: bool = False, say: Say = lambda _: None
) -> Signer:
    """Open a private key.

    Args:
        uri: A path, or a URI of one of the `backends`.
        passphrase: Asked once, and only when the key is locked.
        insecure_example_keys: Also open the keys in `keys-example/`.
        say: Told when a person is waited for.

    Raises:
        ConfigError: A kind of URI that is not known, one that is written wrong, or a backend that is not installed.
        SigningError: Missing, readable by others, locked, of another type, an example key, or not the private half of
            the `.pub` file beside it.
    """
    backend, rest = _backend(uri)
    signer = backend.open(rest, Access(passphrase, say, insecure_example_keys))
    refuse_example_keys([signer.public_key], allow=insecure_example_keys)
    return signer


def read_public_half(uri: str, passphrase: Passphrase, *, say: Say = lambda _: None) -> PublicKey:
    """Read the public half of the key at a URI.

    Args:
        uri: As for `load_signer`; or the path of a public key file.
        passphrase: Asked only where the public half, too, is behind a PIN.
        say: As for `load_signer`.

    Raises:
        ConfigError: As for `load_signer`; or there is no such public key file.
        SigningError: There is no such key, or it does not open.
        FormatError: A public key file that is damaged.
    """
    backend, rest = _backend(uri)
    return backend.read_public(rest, Access(passphrase, say))


def generate(uri: str, scheme: Scheme, passphrase: Passphrase, *, say: Say = lambda _: None) -> PublicKey:
    """Make a key where it will stay, such as in a token; a key file is made by `carnet_signer.keys.file`.

    Args:
        uri: Where, and under which name.
        scheme: `ed25519` or `ecdsa` (P-256).
        passphrase: Asked for what unlocks the place.
        say: As for `load_signer`.

    Raises:
        ConfigError: A URI that is wrong, or of a backend that makes no keys.
        SigningError: The place does not open, has such a key already, or cannot make one.
    """
    backend, rest = _backend(uri)
    if backend.generate is None:
        raise ConfigError(f"no key is made at {uri!a}", hint="give the path of a new file")
    return backend.generate(rest, scheme, Access(passphrase, say))


def exists(uri: str) -> bool:
    """Whether there is a key at a URI; nobody is asked for a passphrase."""
    backend, rest = _backend(uri)
    return backend.exists(rest)


def key_file(uri: str) -> Path | None:
    """The private key file that a URI names; None when the key is kept elsewhere."""
    scheme, rest = _split(uri)
    return Path(rest) if scheme == _FILE else None


def anchored(uri: str) -> str:
    """The same key, named so that a process in another folder finds it."""
    path = key_file(uri)
    return uri if path is None else str(path.absolute())


def _backend(uri: str) -> tuple[Backend, str]:
    scheme, rest = _split(uri)
    known = list(backends())
    for backend in known:
        if scheme in backend.schemes:
            return backend, rest
    raise ConfigError(
        f"key URI {uri!a} is of no known kind", hint=f"a key is {' or '.join(backend.form for backend in known)}"
    )


def _split(uri: str) -> tuple[str, str]:
    scheme, colon, rest = uri.partition(":")
    if not colon or "/" in scheme:
        scheme, rest = _FILE, uri
    if scheme.lower() == _FILE and not Path(rest).name:
        raise ConfigError(f"{uri!a} names no key file", hint="give the path of a file")
    return scheme.lower(), rest
