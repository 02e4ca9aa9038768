"""What the next version of each shard of claims says of itself and of its names (docs/formats.md)."""

from __future__ import annotations

from collections.abc import Mapping

from carnet.strictjson import JsonObject
from carnet.tuf.least import next_least
from carnet.tuf.roles import Targets
from carnet.tuf.structure import shard_field, shards_of
from carnet_signer.ceremony.claim_files import ClaimFiles


def shard_fields(shards: Mapping[str, Targets], claims: ClaimFiles) -> dict[str, JsonObject]:
    """The field of every shard: whom it speaks for, and below which version nobody believes a claim's roles.

    What is signed lives 90 days more, and so it is said anew of every crate what its files say now.

    Args:
        shards: The newest version of each, by its two hex digits.
        claims: The owners' and release keys' files.

    Raises:
        VerificationError: A file is missing, or is not signed as it should be.
    """
    shared = _shared(shards)
    together = shard_field(shared)
    return {
        shard: together if shard in shared else shard_field([shard], next_least(signed, claims.standing(signed)))
        for shard, signed in shards.items()
    }


def _shared(shards: Mapping[str, Targets]) -> frozenset[str]:
    """The shards that share one file (`carnet.tuf.structure.shard_field`): those that never had an entry.

    They are signed together and never apart, so they have one version, below that of any other: a shard that is further
    had an entry once, whatever its file says of itself.
    """
    empty = {
        shard: signed.version
        for shard, signed in shards.items()
        if signed.delegations is None and shards_of(signed) != (shard,)
    }
    return frozenset(shard for shard, version in empty.items() if version == min(empty.values()))
