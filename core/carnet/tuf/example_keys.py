"""The keys in `keys-example/`, whose private halves everybody has: refused unless someone insists."""

from __future__ import annotations

from collections.abc import Iterable

from carnet.errors import SigningError
from carnet.tuf.keys import PublicKey

EXAMPLE_MATERIAL = frozenset(
    bytes.fromhex(material)
    for material in (
        "2e2dd525ab9fdf1ecf72690723a41e15c31834403473a91de0fc4aa6c6700a4d",  # alice
        "4675457e470e79e06ca8bfd546b8fdbddbb44a456620e24398e90c6cbf709e83",  # bob
        "00e877e5c89f0e090790f3493fd14f3d5d4c4818c0e3f6044a344277b015c18c",  # carol
        "2ac2f3a34f537146ac93447f23fecadd993c0183ae2cb50e2a6cd255be9cc099",  # online
    )
)
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
