"""A ready ceremony with keys that open at once: 2-of-3 holders, one online key, every offline role signed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet import strictjson
from carnet.claims import receipt
from carnet.claims.waiting import Waiting
from carnet.strictjson import JsonObject
from carnet.tuf import paths
from carnet.tuf.keys import PublicKey, Signature
from carnet.tuf.roles import FIELD, RoleKeys, Timestamp
from carnet.tuf.structure import shard_field
from carnet_signer.keys import file
from carnet_signer.metadata import role_files
from carnet_signer.metadata.publish import Change

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
PASSPHRASE = b"correct horse battery staple"
AT_ONCE = Waiting(claim=0, takeover=0)
"""Nothing waits, so that tests whose subject is something else need no receipts."""


@dataclass(frozen=True)
class TestKey:
    """An Ed25519 key made from a name: the same one in every run."""

    __test__ = False
    name: str
    private: Ed25519PrivateKey = field(repr=False)
    public_key: PublicKey = field(repr=False)

    def sign(self, message: bytes) -> Signature:
        return Signature(self.public_key.keyid, self.private.sign(message))

    def store(self, folder: Path) -> Path:
        """Write the key pair as `carnet key generate` does, with a work factor that costs no time."""
        path = folder / self.name
        file.store_key(path, self.private, PASSPHRASE, kdf_rounds=1)
        return path


def make_key(name: str) -> TestKey:
    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"carnet test key {name}".encode()).digest())
    return TestKey(name, private, PublicKey.ed25519(private.public_key().public_bytes_raw()))


def sign_role(signed: JsonObject, keys: Sequence[TestKey]) -> bytes:
    """A role's file, signed by these keys."""
    message = strictjson.canonical(signed)
    return role_files.file_bytes(message, [key.sign(message) for key in keys])


def quorum(keys: Sequence[TestKey], threshold: int) -> RoleKeys:
    return RoleKeys(tuple(key.public_key for key in keys), threshold)


class DirectOnlineSigner:
    """Signs whatever it is asked to, in this process: for tests whose subject is not the online signer."""

    def __init__(self, key: TestKey) -> None:
        self.key = key
        self.versions: dict[str, int] = {}
        self.named: tuple[int, str] | None = None

    def last_version(self, role: str) -> int:
        return self.versions.get(role, 0)

    def named_snapshot(self) -> tuple[int, str] | None:
        return self.named

    def sign(self, payloads: Mapping[str, bytes]) -> dict[str, list[Signature]]:
        for role, payload in payloads.items():
            version = strictjson.parse_object(payload, role, max_bytes=role_files.MAX_ROLE_FILE)["version"]
            assert isinstance(version, int)
            self.versions[role] = version
            if role == paths.TIMESTAMP:
                snapshot = role_files.read_signed(payload, Timestamp).snapshot
                self.named = (snapshot.version, snapshot.hashes["sha256"])
        return {role: [self.key.sign(payload)] for role, payload in payloads.items()}

    def sign_receipt(self, payload: bytes) -> list[Signature]:
        return [self.key.sign(receipt.message(payload))]


@dataclass(frozen=True)
class Ceremony:
    """What the holders have signed.

    Attributes:
        holders: The offline keys, all of them in every offline role.
        threshold: How many of them sign.
        online: The key of timestamp, snapshot and bins.
        bit_length: There are 2 to the power of this many bins.
        files: Role name to file, for the first publish: `publish(publication, online, Change(roles=files), now=NOW)`.
        now: When it took place.
    """

    holders: tuple[TestKey, ...]
    threshold: int
    online: TestKey
    bit_length: int
    files: Mapping[str, bytes]
    now: datetime

    @property
    def root(self) -> bytes:
        """The first root: what a client pins."""
        return self.files[paths.ROOT]

    @property
    def change(self) -> Change:
        """The first publish."""
        return Change(roles=self.files)

    def signer(self) -> DirectOnlineSigner:
        """An online signer without rules, in this process."""
        return DirectOnlineSigner(self.online)

    def sign(self, signed: JsonObject, holders: int | None = None) -> bytes:
        """A role's file, signed by the threshold, or by so many holders."""
        return sign_role(signed, self.holders[: self.threshold if holders is None else holders])


def make_ceremony(
    *,
    holders: int = 3,
    threshold: int = 2,
    bit_length: int = 4,
    now: datetime = NOW,
    name: str = "",
    waiting: Waiting | None = AT_ONCE,
) -> Ceremony:
    """Hold a ceremony in memory; equal arguments give equal bytes.

    Args:
        holders: How many offline keys there are.
        threshold: How many of them sign each file.
        bit_length: 2 to the power of this many bins.
        now: From when the expiries count.
        name: Another name gives other keys: another repository.
        waiting: How long claims and takeovers wait; None for a root that does not say.
    """
    people = tuple(make_key(f"{name}holder-{number}") for number in range(holders))
    online = make_key(f"{name}online")
    says: JsonObject = {} if waiting is None else {FIELD: waiting.to_object()}
    files = _files(people, threshold, online, bit_length, now, says)
    return Ceremony(people, threshold, online, bit_length, files, now)


def _files(
    people: tuple[TestKey, ...],
    threshold: int,
    online: TestKey,
    bit_length: int,
    now: datetime,
    root_says: JsonObject,
) -> dict[str, bytes]:
    offline, bins = quorum(people, threshold), quorum([online], 1)
    expires = now + role_files.OFFLINE_LIFE
    top = {paths.ROOT: offline, paths.TIMESTAMP: bins, paths.SNAPSHOT: bins, paths.TARGETS: offline}
    signed = {
        paths.ROOT: role_files.root(1, now + role_files.ROOT_LIFE, top, root_says),
        paths.TARGETS: role_files.targets(
            1,
            expires,
            delegations=role_files.delegate_by_name(
                [
                    role_files.delegation(paths.CLAIMS, offline, paths.CLAIMS_PATTERNS, terminating=False),
                    role_files.delegation(paths.INDEX, offline, paths.INDEX_PATTERNS, terminating=False),
                ]
            ),
        ),
        paths.CLAIMS: role_files.targets(
            1,
            expires,
            delegations=role_files.delegate_by_name(
                role_files.delegation(
                    paths.claims_shard_role(shard), offline, paths.shard_patterns(shard), terminating=False
                )
                for shard in paths.SHARDS
            ),
        ),
        paths.INDEX: role_files.targets(1, expires, delegations=role_files.delegate_to_bins(bins, bit_length)),
    }
    for shard in paths.SHARDS:
        signed[paths.claims_shard_role(shard)] = role_files.targets(1, expires, extra=shard_field(paths.SHARDS))
    return {role: sign_role(value, people[:threshold]) for role, value in signed.items()}
