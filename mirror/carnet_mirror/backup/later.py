"""What was published after a back-up was made, out of a copy of the published files: an export, or another mirror.

1. newest root, timestamp and snapshot of the copy, verified from the back-up's newest root on, as a client does that
   has seen what the back-up holds                                                                 (TUF 5.3 to 5.5)
2. every file that this snapshot leads to, with what is signed of it: those that the back-up has, and the others from
   the copy (`carnet_mirror.fsck.signed_files`)
3. the versions in between of what people signed: clients follow a change of owners through them
4. all of it is entered, and the copy's timestamp is what is published

A copy whose time is over is looked at as it was the moment before: what is taken from it is newer than the back-up, and
is signed anew. What no signature leads to is not taken, and one file that neither of the two has refuses the whole.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from carnet import durable, times
from carnet.cargo.names import CrateName
from carnet.errors import ConfigError, ExpiredMetadata, FormatError, MetadataError, RollbackDetected, TransportError
from carnet.progress import Progress
from carnet.tuf.paths import METADATA_PREFIX, ROOT, SNAPSHOT, TIMESTAMP, metadata_name, url_path
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Root, Targets, Timestamp
from carnet.tuf.tree import is_bin
from carnet_mirror.fsck.signed_files import follow, read_signed_chain, reader
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.records import StoredFile, StoredVersion
from carnet_mirror.state.store import Store
from carnet_mirror.sync.takedown import withhold
from carnet_verifier.memory.metadata_store import MemoryStore
from carnet_verifier.net.address import repository_url
from carnet_verifier.net.fetch import Fetcher, HttpFetcher
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.net.route import Network
from carnet_verifier.tuf.refresh import update
from carnet_verifier.tuf.repository import MAX_TARGET
from carnet_verifier.tuf.workflow import TrustedRoles

_WITHHELD = 451
"""The status of what a mirror has taken down."""


@dataclass(frozen=True, slots=True)
class Later:
    """What was taken from a copy.

    Attributes:
        snapshot: The version of its snapshot.
        timestamp: The version of its timestamp.
        roles: What people signed since the back-up, by role, with the version: root, claims, owners' and crates' roles.
        versions: How many versions of crates came.
    """

    snapshot: int
    timestamp: int
    roles: Mapping[str, int]
    versions: int


@contextmanager
def open_copy(place: str, network: Network) -> Iterator[Fetcher]:
    """Open a copy, and say of what is wrong with it that it is the copy's.

    Args:
        place: A folder that `carnet mirror export` wrote, or the address of a mirror.
        network: How an address is reached.

    Raises:
        ConfigError: There is none.
        CarnetError: What the block raises, of the same class.
    """
    with ExitStack() as stack:
        if "://" in place:
            fetcher: Fetcher = stack.enter_context(HttpFetcher(repository_url(place), network=network))
        elif (Path(place) / METADATA_PREFIX / metadata_name(TIMESTAMP, None)).is_file():
            read = reader(Path(place))
            fetcher = ReadFetcher(lambda path: read(path, MAX_TARGET))
        else:
            raise ConfigError(
                f"{place} holds no published files",
                hint="--from names a folder that `carnet mirror export` wrote, or the address of a mirror",
            )
        try:
            yield fetcher
        except (FormatError, MetadataError, TransportError) as error:
            error.args = (f"the copy {place}: {error}",)
            error.hint = error.hint or "nothing was restored; name another copy, or restore without one"
            raise


def take_later(store: Store, fetcher: Fetcher, *, now: datetime, progress: Progress) -> Later:
    """Bring a mirror that is being restored up to what a copy holds; see the module.

    Args:
        store: The mirror, with the files of its back-up.
        fetcher: The copy.
        now: The time.
        progress: Makes the progress bars.

    Raises:
        ConfigError: The copy is older than the back-up.
        MetadataError: It is not signed from the back-up's root on, or goes back.
        FormatError: A file of it does not parse.
        StorageError: A file is in neither of the two, or the disk failed.
        TransportError: The copy cannot be read.
    """
    view = UnverifiedView(store)
    trusted = _verified(store, view, fetcher, now)  # 1.
    snapshot, timestamp = trusted.snapshot.signed, trusted.timestamp.signed
    # A mirror that lists a whole index has the tarballs that somebody asked for, and brings others when they are asked
    # for: to fetch them here would bring all of them.
    listed_only = view.lists_only()
    copy = _Copy(store, fetcher, tarballs=not listed_only)
    before = len(view.root_versions())
    for version in range(before + 1, trusted.root.signed.version + 1):
        copy(METADATA_PREFIX + metadata_name(ROOT, version), Root.MAX_BYTES)
    copy.keep(METADATA_PREFIX + metadata_name(SNAPSHOT, snapshot.version), trusted.snapshot.raw)
    first = store.served(METADATA_PREFIX + metadata_name(ROOT, 1)) or b""
    found = read_signed_chain(store.directory, first)
    found.snapshots = {snapshot.version: found.snapshots[snapshot.version]}
    follow(found, copy, snapshot.version, progress, listed_only=listed_only)  # 2.
    roles = {ROOT: trusted.root.signed.version} if trusted.root.signed.version > before else {}
    for role, meta in snapshot.meta.items():  # 3.
        had = view.snapshot.meta[role].version if role in view.snapshot.meta else 0
        if not is_bin(role) and meta.version > had:
            roles[role] = meta.version
            for version in range(had + 1, meta.version):
                between = copy.between(role, version)
                if between is not None:
                    found.files[between.path] = between
    copy.forget_others(found.files)
    count = store.crates.count()[1]
    new = [file for path, file in found.files.items() if store.files.known(path) is None]
    with store.change():  # 4.
        store.enter(new, _with_what_is_known(store, found.crates))
        store.reveal(trusted.timestamp.raw)
        withhold(store, UnverifiedView(store).all_taken_down())
    return Later(snapshot.version, timestamp.version, roles, store.crates.count()[1] - count)


def _with_what_is_known(
    store: Store, crates: Iterable[tuple[CrateName, list[StoredVersion]]]
) -> Iterator[tuple[CrateName, list[StoredVersion]]]:
    """The copy's versions; where one came from, and when it was first seen, the back-up knows of those that it has."""
    for name, versions in crates:
        standing = {one.id: one for one in store.crates.versions(name)}
        yield (
            name,
            [replace(standing.get(one.id, one), line=one.line, path=one.path, length=one.length) for one in versions],
        )


