"""Copy the crates of a lock file from an upstream registry, and publish them in one go.

1. the upstream gives tarballs and index lines (`upstream`); of a crate that is claimed here only those of versions that
   were adopted by checksum (`carnet_mirror.sync.claimed`);
2. each tarball is held against the lock's checksum and read by the strict reader, and its index line against the
   manifest inside it;
3. each is held against what the mirror has: a version never changes, one that was adopted is what was adopted;
4. what is new is published in one transaction, with what the upstream lists beside it (`carnet.claims.history`);
5. what an upstream that is a mirror took down is taken down here too: it is refused, and that can be taken back.

What is refused stops nothing else, and leaves what the mirror had as it was. **What the upstream does not say is no
statement** (`carnet_mirror.sync.outcome`): a version that the mirror has stays as it is, and one that it does not have
waits for a sync that hears of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from carnet import times
from carnet.cargo.crate import CrateFile, read_crate
from carnet.cargo.index_line import IndexLine, compare_line
from carnet.cargo.let_in import LetIn, write_let_in
from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateId, CrateName
from carnet.cargo.takedown import write_takedowns
from carnet.digests import sha256_hex
from carnet.errors import ArchiveRefused, CarnetError, StorageError, VerificationError
from carnet.progress import Progress
from carnet.scratch import temporary_folder
from carnet.tuf.paths import history_path, index_path
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_mirror.sync.claimed import ClaimedCrates, not_claimed, why_unsigned
from carnet_mirror.sync.merge import Examined, Merge, Missed
from carnet_mirror.sync.outcome import Refused, SyncNote, SyncReport
from carnet_mirror.sync.takedown import take_down, to_follow
from carnet_mirror.upstream.packages import IndexedUpstream, Listing, Upstream, UpstreamCrate
from carnet_mirror.writing import publish, writing
from carnet_signer.metadata.publish import Change, OnlineSigner, PublishResult

__all__ = ["SyncReport", "pubtime", "sync"]


def sync(  # noqa: PLR0913  -- what is taken from where, and what is demanded of it
    store: Store,
    online: OnlineSigner,
    upstream: Upstream,
    packages: Sequence[LockedPackage],
    *,
    now: datetime,
    progress: Progress,
    let_in: Mapping[CrateId, LetIn] | None = None,
    require: Callable[[IndexLine], None] = lambda _: None,
    index: IndexedUpstream | None = None,
    histories: Iterable[CrateName] = (),
) -> SyncReport:
    """Bring the packages of a lock into a mirror.

    Args:
        store: The mirror, opened for writing.
        online: Signs what is published.
        upstream: Where to take them from.
        packages: The lock's packages of the registry that this mirror stands for.
        now: The time; the publication time of versions whose real one is not known.
        progress: Makes the progress bars.
        let_in: Versions that the operator lets in from now on, although their index lines are not their manifests';
            those that were let in before stay so until their day.
        require: Demands more of a version than its bytes; raises `VerificationError` where that is not so.
        index: Asked what appeared of claimed crates, where a version is wanted that nobody signed; None asks nobody.
        histories: Claimed crates of which it is asked although nothing of them is wanted.

    Raises:
        TransportError: The upstream gave nothing at all.
        NoRoom: The disk is full, up to what is kept for upkeep; nothing was published.
        StorageError: Another process is writing to the mirror, or a disk failed; nothing was published.
        SigningError: The online signer refused; nothing was published.
    """
    store.disk.require()
    with _scratch() as scratch:
        asked = not_claimed(store, packages)
        wanted, refused = asked.wanted, list(asked.refused)
        names = {*histories, *(crate.name for crate in asked.unsigned)}
        looked = {} if index is None else look_at_claimed(store, index, names)
        before = UnverifiedView(store).let_in({package.id.name for package in packages})
        offered = before | dict(let_in or {})
        with progress("fetching", len(wanted)) as count:
            fetched = upstream.fetch(wanted, scratch, count) if wanted else []
        examined: list[Examined] = []
        missed: list[Missed] = []
        findings: list[SyncNote] = []
        with progress("checking", len(fetched)) as count:
            for item in fetched:
                try:
                    found, texts = _examine(item, now, offered.get(item.package.id), require)
                    if isinstance(found, Missed):
                        missed.append(found)
                    else:
                        examined.append(found)
                    findings += [SyncNote(item.package.id, text) for text in texts]
                except StorageError:
                    raise
                except CarnetError as error:
                    refused.append(Refused(item.package.id, str(error)))
                count(1)
        used = {item.line.id: item.let_in for item in examined if item.let_in is not None}
        with writing(store, online, now=now):
            merge = Merge(store, upstream.name, pubtime(now))
            merge.take(examined)
            merge.miss(missed)
            listed = {item.package.id.name: item.index for item in fetched if item.index}
            merge.follow_upstream(listed)
            merge.hear(listed | looked)
            refused += [why_unsigned(crate, merge.appeared) for crate in asked.unsigned]
            published = publish_merged(store, online, merge, before, used, now=now, progress=progress)
        down = to_follow(store, ((item.package.id.name, item.taken_down) for item in fetched), upstream.name)
        for crate, reason in sorted(down.items()):
            published = take_down(store, online, crate, reason, now=now)[1] or published
        return replace(merge.report(asked.here, refused, findings, published), taken_down=tuple(sorted(down)))


def look_at_claimed(
    store: Store, upstream: IndexedUpstream, names: Iterable[CrateName]
) -> dict[CrateName, tuple[bytes, ...]]:
    """What the upstream lists of those among these claimed crates that once came from there.

    Raises:
        TransportError: The upstream said nothing at all.
        ConfigError: It cannot be used as it is configured.
    """
    names = sorted(set(names))
    claimed = ClaimedCrates(store, names)
    known = [name for name in names if name in claimed and claimed.came_from_upstream(name)]
    if not known:
        return {}
    with _scratch() as scratch:
        return {name: said.chunks for name, said in upstream.index(known, scratch).items() if said.chunks}


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    try:
        with temporary_folder() as folder:
            yield folder
    except OSError as error:
        raise StorageError(f"cannot use a temporary folder: {error.strerror or error}") from None


# --- 2. one tarball at a time ---


def _examine(
    item: UpstreamCrate, now: datetime, let_in: LetIn | None, require: Callable[[IndexLine], None]
) -> tuple[Examined | Missed, tuple[str, ...]]:
    """Check what an upstream gave for one package, which the operator may have let in, if it gave enough.

    Raises:
        CarnetError: It is not the lock's, or breaks a rule of archives or index lines.
        StorageError: The disk failed.
    """
    package = item.package
    if item.tarball is None:
        return Missed(package, item.reason, has_none=item.has_none, heard=item.has_none), ()
    data = _tarball(item.tarball)
    sha256 = sha256_hex(data)
    if package.checksum is not None and package.checksum != sha256:
        raise VerificationError(f"the upstream's tarball has sha256 {sha256}, the lock demands {package.checksum}")
    contents = read_crate(data, package.id)
    version = str(package.id.version)
    listing = Listing(item.index, package.id.name, {version}, item.silence)
    line = listing.lines.get(version)
    if line is None:
        heard = listing.heard and not listing.unread(version)
        return Missed(package, listing.missing(version), has_none=False, heard=heard), contents.warnings
    require(line)
    try:
        findings = _compared(line, contents, None)
        let_in = None  # nothing is said of a version that needs no such word
    except ArchiveRefused:
        if let_in is None or not let_in.counts(now):
            raise
        findings = _compared(line, contents, let_in)
    return Examined(line, item.tarball, len(data), let_in, item.origin), contents.warnings + findings


def _tarball(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None


def _compared(line: IndexLine, contents: CrateFile, let_in: LetIn | None) -> tuple[str, ...]:
    if line.cksum != contents.sha256:
        raise ArchiveRefused(f"the upstream's index says sha256 {line.cksum}, its tarball has {contents.sha256}")
    try:
        return compare_line(line, contents, let_in=let_in)
    except ArchiveRefused as difference:
        raise ArchiveRefused(
            f"{difference} (`--let-in` takes it all the same, for a reason and until a day: its sha256 is {line.cksum})"
        ) from None


def pubtime(now: datetime) -> str:
    """A time as an index line's `pubtime` writes it."""
    return times.written(now)


