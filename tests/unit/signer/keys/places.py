"""One place for each key backend: what the conformance tests need to know to put any of them to work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.machines.softhsm import PIN, softhsm
from tests.support.worlds.ceremony import PASSPHRASE

from carnet.tuf.keys import PublicKey
from carnet_signer.keys import file, uri
from carnet_signer.keys.signer import Scheme


@dataclass(frozen=True)
class Place:
    """Somewhere keys are kept.

    Attributes:
        uri: The URI of the key with a name.
        make: Makes the key with a name.
        secret: What opens them.
    """

    uri: Callable[[str], str]
    make: Callable[[str, Scheme], PublicKey]
    secret: bytes


@contextmanager
def _files(folder: Path) -> Iterator[Place]:
    yield Place(
        lambda name: f"file:{folder / name}",
        lambda name, scheme: file.generate_key(folder / name, scheme, PASSPHRASE, kdf_rounds=1),
        PASSPHRASE,
    )


@contextmanager
def _tokens(folder: Path) -> Iterator[Place]:
    def name_of(name: str) -> str:
        return f"pkcs11:token=desk;object={name}"

    with softhsm(folder / "softhsm") as hsm:
        hsm.add_token("desk")
        yield Place(
            name_of, lambda name, scheme: uri.generate(name_of(name), scheme, lambda _: PIN.encode()), PIN.encode()
        )


PLACES = {"file": _files, "pkcs11": _tokens}
"""By URI scheme."""
