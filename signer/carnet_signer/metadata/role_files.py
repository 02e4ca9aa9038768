"""What each role's file says, as carnet writes it: the `signed` part of every TUF role, and the file around it.

The objects are built here as plain JSON and encoded once, canonically; what is signed is exactly what stands in the
file. Tests compare every one of them with python-tuf's own serialisation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from carnet import strictjson, times
from carnet.strictjson import JsonObject
from carnet.tuf import paths
from carnet.tuf.keys import PublicKey, Signature
from carnet.tuf.read import parse_role
from carnet.tuf.roles import MetaFile, RoleKeys, RoleT, Snapshot

SPEC_VERSION = "1.0.31"

ROOT_LIFE = timedelta(days=365)
OFFLINE_LIFE = timedelta(days=90)
"""Of targets, claims, its shards and index."""
CLAIM_LIFE = timedelta(days=3 * 365)
"""Of owner and crate roles: their expiry only retires keys that were forgotten."""
TIMESTAMP_LIFE = timedelta(days=1)
SNAPSHOT_LIFE = timedelta(days=7)
BIN_LIFE = timedelta(days=90)

_CONTROL = re.compile(rb"[\x00-\x1f]")
MAX_ROLE_FILE = Snapshot.MAX_BYTES
"""Bytes of the largest file of a role."""


def at(moment: datetime) -> str:
    """A time as metadata writes it: UTC, whole seconds, `2030-01-01T00:00:00Z`."""
    return times.written(moment)


def file_bytes(message: bytes, signatures: Iterable[Signature]) -> bytes:
    """A metadata file: `signatures` and `signed`.

    Args:
        message: The canonical `signed` part. It stands in the file byte by byte, except that canonical JSON keeps the
            line breaks of a key in PEM as they are, which no JSON parser takes: in the file they are escaped.
        signatures: In the order in which they are to be listed.
    """
    message = _CONTROL.sub(lambda match: b"\\u%04x" % match[0][0], message)
    listed = [{"keyid": signature.keyid, "sig": signature.sig.hex()} for signature in signatures]
    return b'{"signatures":' + strictjson.encode(listed) + b',"signed":' + message + b"}"


def read_signed(message: bytes, role_type: type[RoleT]) -> RoleT:
    """Read the `signed` part of a file, nothing around it.

    Raises:
        FormatError: It is not well-formed metadata of that type.
    """
    return parse_role(file_bytes(message, []), role_type, max_bytes=2 * role_type.MAX_BYTES).signed


def root(version: int, expires: datetime, roles: Mapping[str, RoleKeys], extra: JsonObject | None = None) -> JsonObject:
    """A root: who signs the four top-level roles (TUF 4.3).

    Args:
        version: 1, or one more than the root before.
        expires: When it ends.
        roles: For root, timestamp, snapshot and targets.
        extra: Fields of carnet's own, such as the holders' names.
    """
    return (extra or {}) | {
        "_type": paths.ROOT,
        "version": version,
        "spec_version": SPEC_VERSION,
        "expires": at(expires),
        "consistent_snapshot": True,
        "keys": _keys(role.keys for role in roles.values()),
        "roles": {name: _quorum(role) for name, role in roles.items()},
    }


def targets(
    version: int,
    expires: datetime,
    *,
    listed: JsonObject | None = None,
    delegations: JsonObject | None = None,
    extra: JsonObject | None = None,
) -> JsonObject:
    """A targets role, top-level or delegated (TUF 4.5).

    Args:
        version: One more than the one before.
        expires: When it ends.
        listed: Target path to `target(...)`.
        delegations: `delegate_by_name(...)` or `delegate_to_bins(...)`; absent when the role delegates to nobody.
        extra: Fields of carnet's own.
    """
    signed: JsonObject = (extra or {}) | {
        "_type": paths.TARGETS,
        "version": version,
        "spec_version": SPEC_VERSION,
        "expires": at(expires),
        "targets": listed or {},
    }
    if delegations is not None:
        signed["delegations"] = delegations
    return signed


def target(length: int, sha256: str, custom: JsonObject | None = None) -> JsonObject:
    """One entry of a targets role's `targets`."""
    entry: JsonObject = {"length": length, "hashes": {"sha256": sha256}}
    return entry if custom is None else entry | {"custom": custom}


def delegation(
    name: str, signers: RoleKeys, patterns: Sequence[str], *, terminating: bool
) -> tuple[str, RoleKeys, JsonObject]:
    """One delegation for `delegate_by_name`."""
    return name, signers, {"paths": list(patterns), "terminating": terminating}


def delegate_by_name(entries: Iterable[tuple[str, RoleKeys, JsonObject]]) -> JsonObject:
    """Delegations to named roles, in this order."""
    entries = list(entries)
    return {
        "keys": _keys(signers.keys for _, signers, _ in entries),
        "roles": [{"name": name} | _quorum(signers) | rest for name, signers, rest in entries],
    }


def delegate_to_bins(signers: RoleKeys, bit_length: int, prefix: str = paths.INDEX_BIN_PREFIX) -> JsonObject:
    """Delegation to 2 to the power of `bit_length` hash bins (TAP 15)."""
    return {
        "keys": _keys([signers.keys]),
        "succinct_roles": _quorum(signers) | {"bit_length": bit_length, "name_prefix": prefix},
    }


def snapshot(version: int, expires: datetime, meta: Mapping[str, MetaFile]) -> JsonObject:
    """A snapshot: the version of every targets role, by role name (TUF 4.4)."""
    return {
        "_type": paths.SNAPSHOT,
        "version": version,
        "spec_version": SPEC_VERSION,
        "expires": at(expires),
        "meta": {f"{role}.json": _meta_file(file) for role, file in meta.items()},
    }


def timestamp(version: int, expires: datetime, snapshot: MetaFile) -> JsonObject:
    """A timestamp: which snapshot is the newest (TUF 4.6)."""
    return {
        "_type": paths.TIMESTAMP,
        "version": version,
        "spec_version": SPEC_VERSION,
        "expires": at(expires),
        "meta": {"snapshot.json": _meta_file(snapshot)},
    }


def _keys(groups: Iterable[tuple[PublicKey, ...]]) -> JsonObject:
    return {key.keyid: key.to_object() for group in groups for key in group}


def _quorum(signers: RoleKeys) -> JsonObject:
    return {"keyids": [key.keyid for key in signers.keys], "threshold": signers.threshold}


def _meta_file(file: MetaFile) -> JsonObject:
    entry: JsonObject = {"version": file.version}
    if file.length is not None:
        entry["length"] = file.length
    if file.hashes:
        entry["hashes"] = dict(file.hashes)
    return entry