# --- 4. one publish ---


def publish_merged(
    store: Store,
    online: OnlineSigner,
    merge: Merge,
    before: Mapping[CrateId, LetIn],
    let_in: Mapping[CrateId, LetIn],
    *,
    now: datetime,
    progress: Progress,
) -> PublishResult | None:
    """Publish what a merge has that is new, inside `carnet_mirror.writing.writing`; None where there is nothing.

    Args:
        store: The mirror.
        online: Signs it.
        merge: The versions as they will be.
        before: What was let in of these crates.
        let_in: What is, from now on.
        now: The time.
        progress: Makes the progress bar.

    Raises:
        StorageError: The disk failed.
        SigningError: The online signer refused.
    """
    changed = merge.changed(crate for crate, said in let_in.items() if before.get(crate) != said)
    let_in = {**before, **let_in}
    if not changed and not merge.histories:
        return None
    store.disk.require(merge.comes)
    with progress("publishing", len(changed) + 1) as count:
        store.stage_tarballs(_read_again(merge.tarballs))
        index_files: dict[str, bytes] = {}
        for name, versions in changed:
            index_files[index_path(name)] = store.crates.stage(name, versions)
            count(1)
        for name, history in merge.histories.items():
            index_files[history_path(name)] = history.to_bytes()
        down = UnverifiedView(store).taken_down(name for name, _ in changed)
        custom = {
            index_path(name): write_let_in(
                {str(version.id.version): let_in[version.id] for version in versions if version.id in let_in}
            )
            | write_takedowns({str(one.id.version): down[one.id] for one in versions if one.id in down})
            for name, versions in changed
        }
        published = publish(store, online, Change(index_files=index_files, custom=custom), now=now)
        count(1)
    return published


def _read_again(tarballs: dict[str, Path]) -> Iterator[bytes]:
    for sha256, path in tarballs.items():
        data = _tarball(path)
        if sha256_hex(data) != sha256:
            raise StorageError(f"{path} changed while it was being copied")
        yield data