def _verified(store: Store, view: UnverifiedView, fetcher: Fetcher, now: datetime) -> TrustedRoles:
    """The copy's newest state, as a client sees it that has seen the back-up's."""
    root = store.served(METADATA_PREFIX + metadata_name(ROOT, view.root_versions()[-1])) or b""
    seen = {
        TIMESTAMP: store.served(METADATA_PREFIX + metadata_name(TIMESTAMP, None)) or b"",
        SNAPSHOT: store.served(METADATA_PREFIX + metadata_name(SNAPSHOT, view.snapshot.version)) or b"",
    }

    def look(moment: datetime) -> TrustedRoles:
        memory = MemoryStore()
        memory.cache(seen)
        return update(root, memory, fetcher, now=moment)

    try:
        try:
            return look(now)
        except ExpiredMetadata:
            data = fetcher.get(METADATA_PREFIX + metadata_name(TIMESTAMP, None), max_bytes=Timestamp.MAX_BYTES)
            ended = parse_role(data, Timestamp).signed.expires
            return look(min(now, times.moved(ended, timedelta(seconds=-1))))
    except RollbackDetected as error:
        raise ConfigError(
            f"what --from names is older than the back-up: {error}", hint="restore without it, or name a newer copy"
        ) from None


class _Copy:
    """Reads the folder of a mirror that is being restored, and a copy where that lacks a file: it is kept then.

    Args:
        store: The mirror.
        fetcher: The copy.
        tarballs: Whether those of crates that nobody claims are fetched.
    """

    def __init__(self, store: Store, fetcher: Fetcher, *, tarballs: bool) -> None:
        self._store = store
        self._tarballs = tarballs
        self._fetcher = fetcher
        self._beside = reader(store.directory)
        self._fetched: set[str] = set()

    def __call__(self, path: str, most: int, *, address: str | None = None) -> bytes | None:
        """See `carnet_mirror.fsck.signed_files.Reader`."""
        data = self._beside(path, most)
        if data is None and (self._tarballs or address is None):
            try:
                data = self._fetcher.get(
                    url_path(path) if address is None else address, max_bytes=min(most, MAX_TARGET)
                )
            except TransportError as error:
                if not error.absent and error.status != _WITHHELD:
                    raise
                return None
            self.keep(path, data)
        return data

    def keep(self, path: str, data: bytes) -> None:
        """Write a file that nobody believes yet."""
        place = self._store.files.place(StoredFile(path, "", 0))
        durable.make_folder(place.parent)
        durable.write_file(place, data)
        self._fetched.add(path)

    def between(self, role: str, version: int) -> StoredFile | None:
        """A version of a role that was superseded: whoever follows its signers judges it."""
        path = METADATA_PREFIX + metadata_name(role, version)
        data = self(path, Targets.MAX_BYTES)
        try:
            if data is None or parse_role(data, Targets, what=path).signed.version != version:
                return None
        except FormatError:
            return None
        return StoredFile.of(path, data)

    def forget_others(self, believed: Container[str]) -> None:
        """Take away what was fetched, and is not among what is believed."""
        for path in self._fetched:
            if path not in believed:
                self._store.files.place(StoredFile(path, "", 0)).unlink()
