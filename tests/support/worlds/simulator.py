"""A repository in memory: signs with python-tuf on demand, is a Fetcher, logs requests, and makes attacks easy.

    sim = Simulator()
    sim.add_index("serde", b"...")
    sim.claim("serde", releases={"serde-1.0.0.crate": b"..."})
    sim.publish()

`files` is what the mirror serves. An attack changes it (`sim.files[path] = ...`), puts an error or a function before it
(`sim.served[path] = ...`), or edits a published file and signs it with whichever keys were stolen (`sim.forge`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from carnet import strictjson
from carnet.cargo.names import CrateName
from carnet.errors import TransportError
from carnet.tuf import paths
from carnet.tuf.tree import RoleKind, is_bin, parent_of, place_of

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
LIFETIMES = {"root": 365, "timestamp": 1, "snapshot": 7}
OFFLINE, OWNED = 90, 3 * 365


@cache
def key(label: str) -> CryptoSigner:
    """The Ed25519 key of this name, the same in every run."""
    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(label.encode()).digest())
    return CryptoSigner(private, SSlibKey.from_crypto(private.public_key()))


def keys(label: str, count: int) -> list[CryptoSigner]:
    return [key(f"{label} {number}") for number in range(count)]


@dataclass
class Who:
    """Who may sign a role, and who does."""

    signers: list[CryptoSigner]
    threshold: int
    signing: list[CryptoSigner] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.signing = self.signing or self.signers[: self.threshold]

    @property
    def keyids(self) -> list[str]:
        return [signer.public_key.keyid for signer in self.signers]


class Simulator:
    """The trust model's whole tree: root 2-of-3, claims and its 256 shards, index and its bins.

    Args:
        bit_length: Of the index: 2 to the power of this many bins.
        now: The time of the first publication.
    """

    def __init__(self, *, bit_length: int = 2, now: datetime = NOW) -> None:
        self.now = now
        self.files: dict[str, bytes] = {}
        self.served: dict[str, bytes | TransportError | Callable[[bytes | None], bytes]] = {}
        self.requests: list[str] = []
        self.who: dict[str, Who] = {
            "root": Who(keys("root", 3), 2),
            "timestamp": Who(keys("timestamp", 1), 1),
            "snapshot": Who(keys("snapshot", 1), 1),
            "targets": Who(keys("targets", 3), 2),
            "claims": Who(keys("claims", 2), 2),
            "index": Who(keys("index", 2), 1),
        }
        online = Who(keys("bins", 1), 1)
        self.who |= {paths.claims_shard_role(shard): Who(keys("shards", 2), 2) for shard in paths.SHARDS}
        self.roles: dict[str, Signed] = {}
        self.once_claimed: set[str] = set()
        self.changed: set[str] = set()
        self._add_top(bit_length, online)
        self.publish()

    # --- what the product sees: a Fetcher ---

    def get(self, path: str, *, max_bytes: int) -> bytes:
        self.requests.append(path)
        path = unquote(path)
        override = self.served.get(path)
        data = self.files.get(path)
        if isinstance(override, TransportError):
            raise override
        if isinstance(override, bytes):
            data = override
        elif override is not None:
            data = override(data)
        if data is None:
            raise TransportError(f"{path}: answered 404", status=404)
        if len(data) > max_bytes:
            raise TransportError(f"{path}: longer than {max_bytes} bytes")
        return data

    def get_many(self, requests: Sequence[tuple[str, int]], *, large: bool = False) -> list[bytes | TransportError]:
        answers: list[bytes | TransportError] = []
        for path, max_bytes in requests:
            try:
                answers.append(self.get(path, max_bytes=max_bytes))
            except TransportError as error:
                answers.append(error)
        return answers

    def asked(self) -> list[str]:
        """The requests since the last call."""
        requests, self.requests = self.requests, []
        return requests

    # --- building ---

    @property
    def root(self) -> Root:
        signed = self.roles["root"]
        assert isinstance(signed, Root)
        return signed

    def targets(self, role: str) -> Targets:
        signed = self.roles[role]
        assert isinstance(signed, Targets)
        return signed

    def root_file(self, version: int = 1) -> bytes:
        return self.files[f"metadata/{version}.root.json"]

    def change(self, *roles: str) -> None:
        """These roles get a new version at the next `publish`."""
        self.changed.update(roles)

    def set_keys(self, role: str, who: Who) -> None:
        """Other keys for a role, in its delegator too."""
        self.who[role] = who
        delegator = self._delegator(role)
        signed = self.roles[delegator]
        assert isinstance(signed, (Root, Targets))
        if isinstance(signed, Root):
            signed.roles[role].keyids = who.keyids
            signed.roles[role].threshold = who.threshold
            signed.keys = {
                signer.public_key.keyid: signer.public_key for name in signed.roles for signer in self.who[name].signers
            }
        else:
            assert signed.delegations is not None
            if signed.delegations.succinct_roles is not None:
                entry: Any = signed.delegations.succinct_roles
            else:
                assert signed.delegations.roles is not None
                entry = signed.delegations.roles[role]
            entry.keyids, entry.threshold = who.keyids, who.threshold
            signed.delegations.keys |= {signer.public_key.keyid: signer.public_key for signer in who.signers}
        self.change(delegator, role)

    def add_target(self, role: str, path: str, data: bytes, custom: Mapping[str, Any] | None = None) -> str:
        """List a target in a role and serve it; returns its sha256."""
        digest = hashlib.sha256(data).hexdigest()
        more = {"custom": dict(custom)} if custom is not None else None
        self.targets(role).targets[path] = TargetFile(len(data), {"sha256": digest}, path, more)
        self.files[f"targets/{paths.hashed_path(path, digest)}"] = data
        self.change(role)
        return digest

    def add_index(self, name: str, data: bytes, custom: Mapping[str, Any] | None = None) -> str:
        """List a crate's index file; returns its target path."""
        path = paths.index_path(CrateName(name))
        self.add_target(self.bin_of(path), path, data, custom)
        return path

    def bin_of(self, path: str) -> str:
        delegations = self.targets("index").delegations
        assert delegations is not None
        assert delegations.succinct_roles is not None
        return delegations.succinct_roles.get_role_for_target(path)

    def claim(
        self,
        name: str,
        *,
        releases: Mapping[str, bytes] | None = None,
        owners: Who | None = None,
        releasers: Who | None = None,
        layout: bytes | None = None,
    ) -> CrateName:
        """Give a crate to owners (2-of-3 by default) and releasers (1-of-2), with some files."""
        crate = CrateName(name)
        shard, owner, release = paths.claims_shard_role(crate.shard), paths.owner_role(crate), paths.crate_role(crate)
        self.who[owner] = owners or Who(keys(f"owner of {name}", 3), 2)
        self.who[release] = releasers or Who(keys(f"releaser of {name}", 2), 1)
        self._delegate(shard, owner, paths.owner_patterns(crate), terminating=True)
        self.roles[owner] = Targets(expires=self.now + OWNED * DAY)
        self.roles[release] = Targets(expires=self.now + OWNED * DAY)
        self._delegate(owner, release, paths.crate_patterns(crate), terminating=True)
        self.describe_claim(crate)
        if layout is not None:
            self.add_target(owner, paths.layout_path(crate, 1), layout, {"least_level": "provenance"})
        for file, data in (releases or {}).items():
            self.add_target(release, f"crates/{crate.shard}/{crate.canonical}/{file}", data)
        self.change(shard, owner, release)
        return crate

    def describe_claim(self, crate: CrateName) -> None:
        """Write who the owners and releasers are into the owner role, as docs/formats.md says."""
        owners, releasers = self.who[paths.owner_role(crate)], self.who[paths.crate_role(crate)]
        self.roles[paths.owner_role(crate)].unrecognized_fields["carnet"] = {
            "role": paths.owner_role(crate),
            "owners": {
                "threshold": owners.threshold,
                "keys": {signer.public_key.keyid: signer.public_key.to_dict() for signer in owners.signers},
                "people": {keyid: f"owner {number}" for number, keyid in enumerate(owners.keyids)},
            },
            "releasers": {"people": {keyid: f"releaser {number}" for number, keyid in enumerate(releasers.keyids)}},
            "registry": "crates-io",
        }

    def hand_over(self, crate: CrateName, owners: Who, *, agreed: bool = True) -> None:
        """Give a claim to new owners, with the previous ones' signatures or without."""
        role = paths.owner_role(crate)
        before = self.who[role]
        if agreed:
            owners.signing = [*owners.signing, *before.signing]
        self.set_keys(role, owners)
        self.describe_claim(crate)

    def release_name(self, crate: CrateName) -> None:
        """Take a claim out of its shard; its roles stay in the snapshot."""
        shard = paths.claims_shard_role(crate.shard)
        delegations = self.targets(shard).delegations
        assert delegations is not None
        assert delegations.roles is not None
        del delegations.roles[paths.owner_role(crate)]
        self.change(shard)

    def publish(self, *roles: str, now: datetime | None = None) -> None:
        """Sign what changed, then snapshot and timestamp."""
        self.now = now or self.now
        self.change(*roles)
        self._say_what_they_speak_for()
        snapshot, timestamp = self.roles["snapshot"], self.roles["timestamp"]
        assert isinstance(snapshot, Snapshot)
        assert isinstance(timestamp, Timestamp)
        for role in sorted(self.changed - {"root", "snapshot", "timestamp"}):
            data = self._sign_next(role)
            digest = {"sha256": hashlib.sha256(data).hexdigest()}
            bare = is_bin(role)
            version = self.roles[role].version
            snapshot.meta[f"{role}.json"] = MetaFile(version) if bare else MetaFile(version, len(data), digest)
        if "root" in self.changed:
            self._sign_next("root")
        data = self._sign_next("snapshot")
        digest = {"sha256": hashlib.sha256(data).hexdigest()}
        timestamp.snapshot_meta = MetaFile(snapshot.version, len(data), digest)
        self._sign_next("timestamp")
        self.changed.clear()

    def _say_what_they_speak_for(self) -> None:
        """As docs/formats.md has it, "What a file speaks for"."""
        for shard in paths.SHARDS:
            if self.targets(paths.claims_shard_role(shard)).delegations is not None:
                self.once_claimed.add(shard)
        shared = [shard for shard in paths.SHARDS if shard not in self.once_claimed]
        for role in self.changed:
            said: dict[str, Any] | None = None
            place = place_of(role)
            if place.kind == RoleKind.SHARD:
                said = {"shards": [place.shard] if place.shard in self.once_claimed else shared}
                least = self._least(place.shard)
                if least:
                    said["least"] = least
            elif place.kind in (RoleKind.BIN, RoleKind.CRATE):
                said = {"role": role}
            if said is not None:
                self.roles[role].unrecognized_fields["carnet"] = said

    def _least(self, shard: str | None) -> dict[str, dict[str, int]]:
        """The versions of every claim's roles that a shard published now demands, docs/formats.md, "Least versions"."""
        found: dict[str, dict[str, int]] = {}
        for role in self.roles:
            place = place_of(role)
            if place.crate is not None and place.crate.shard == shard:
                version = self.roles[role].version + (role in self.changed and self.path(role) in self.files)
                found.setdefault(place.crate.canonical, {})[place.kind] = version
        return found

    # --- attacking ---

    def path(self, role: str) -> str:
        """Where the newest version of a role is served."""
        version = None if role == "timestamp" else self.roles[role].version
        return f"metadata/{paths.metadata_name(role, version)}"

    def forge(
        self, role: str, change: Callable[[dict[str, Any]], object], *, signing: Sequence[CryptoSigner] | None = None
    ) -> bytes:
        """Edit the newest file of a role in place, signed by the given keys (the role's own when None).

        Returns the forged file. Snapshot and timestamp stay as they were.
        """
        signed = json.loads(self.files[self.path(role)])["signed"]
        change(signed)
        data = sign(signed, self.who[role].signing if signing is None else signing)
        self.files[self.path(role)] = data
        return data

    def tamper(self, role: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Edit the newest file of a role in place and leave its signatures as they are."""
        document = json.loads(self.files[self.path(role)])
        change(document)
        self.files[self.path(role)] = strictjson.canonical(document)

    def vouch(self, *roles: str) -> None:
        """Make snapshot and timestamp name the files as they are served now, as stolen online keys could."""
        snapshot, timestamp = self.roles["snapshot"], self.roles["timestamp"]
        assert isinstance(snapshot, Snapshot)
        for role in roles:
            data = self.files[self.path(role)]
            version = json.loads(data)["signed"]["version"]
            meta = MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})
            snapshot.meta[f"{role}.json"] = meta
        assert isinstance(timestamp, Timestamp)
        data = self._sign_next("snapshot")
        timestamp.snapshot_meta = MetaFile(snapshot.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})
        self._sign_next("timestamp")

    def copy(self) -> Simulator:
        """An independent copy: publish on one of them, replay the other."""
        other = Simulator.__new__(Simulator)
        other.now = self.now
        other.files = dict(self.files)
        other.served = dict(self.served)
        other.requests = []
        other.who = {role: Who(list(who.signers), who.threshold, list(who.signing)) for role, who in self.who.items()}
        other.roles = deepcopy(self.roles)
        other.once_claimed = set(self.once_claimed)
        other.changed = set(self.changed)
        return other

    def dump(self, folder: Path) -> None:
        """Write all files below a folder, to be served by a real server."""
        for path, data in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)

    # --- inside ---

    def _add_top(self, bit_length: int, online: Who) -> None:
        self.roles["targets"] = Targets(expires=self.now + OFFLINE * DAY)
        self.roles["claims"] = Targets(expires=self.now + OFFLINE * DAY)
        index = Targets(expires=self.now + OFFLINE * DAY)
        self.roles["index"] = index
        self._delegate("targets", "claims", paths.CLAIMS_PATTERNS)
        self._delegate("targets", "index", paths.INDEX_PATTERNS)
        succinct = SuccinctRoles(online.keyids, online.threshold, bit_length, paths.INDEX_BIN_PREFIX)
        index.delegations = Delegations(
            {signer.public_key.keyid: signer.public_key for signer in online.signers}, succinct_roles=succinct
        )
        for role in succinct.get_roles():
            self.who[role] = online
            self.roles[role] = Targets(expires=self.now + OFFLINE * DAY)
        for shard in paths.SHARDS:
            self._delegate("claims", paths.claims_shard_role(shard), paths.shard_patterns(shard))
            self.roles[paths.claims_shard_role(shard)] = Targets(expires=self.now + OFFLINE * DAY)
        root = Root(expires=self.now + 365 * DAY)
        for role in root.roles:
            for signer in self.who[role].signers:
                root.add_key(signer.public_key, role)
            root.roles[role].threshold = self.who[role].threshold
        self.roles["root"] = root
        snapshot = Snapshot(expires=self.now)
        snapshot.meta.clear()
        self.roles["snapshot"] = snapshot
        self.roles["timestamp"] = Timestamp(expires=self.now)
        self.changed = set(self.roles)

    def _delegate(self, delegator: str, role: str, patterns: Sequence[str], *, terminating: bool = False) -> None:
        signed, who = self.targets(delegator), self.who[role]
        if signed.delegations is None:
            signed.delegations = Delegations({}, {})
        assert signed.delegations.roles is not None
        signed.delegations.keys |= {signer.public_key.keyid: signer.public_key for signer in who.signers}
        signed.delegations.roles[role] = DelegatedRole(role, who.keyids, who.threshold, terminating, list(patterns))

    def _delegator(self, role: str) -> str:
        return role if role == paths.ROOT else parent_of(role)

    def _sign_next(self, role: str) -> bytes:
        signed = self.roles[role]
        fresh = self.path(role) not in self.files
        if not fresh:
            signed.version += 1
        if role in LIFETIMES:
            signed.expires = self.now + LIFETIMES[role] * DAY
        data = self._signed_bytes(signed, self.who[role].signing)
        self.files[self.path(role)] = data
        return data

    @staticmethod
    def _signed_bytes(signed: Signed, signing: Sequence[CryptoSigner]) -> bytes:
        # Untouched shards are one file: one signature does for all of them.
        plain = isinstance(signed, Targets) and not signed.targets and signed.delegations is None
        said = signed.unrecognized_fields.get("carnet", {})
        shards = () if "least" in said else tuple(said.get("shards", ()))
        if plain and shards:
            keyids = tuple(signer.public_key.keyid for signer in signing)
            cached = _EMPTY.get((signed.version, signed.expires, keyids, shards))
            if cached is not None:
                return cached
        metadata: Metadata[Any] = Metadata(signed)
        for signer in signing:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes(JSONSerializer(compact=True))
        if plain and shards:
            _EMPTY[signed.version, signed.expires, keyids, shards] = data
        return data


_EMPTY: dict[tuple[int, datetime, tuple[str, ...], tuple[str, ...]], bytes] = {}


def sign(signed: Mapping[str, Any], signing: Sequence[CryptoSigner]) -> bytes:
    """A metadata file with this signed part, whatever it says."""
    message = strictjson.canonical(signed)
    signatures = [{"keyid": signer.public_key.keyid, "sig": signer.sign(message).signature} for signer in signing]
    # Canonical JSON keeps control characters as they are, which no JSON parser takes: the file escapes them.
    return strictjson.encode({"signatures": signatures, "signed": signed})
