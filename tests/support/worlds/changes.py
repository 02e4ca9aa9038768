"""What holders and owners hand in after a ceremony: next versions, a claim, another online key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.support.worlds.ceremony import Ceremony, DirectOnlineSigner, TestKey, make_key, quorum, sign_role

from carnet import strictjson
from carnet.cargo.names import CrateName
from carnet.strictjson import JsonObject
from carnet.tuf import paths
from carnet.tuf.keys import Signature
from carnet.tuf.least import Least
from carnet.tuf.structure import role_field, shard_field
from carnet_signer.metadata import role_files
from carnet_signer.metadata.publish import Change

OWNERS, RELEASERS = (make_key("owner-1"), make_key("owner-2")), (make_key("releaser"),)
NAME = CrateName("serde")
TARBALL = b"the tarball"
TARBALL_PATH = f"crates/{NAME.shard}/serde/serde-1.0.0.crate"


def signed_of(file: bytes) -> dict[str, Any]:
    """The `signed` part of a metadata file."""
    value = strictjson.parse_object(file, "file", max_bytes=role_files.MAX_ROLE_FILE)["signed"]
    assert isinstance(value, dict)
    return dict(value)


def next_version(
    ceremony: Ceremony, role: str, change: Callable[[dict[str, Any]], object] | None = None, signers: int = 2
) -> bytes:
    """The next version of an offline role, changed and then signed by so many holders."""
    signed = signed_of(ceremony.files[role])
    signed["version"] = 2
    if change is not None:
        change(signed)
    return ceremony.sign(signed, signers)


def claim(
    ceremony: Ceremony,
    *,
    version: int = 1,
    releasers: Sequence[TestKey] = RELEASERS,
    crate_keys: Sequence[TestKey] = RELEASERS,
) -> Change:
    """Shard, owner role and crate role of serde, claimed with one released version.

    Args:
        ceremony: Whose repository.
        version: Of the owner and crate role; the shard's is one more.
        releasers: Whom the owners appoint.
        crate_keys: Who signs the crate role.
    """
    shard = paths.claims_shard_role(NAME.shard)
    signed = (
        signed_of(ceremony.files[shard])
        | {"version": version + 1}
        | shard_field([NAME.shard], {NAME.canonical: Least(version, version)})
    )
    signed["delegations"] = role_files.delegate_by_name(
        [role_files.delegation(paths.owner_role(NAME), quorum(OWNERS, 2), paths.owner_patterns(NAME), terminating=True)]
    )
    expires = ceremony.now + role_files.CLAIM_LIFE
    delegation = role_files.delegation(
        paths.crate_role(NAME), quorum(releasers, 1), paths.crate_patterns(NAME), terminating=True
    )
    owner = role_files.targets(
        version,
        expires,
        delegations=role_files.delegate_by_name([delegation]),
        extra=role_field(paths.owner_role(NAME)),
    )
    listed: JsonObject = {TARBALL_PATH: role_files.target(len(TARBALL), hashlib.sha256(TARBALL).hexdigest())}
    return Change(
        roles={
            shard: ceremony.sign(signed),
            paths.owner_role(NAME): sign_role(owner, OWNERS),
            paths.crate_role(NAME): sign_role(
                role_files.targets(version, expires, listed=listed, extra=role_field(paths.crate_role(NAME))),
                crate_keys,
            ),
        },
        targets={TARBALL_PATH: TARBALL},
        about=NAME,
    )


def new_online_key(ceremony: Ceremony, online: TestKey, signers: Sequence[TestKey]) -> Change:
    """The next root, signed by `signers`, and the next index, with another online key."""
    holders, keys = quorum(ceremony.holders, ceremony.threshold), quorum([online], 1)
    top = {paths.ROOT: holders, paths.TIMESTAMP: keys, paths.SNAPSHOT: keys, paths.TARGETS: holders}
    root = role_files.root(2, ceremony.now + role_files.ROOT_LIFE, top)
    bins = role_files.delegate_to_bins(keys, ceremony.bit_length)
    index = role_files.targets(2, ceremony.now + role_files.OFFLINE_LIFE, delegations=bins)
    return Change(roles={paths.ROOT: sign_role(root, signers), paths.INDEX: ceremony.sign(index)})


class TwoOnlineKeys(DirectOnlineSigner):
    """An online signer while one key replaces another: it signs with both."""

    def __init__(self, old: TestKey, new: TestKey) -> None:
        super().__init__(old)
        self.new = new

    def sign(self, payloads: Mapping[str, bytes]) -> dict[str, list[Signature]]:
        made = super().sign(payloads)
        return {role: [*signatures, self.new.sign(payloads[role])] for role, signatures in made.items()}
