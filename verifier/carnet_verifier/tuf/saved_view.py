"""A view in a file, for machines without a network: what a verifier needs, checked there from a pinned root.

::

    {"_type": "carnet-view", "version": 1, "files": {"metadata/timestamp.json": "<base64>", "metadata/1.root.json": …}}

Nothing in the file is believed. Where it is read it takes the mirror's place, and the whole client workflow runs over
it: the chain of roots from the one that is pinned there, every signature, threshold, version, digest and expiry. Only
its timestamp may have ended, up to `GRACE` ago, because a file takes its time to a machine that nobody connects; then
what the online keys sign is checked as of the moment before the timestamp ended, and how long ago that was is part of
the answer. What people sign is out of date when it is.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from carnet import strictjson
from carnet.cargo.names import CrateName
from carnet.claims.standing import read_standing
from carnet.errors import ExpiredMetadata, FormatError, MetadataMismatch, TransportError
from carnet.intoto.dsse import decode_base64
from carnet.strictjson import Json
from carnet.tuf import paths
from carnet.tuf.next_version import check_unexpired
from carnet.tuf.read import parse_role
from carnet.tuf.roles import RoleFile, Root, Targets, Timestamp
from carnet.tuf.tree import RoleKind, place_of
from carnet.value import value
from carnet_verifier.memory.metadata_store import MemoryStore, MetadataStore
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.fetch import Fetcher
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.refresh import check_clock, update
from carnet_verifier.tuf.repository import TrustedRepository
from carnet_verifier.tuf.view import View

GRACE = timedelta(days=14)
"""How long ago the timestamp of a saved view may have ended."""
MAX_SAVED_VIEW = 512 * 1024 * 1024
_TIMESTAMP = paths.METADATA_PREFIX + paths.metadata_name(paths.TIMESTAMP, None)


@value
class SavedView:
    """A view that was read from a file, and verified.

    Attributes:
        repository: What was verified. A role that the file lacks cannot be had: `TransportError`.
        ended: How long ago its timestamp ended; zero when it has not.
        expired: The owner and crate roles in it whose time is over, with the day: nobody vouches for their crates.
    """

    repository: TrustedRepository
    ended: timedelta
    expired: tuple[tuple[str, datetime], ...] = ()


def roles_to_save(repository: TrustedRepository, crates: Sequence[CrateName]) -> list[str]:
    """The targets roles that people sign: all of them, or those that concern some crates.

    Whoever signs a shard is to see the claims of all its crates, not only of one. Whoever signs a first claim is to see
    what the index and the history list of the crate: their hash bins come along, which the online keys sign.

    Args:
        repository: A verified view.
        crates: Which crates; none for everything that is signed offline, which no hash bin is.

    Raises:
        MetadataError: A shard failed a check.
        TransportError: A shard could not be fetched.
    """
    wanted = sorted({crate.shard for crate in crates}) or list(paths.SHARDS)
    bins = {_bin_of(repository, crate, path) for crate in crates for path in (paths.index_path, paths.history_path)}
    found = [paths.CLAIMS, paths.INDEX, *sorted(bins)]
    for shard in wanted:
        role = paths.claims_shard_role(shard)
        found.append(role)
        delegations = repository.role(role).signed.delegations
        for owner in delegations.roles if delegations is not None else ():
            name = place_of(owner).crate
            if name is not None:
                found += [owner, paths.crate_role(name)]
    return found


def expired_roles(repository: TrustedRepository, roles: Iterable[str], now: datetime) -> list[tuple[str, datetime]]:
    """The owner and crate roles below some shards whose time is over: a fact to be told, no reason to refuse a view.

    Args:
        repository: A verified view.
        roles: Names of roles; those that are no shards of claims are passed over.
        now: The time.

    Raises:
        MetadataError: A shard failed a check.
        TransportError: A role could not be fetched.
    """
    found: dict[str, datetime] = {}
    for shard in (role for role in roles if place_of(role).kind == RoleKind.SHARD):
        with contextlib.suppress(ExpiredMetadata):  # the shard's own end is told by whoever looks below it
            files = repository.claimed_files([shard])
            found |= {role: file.signed.expires for role, file in files.items() if file.signed.expired(now)}
    return sorted(found.items())


def _bin_of(
    repository: TrustedRepository, crate: CrateName, path: Callable[[CrateName], str] = paths.index_path
) -> str:
    delegations = repository.role(paths.INDEX).signed.delegations
    if delegations is None or delegations.succinct is None:
        raise MetadataMismatch("index does not delegate to hash bins")
    return delegations.succinct.bin_of(path(crate))


def save_view(view: View, roles: Iterable[str], crates: Iterable[CrateName] = ()) -> bytes:
    """Put what is needed to verify these targets roles, and what the index lists of crates, into one file.

    Args:
        view: A verified view.
        roles: Names of targets roles; those above them, and all roots, come along by themselves.
        crates: Whose index files come along, of those that the registry lists; their bins have to be among the roles.

    Raises:
        MetadataError: A role failed a check.
        TransportError: A role could not be fetched.
    """
    trusted = view.repository.trusted
    files = {
        _TIMESTAMP: trusted.timestamp.raw,
        _path(paths.SNAPSHOT, trusted.snapshot.signed.version): trusted.snapshot.raw,
    }
    for version in range(1, trusted.root.signed.version):
        path = _path(paths.ROOT, version)
        files[path] = view.fetcher.get(path, max_bytes=Root.MAX_BYTES)  # whoever pinned an older one walks over these
    files[_path(paths.ROOT, trusted.root.signed.version)] = trusted.root.raw
    owned: dict[str, RoleFile[Targets]] = {}
    for role in (paths.TARGETS, *roles):
        file = owned.get(role) or view.repository.role(role)
        if place_of(role).kind == RoleKind.SHARD:
            # Somebody signs the shard because of them, so those that nobody renewed come along: signed, and too old.
            owned |= view.repository.claimed_files([role])
            read_standing(file.signed, owned)
        files[_path(role, file.signed.version)] = file.raw
    of_crates = [path(crate) for crate in crates for path in (paths.index_path, paths.history_path)]
    for target in view.repository.find_targets(of_crates).values():
        if target is not None:
            path = paths.TARGETS_PREFIX + paths.hashed_path(target.path, target.sha256)
            files[path] = view.repository.download(target)
    listed: dict[str, Json] = {path: base64.b64encode(data).decode() for path, data in sorted(files.items())}
    return strictjson.encode({"_type": "carnet-view", "version": 1, "files": listed}) + b"\n"


def read_saved_view(data: bytes, trust: TrustDirectory, *, now: datetime) -> SavedView:
    """Verify a saved view from what a client trusts, and remember it: an older one is refused from then on.

    Args:
        data: The file.
        trust: The client's memory; locked while this runs.
        now: The time, aware, UTC.

    Raises:
        MetadataError: A check failed, or the timestamp ended longer than `GRACE` ago.
        FormatError: The file is no saved view.
        TransportError: A file that is needed is not in it.
        StorageError: The disk failed.
    """
    with trust.locked():
        check_clock(trust.last_refresh(), now)
        return _verified(data, trust.root, trust.metadata, now)


def read_saved_view_from(data: bytes, root: bytes, *, now: datetime) -> SavedView:
    """Verify a saved view from a pinned root on, without a memory.

    Raises:
        CarnetError: As `read_saved_view`.
    """
    return _verified(data, root, MemoryStore(), now)


def read_carried_tree(fetcher: Fetcher, trust: TrustDirectory, *, now: datetime) -> TrustedRepository:
    """Verify a repository's files that were carried here on a disk, from what a client trusts, and remember it.

    They take their time, as a saved view does, and `GRACE` is for both.

    Args:
        fetcher: The files.
        trust: The client's memory; locked while this runs.
        now: The time, aware, UTC.

    Raises:
        MetadataError: A check failed, or the timestamp ended longer than `GRACE` ago.
        FormatError: A file does not parse.
        TransportError: A file that is needed is not there.
        StorageError: The disk failed.
    """
    with trust.locked():
        check_clock(trust.last_refresh(), now)
        again = "write them anew where the mirror is, and carry them here: `carnet mirror export DIR FOLDER`"
        repository, _ = _within_grace(
            fetcher, trust.root, trust.metadata, now, "the files that were carried here", again
        )
        trust.remember_refresh(now)
    return repository


def _verified(data: bytes, root: bytes, store: MetadataStore, now: datetime) -> SavedView:
    files = _files(data)
    again = "write a new one where there is a network: `carnet trust export -o FILE`"
    repository, ended = _within_grace(ReadFetcher(files.get), root, store, now, "the saved view", again)
    shards = [(shard, repository.version(shard)) for shard in map(paths.claims_shard_role, paths.SHARDS)]
    inside = [shard for shard, version in shards if version is not None and _path(shard, version) in files]
    return SavedView(repository, ended, tuple(expired_roles(repository, inside, now)))


def _within_grace(
    fetcher: Fetcher, root: bytes, store: MetadataStore, now: datetime, what: str, again: str
) -> tuple[TrustedRepository, timedelta]:
    """Verify files that took their time to come here; how long ago their timestamp ended."""
    try:
        timestamp = parse_role(fetcher.get(_TIMESTAMP, max_bytes=Timestamp.MAX_BYTES), Timestamp).signed
    except TransportError:
        raise FormatError(f"{what}: there is no timestamp", hint=again) from None
    ended = max(now - timestamp.expires, timedelta(0))
    if ended > GRACE:
        raise ExpiredMetadata(
            f"the timestamp of {what} ended on {timestamp.expires:%Y-%m-%d}, longer than {GRACE.days} days ago",
            hint=again,
        )
    moment = now if timestamp.expires > now else timestamp.expires - timedelta(seconds=1)
    trusted = update(root, store, fetcher, now=moment)
    repository = TrustedRepository(trusted, store, fetcher)
    # What people sign lives long enough: the grace is for what is signed online.
    check_unexpired(paths.ROOT, trusted.root.signed, now)
    check_unexpired(paths.TARGETS, repository.targets, now)
    trusted.now_for_people = now  # of the roles that are looked at from here on
    return repository, ended


def _files(data: bytes) -> dict[str, bytes]:
    match strictjson.parse_object(data, "the saved view", max_bytes=MAX_SAVED_VIEW):
        case {"_type": "carnet-view", "version": 1, "files": dict(files)}:
            pass
        case _:
            raise FormatError("this is no saved view", hint="`carnet trust export -o FILE` writes one")
    found = {}
    for path, text in files.items():
        if not isinstance(text, str):
            raise FormatError(f"{path[:120]!a} in the saved view is not base64")
        found[path] = decode_base64(text, f"{path[:120]!a} in the saved view")
    return found


def _path(role: str, version: int) -> str:
    return paths.METADATA_PREFIX + paths.metadata_name(role, version)
