"""What the online keys may sign, and what they may not.

The online signer does not trust the mirror that asks it. It cannot tell a right index file from a wrong one, but it can
see to it that

* only `timestamp`, `snapshot` and the hash bins are signed, each with exactly the fields it needs, canonical, and no
  longer valid than its role may be;
* no version is signed twice with different content, none goes back, and none leaps to where no later one is left;
* a snapshot loses no name and lowers no version of the snapshot before, and a timestamp names no older snapshot;
* a bin lists index files only, each in the bin that its hash puts it in, says of them at most which versions are let
  in (`carnet.cargo.let_in`) or taken down (`carnet.cargo.takedown`), and delegates to nobody;
* a receipt has exactly a receipt's fields and the signer's own time, and what is signed of it begins as no role does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from carnet import strictjson
from carnet.cargo import let_in, takedown
from carnet.claims.receipt import CLOCKS, ClaimReceipt, message
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, SigningError
from carnet.strictjson import JsonObject
from carnet.tuf import paths
from carnet.tuf.roles import FIELD, MetaFile, Signed, Snapshot, Targets, Timestamp
from carnet.tuf.structure import role_field
from carnet.tuf.tree import is_bin
from carnet_signer.metadata import role_files
from carnet_signer.online.memory import Entry, SigningMemory

MAX_LEAP = 10_000
"""A version may be so far above the one signed last."""
_CLOCK_SLACK = timedelta(minutes=5)
_TYPES: dict[str, tuple[type[Signed], timedelta, frozenset[str]]] = {
    paths.TIMESTAMP: (Timestamp, role_files.TIMESTAMP_LIFE, frozenset(("meta",))),
    paths.SNAPSHOT: (Snapshot, role_files.SNAPSHOT_LIFE, frozenset(("meta",))),
}
_BIN_TYPE: tuple[type[Signed], timedelta, frozenset[str]] = (
    Targets,
    role_files.BIN_LIFE,
    frozenset(("targets", FIELD)),
)
_COMMON = frozenset(("_type", "version", "spec_version", "expires"))


def check_payload(role: str, payload: bytes, memory: SigningMemory, now: datetime) -> Signed:
    """Decide whether the online keys may sign this.

    Args:
        role: The role it is said to be.
        payload: The canonical bytes of its `signed` part.
        memory: What was signed before.
        now: The signer's own clock.

    Returns:
        What the payload says.

    Raises:
        SigningError: It may not be signed; the message says why.
    """
    if role not in _TYPES and not is_bin(role):
        raise SigningError(
            f"the online keys do not sign {role[:80]!a}",
            hint="they sign timestamp, snapshot and the index bins; everything else is its holders' to sign",
        )
    role_type, life, fields = _TYPES.get(role, _BIN_TYPE)
    try:
        document = strictjson.parse_object(payload, role, max_bytes=role_files.MAX_ROLE_FILE)
        canonical = strictjson.canonical(document, role)
        signed: Signed = role_files.read_signed(payload, role_type)
    except CarnetError as error:
        raise SigningError(f"{role}: {error}") from None
    if canonical != payload:
        raise SigningError(f"{role} is not canonical JSON")
    if document.keys() != fields | _COMMON or document["spec_version"] != role_files.SPEC_VERSION:
        raise SigningError(f"{role} does not have exactly the fields {', '.join(sorted(fields | _COMMON))}")
    if not now < signed.expires <= now + life + _CLOCK_SLACK:
        raise SigningError(
            f"{role} would expire on {role_files.at(signed.expires)}: not within {life.days} days of now "
            f"({role_files.at(now)})",
            hint="compare the clocks of mirror and signer",
        )
    _check_version(role, signed.version, payload, memory)
    if isinstance(signed, Timestamp):
        _check_timestamp(document, signed, memory)
    elif isinstance(signed, Snapshot):
        _check_snapshot(document, signed, memory)
    elif isinstance(signed, Targets):
        _check_bin(role, role.rpartition("-")[2], document, signed)
    return signed


def check_receipt(payload: bytes, now: datetime) -> bytes:
    """Decide whether the online keys may sign a receipt (`carnet.claims.receipt`).

    Whoever has broken into the mirror gets receipts for whatever it likes, and none that is older than its break-in.

    Args:
        payload: The receipt, canonical.
        now: The signer's own clock.

    Returns:
        What the signature is to cover: never the payload itself.

    Raises:
        SigningError: It is no receipt, or of another time.
    """
    try:
        receipt = ClaimReceipt.from_payload(payload)
    except CarnetError as error:
        raise SigningError(f"the receipt: {error}") from None
    if not now - CLOCKS <= receipt.time <= now + CLOCKS:
        raise SigningError(
            f"the receipt would be of {role_files.at(receipt.time)}, and now it is {role_files.at(now)}",
            hint="compare the clocks of mirror and signer",
        )
    return message(payload)


def _check_version(role: str, version: int, payload: bytes, memory: SigningMemory) -> None:
    last = memory.last(role)
    if last is None:
        before = memory.named_snapshot.get(role, MetaFile(0)).version
        if memory.named_snapshot and version > before + MAX_LEAP:
            raise SigningError(f"version {version} of {role} is too far above {before}, which is published")
        return
    if version == last.version and sha256_hex(payload) == last.payload:
        return
    if version == last.version:
        raise SigningError(f"version {version} of {role} was signed already, with other content")
    if version < last.version:
        raise SigningError(f"version {version} of {role} is older than {last.version}, which was signed already")
    if version > last.version + MAX_LEAP:
        raise SigningError(f"version {version} of {role} is too far above {last.version}, the last that was signed")


def _check_timestamp(document: JsonObject, signed: Timestamp, memory: SigningMemory) -> None:
    _check_meta(paths.TIMESTAMP, document, {paths.SNAPSHOT: signed.snapshot}, bare=lambda _: False)
    named = (signed.snapshot.version, signed.snapshot.hashes["sha256"])
    before, newest = memory.last(paths.TIMESTAMP), memory.last(paths.SNAPSHOT)
    known = {entry.snapshot for entry in (before, newest) if entry is not None}
    if named in known:
        return
    if before is not None and before.snapshot is not None and named[0] <= before.snapshot[0]:
        raise SigningError(f"timestamp would name snapshot {named[0]}, and {before.snapshot[0]} was named before")
    if known:  # nothing is known only in a new memory, which takes over from another one
        raise SigningError(f"timestamp would name a snapshot {named[0]} that was not signed here")


def _check_snapshot(document: JsonObject, signed: Snapshot, memory: SigningMemory) -> None:
    _check_meta(paths.SNAPSHOT, document, signed.meta, bare=is_bin)
    for role, before in memory.named_snapshot.items():
        after = signed.meta.get(role)
        if after is None:
            raise SigningError(f"snapshot {signed.version} loses {role}, which the one before lists")
        if after.version < before.version:
            raise SigningError(f"snapshot {signed.version} takes {role} back from {before.version} to {after.version}")
        if after.version == before.version and after != before:
            raise SigningError(f"snapshot {signed.version} changes {role} and not its version")
    for role, after in signed.meta.items() if memory.named_snapshot else ():
        first = memory.named_snapshot.get(role, MetaFile(0)).version
        if after.version > first + MAX_LEAP:
            raise SigningError(f"snapshot {signed.version} takes {role} from {first} to {after.version}: too far")


def _check_meta(what: str, document: JsonObject, files: Mapping[str, MetaFile], *, bare: Callable[[str], bool]) -> None:
    """Version, length and sha256 for each file, or the version alone, and nothing else."""
    listed: Any = document["meta"]
    for role, file in files.items():
        wanted = {"version"} if bare(role) else {"version", "length", "hashes"}
        hashes = set() if bare(role) else {"sha256"}
        if (
            listed[f"{role}.json"].keys() != wanted
            or file.hashes.keys() != hashes
            or (file.length is None) != bare(role)
        ):
            raise SigningError(f"{what}: {role[:80]!a} must have exactly {', '.join(sorted(wanted))}")


def _check_bin(role: str, number: str, document: JsonObject, signed: Targets) -> None:
    if document.get(FIELD) != role_field(role)[FIELD]:
        raise SigningError(f"{role} does not say that it is {role}")
    listed: Any = document["targets"]
    for path, entry in listed.items():
        if not any(paths.matches(pattern, path) for pattern in paths.INDEX_PATTERNS):
            raise SigningError(f"{role} lists {path[:80]!a}, which is not an index file")
        if entry.keys() - {"custom"} != {"length", "hashes"} or entry["hashes"].keys() != {"sha256"}:
            raise SigningError(f"{role} lists {path[:80]!a} with more than its length and sha256")
        if "custom" in entry:
            _check_custom(f"{role} lists {path[:80]!a} with more than its length and sha256", entry["custom"])
    # How many bins there are is not known here; the name's digits leave four possibilities, and one must fit all paths.
    hashes = [int(sha256_hex(path.encode())[:8], 16) for path in listed]
    widths = range(4 * len(number) - 3, 4 * len(number) + 1)
    if not any(all(value >> (32 - bits) == int(number, 16) for value in hashes) for bits in widths):
        raise SigningError(f"{role} lists an index file that belongs into another bin")


def _check_custom(what: str, custom: JsonObject) -> None:
    """Of an index file a bin may also say which versions an operator lets in or took down, and nothing else."""
    read = {let_in.FIELD: let_in.read_let_in, takedown.FIELD: takedown.read_takedowns}
    try:
        alone = bool(custom) and all(name in read and read[name](custom, "custom") for name in custom)
    except CarnetError as error:
        raise SigningError(f"{what}: {error}") from None
    if not alone:
        raise SigningError(what)


def entry_of(role: str, payload: bytes, signed: Signed, file: bytes) -> Entry:
    """What is to be remembered of a signature.

    Args:
        role: The role.
        payload: What was signed.
        signed: What it says.
        file: The whole file, signatures included.
    """
    snapshot = None
    if isinstance(signed, Timestamp):
        snapshot = (signed.snapshot.version, signed.snapshot.hashes["sha256"])
    elif isinstance(signed, Snapshot):
        snapshot = (signed.version, sha256_hex(file))
    return Entry(role, signed.version, sha256_hex(payload), snapshot)
