"""The keys in `keys-example/`, whose private halves everybody has: refused unless someone insists."""

from __future__ import annotations

from collections.abc import Iterable

from carnet.errors import SigningError
from carnet.keys import PublicKey

EXAMPLE_MATERIAL: frozenset[bytes] = frozenset()
"""The material of each example key, so that no other id, scheme or PEM layout hides one."""


def refuse_example_keys(keys: Iterable[PublicKey], *, allow: bool = False) -> None:
    """Refuse keys that are published with this project.

    Args:
        keys: Keys about to be used or trusted.
        allow: Someone said `--insecure-example-keys`.

    Raises:
        SigningError: One of them is an example key.
    """
    for key in keys:
        if not allow and key.material in EXAMPLE_MATERIAL:
            raise SigningError(
                f"key {key.keyid} is an example key: everybody has its private half",
                hint="make your own with `carnet key generate`; for a trial there is `--insecure-example-keys`",
            )
