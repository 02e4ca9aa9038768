"""The `Signer` that everything signs with, and what a key backend has to offer to make one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from carnet.tuf.keys import PublicKey, Signature

Scheme = Literal["ed25519", "ecdsa"]
"""Kinds of key that carnet makes; `ecdsa` is P-256."""
Passphrase = Callable[[str], bytes | None]
"""Asked with a prompt, such as `passphrase of alice` or `PIN of the token desk`; None when nobody can answer."""
Say = Callable[[str], None]
"""Told, in one line, what a person has to know while a key is at work, such as that a token waits to be touched."""


class Signer(Protocol):
    """Makes signatures that one public key verifies."""

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies what this signs."""

    def sign(self, message: bytes) -> Signature:
        """Sign a message.

        Raises:
            SigningError: The key did not sign: its token is gone, or did not answer in time.
        """


@dataclass(frozen=True)
class Access:
    """How a backend reaches the person whose key it opens.

    Attributes:
        passphrase: Asked for a passphrase or a PIN, and only where the key needs one.
        say: Told what that person should do meanwhile.
        insecure_example_keys: Also open the keys in `keys-example/`.
    """

    passphrase: Passphrase
    say: Say
    insecure_example_keys: bool = False


@dataclass(frozen=True)
class Backend:
    """One place where keys are kept. A module of this folder that has a `BACKEND` is found by `carnet_signer.keys.uri`.

    The functions take what follows `<scheme>:` in the URI. They raise ConfigError where that is wrong, and SigningError
    where the key is missing, locked or of a kind that carnet does not use.

    Attributes:
        schemes: The URI schemes that lead to it, in lower case.
        form: How such a URI is written, for people.
        meaning: Where such a key is, in a few words.
        open: Opens a key.
        read_public: Reads a key's public half, without the private one where that is possible.
        exists: Finds out whether there is such a key, without asking anybody.
        generate: Makes a key there and returns its public half; None where a key is not made by its URI alone.
    """

    schemes: tuple[str, ...]
    form: str
    meaning: str
    open: Callable[[str, Access], Signer]
    read_public: Callable[[str, Access], PublicKey]
    exists: Callable[[str], bool]
    generate: Callable[[str, Scheme, Access], PublicKey] | None = None
