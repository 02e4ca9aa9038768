"""Copy the crates of a lock file from an upstream registry, and publish them in one go.

1. the upstream gives tarballs and index lines (`upstream`), but is never asked for a crate that is claimed here;
2. each tarball is held against the lock's checksum and read by the strict reader, and its index line against the
   manifest inside it; where there is no line, one is built from the manifest;
3. each is held against what the mirror has: a version never changes, a claimed crate never comes from upstream;
4. what is new is published in one transaction.

What is refused stops nothing else, and leaves what the mirror had as it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from carnet import times
from carnet.cargo.crate import CrateFile, read_crate
from carnet.cargo.index_line import IndexLine, compare_line, line_from_crate
from carnet.cargo.let_in import LetIn, write_let_in
from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateId, CrateName
from carnet.digests import sha256_hex
from carnet.errors import ArchiveRefused, CarnetError, StorageError, VerificationError
from carnet.progress import Progress
from carnet.scratch import temporary_folder
from carnet.tuf.paths import index_path
from carnet_mirror.state.files import blob_path
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.records import StoredVersion
from carnet_mirror.state.store import Store
from carnet_mirror.upstream.packages import Upstream, UpstreamCrate, wanted_lines
from carnet_mirror.writing import publish, writing
from carnet_signer.metadata.publish import Change, OnlineSigner, PublishResult

_CLAIMED = "this crate is claimed here: its versions come from its maintainers, not from upstream"


@dataclass(frozen=True, slots=True)
class Refused:
    """One version that was not taken, and why."""

    crate: CrateId
    reason: str


@dataclass(frozen=True, slots=True)
class SyncNote:
    """Something about one version that a person should know and that stops nothing."""

    crate: CrateId
    text: str


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did.

    Attributes:
        added: Versions that the mirror did not have.
        updated: Versions whose yank state or publication time is another one now.
        unchanged: How many of the lock's were there already, with nothing new.
        refused: What was not taken.
        findings: What a person should know.
        published: What the publish did; None when nothing had changed.
    """

    added: tuple[CrateId, ...]
    updated: tuple[CrateId, ...]
    unchanged: int
    refused: tuple[Refused, ...]
    findings: tuple[SyncNote, ...]
    published: PublishResult | None


@dataclass(frozen=True, slots=True)
class _Examined:
    """A tarball that passed every check that needs no state, or one that the mirror has already."""

    line: IndexLine
    tarball: Path
    length: int
    let_in: LetIn | None


def sync(
    store: Store,
    online: OnlineSigner,
    upstream: Upstream,
    packages: Sequence[LockedPackage],
    *,
    now: datetime,
    progress: Progress,
    let_in: Mapping[CrateId, LetIn] | None = None,
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

    Raises:
        TransportError: The upstream gave nothing at all.
        StorageError: Another process is writing to the mirror, or the disk failed; nothing was published.
        SigningError: The online signer refused; nothing was published.
    """
    with _scratch() as scratch:
        wanted, here, refused = _not_claimed(store, packages)
        before = UnverifiedView(store).let_in({package.id.name for package in packages})
        offered = before | dict(let_in or {})
        with progress("fetching", len(wanted)) as count:
            fetched = upstream.fetch(wanted, scratch, count) if wanted else []
        examined: list[_Examined] = []
        findings: list[SyncNote] = []
        with progress("checking", len(fetched)) as count:
            for item in fetched:
                try:
                    checked, texts = _examine(item, now, offered.get(item.package.id))
                    examined.append(checked)
                    findings += [SyncNote(item.package.id, text) for text in texts]
                except (CarnetError, OSError) as error:
                    refused.append(Refused(item.package.id, _reason(error)))
                count(1)
        let_in = {item.line.id: item.let_in for item in examined if item.let_in is not None}
        index = {item.package.id.name: item.index for item in fetched if item.index}
        with writing(store, online, now=now):
            merge = _Merge(store, upstream.name, now)
            merge.take(examined)
            merge.follow_upstream(index)
            published = _publish(store, online, merge, before, let_in, now, progress)
        return SyncReport(
            added=tuple(sorted(merge.added)),
            updated=tuple(sorted(merge.updated)),
            unchanged=here + len(examined) - len(merge.added) - len(merge.refused) - len(merge.updated & merge.locked),
            refused=tuple(sorted(refused + merge.refused, key=lambda item: item.crate)),
            findings=tuple(findings + merge.findings),
            published=published,
        )


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    try:
        with temporary_folder() as folder:
            yield folder
    except OSError as error:
        raise StorageError(f"cannot use a temporary folder: {error.strerror or error}") from None


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, CarnetError) else f"its tarball cannot be read: {error}"


def _not_claimed(store: Store, packages: Sequence[LockedPackage]) -> tuple[list[LockedPackage], int, list[Refused]]:
    """Which packages to ask the upstream for; of the claimed ones, how many are here, and what is wrong with others."""
    claimed = UnverifiedView(store).claimed({package.id.name for package in packages})
    wanted: list[LockedPackage] = []
    here = 0
    refused: list[Refused] = []
    for package in packages:
        if package.id.name.canonical not in claimed:
            wanted.append(package)
            continue
        stored = store.crates.version(package.id)
        if stored is None:
            refused.append(Refused(package.id, _CLAIMED))
        elif package.checksum not in (None, stored.line.cksum):
            refused.append(
                Refused(package.id, f"its maintainers released {stored.line.cksum}, the lock demands another")
            )
        else:
            here += 1
    return wanted, here, refused


# --- 2. one tarball at a time ---


def _examine(item: UpstreamCrate, now: datetime, let_in: LetIn | None) -> tuple[_Examined, tuple[str, ...]]:
    """Check what an upstream gave for one package, which the operator may have let in.

    Raises:
        CarnetError: It is not to be had, not the lock's, or breaks a rule of archives or index lines.
    """
    crate = item.package.id
    if item.tarball is None:
        raise VerificationError(item.reason)
    data = item.tarball.read_bytes()
    sha256 = sha256_hex(data)
    if item.package.checksum is not None and item.package.checksum != sha256:
        raise VerificationError(f"the upstream's tarball has sha256 {sha256}, the lock demands {item.package.checksum}")
    contents = read_crate(data, crate)
    try:
        line, findings = _line(item, contents, None)
        let_in = None  # nothing is said of a version that needs no such word
    except ArchiveRefused:
        if let_in is None or let_in.expires <= now:
            raise
        line, findings = _line(item, contents, let_in)
    return _Examined(line, item.tarball, len(data), let_in), contents.warnings + findings


def _line(item: UpstreamCrate, contents: CrateFile, let_in: LetIn | None) -> tuple[IndexLine, tuple[str, ...]]:
    version = str(contents.id.version)
    line = wanted_lines(item.index, contents.id.name, {version}).get(version)
    if line is None:
        return line_from_crate(contents, pubtime=None), ()
    if line.cksum != contents.sha256:
        raise ArchiveRefused(f"the upstream's index says sha256 {line.cksum}, its tarball has {contents.sha256}")
    try:
        return line, compare_line(line, contents, let_in=let_in)
    except ArchiveRefused as difference:
        raise ArchiveRefused(
            f"{difference} (`--let-in` takes it all the same, for a reason and until a day: its sha256 is {line.cksum})"
        ) from None


def pubtime(now: datetime) -> str:
    """A time as an index line's `pubtime` writes it."""
    return times.written(now)


# --- 3. against what the mirror has ---


class _Merge:
    """What the mirror will have: its own versions, and those of the upstream that may stand beside them."""

    def __init__(self, store: Store, upstream: str, now: datetime) -> None:
        self._store = store
        self._upstream = upstream
        self._now = pubtime(now)
        self._crates: dict[str, dict[str, StoredVersion]] = {}
        self._claimed: frozenset[str] = frozenset()
        self.names: dict[str, CrateName] = {}
        self.tarballs: dict[str, Path] = {}
        self.added: set[CrateId] = set()
        self.updated: set[CrateId] = set()
        self.locked: set[CrateId] = set()
        self.refused: list[Refused] = []
        self.findings: list[SyncNote] = []

    def take(self, examined: Sequence[_Examined]) -> None:
        """Add each version, or refuse it and leave what is there as it is."""
        self._claimed = UnverifiedView(self._store).claimed({item.line.id.name for item in examined})
        for item in examined:
            crate = item.line.id
            try:
                self._take(crate, item)
                self.locked.add(crate)
            except VerificationError as error:
                self.refused.append(Refused(crate, str(error)))

    def _take(self, crate: CrateId, item: _Examined) -> None:
        if crate.name.canonical in self._claimed:
            raise VerificationError(_CLAIMED)
        spelling = self._store.crates.spelling(crate.name) or str(self.names.get(crate.name.canonical, crate.name))
        if spelling != str(crate.name):
            raise VerificationError(f"this mirror has the crate as {spelling}, which is another spelling of its name")
        versions = self._versions(crate.name)
        known = versions.get(str(crate.version))
        if known is None:
            versions[str(crate.version)] = self._new(item)
            self.tarballs[item.line.cksum] = item.tarball
            self.added.add(crate)
            return
        if known.line.cksum != item.line.cksum:
            raise VerificationError(
                f"the upstream now has a tarball with sha256 {item.line.cksum} for it, "
                f"this mirror keeps {known.line.cksum}"
            )
        self._update(known, item.line)

    def follow_upstream(self, index: dict[CrateName, tuple[bytes, ...]]) -> None:
        """Take the yank states of every version that the mirror has of these crates, locked or not."""
        for name, chunks in index.items():
            versions = self._crates.get(name.canonical, {})
            others = {text for text, version in versions.items() if version.id not in self.locked}
            if self.names.get(name.canonical) != name or not others:
                continue
            for text, line in wanted_lines(chunks, name, others).items():
                known = versions[text]
                if line.cksum == known.line.cksum and not any(item.crate == known.id for item in self.refused):
                    with contextlib.suppress(VerificationError):  # an unlocked version that differs stays as it is
                        self._update(known, line)

    def changed(self, also: Iterable[CrateId]) -> list[tuple[CrateName, list[StoredVersion]]]:
        """The crates that have something new, and those of which something new is said, with all their versions."""
        said = {crate.name.canonical for crate in also if crate in self.locked}
        touched = said | {crate.name.canonical for crate in self.added | self.updated}
        return [(self.names[key], list(self._crates[key].values())) for key in sorted(touched)]

    def _versions(self, name: CrateName) -> dict[str, StoredVersion]:
        if name.canonical not in self._crates:
            self.names[name.canonical] = name
            self._crates[name.canonical] = {str(one.id.version): one for one in self._store.crates.versions(name)}
        return self._crates[name.canonical]

    def _new(self, item: _Examined) -> StoredVersion:
        known = item.line.pubtime is not None
        line = item.line if known else item.line.with_(pubtime=self._now)
        return StoredVersion(line, item.length, blob_path(line.cksum), self._upstream, known, self._now)

    def _update(self, known: StoredVersion, line: IndexLine) -> None:
        if known.line.identity() != line.identity():
            if line.pubtime is None:
                return  # built from the manifest: the mirror's own line came from a registry and says more
            raise VerificationError(
                "the upstream changed its index line: dependencies or features differ from the mirror's"
            )
        new = known
        if known.line.yanked != line.yanked:
            new = replace(new, line=new.line.with_(yanked=line.yanked))
        if line.pubtime is not None and line.pubtime != known.line.pubtime:
            if known.pubtime_is_upstreams:
                self.findings.append(
                    SyncNote(
                        known.id,
                        f"the upstream now says {line.pubtime} for its publication, {known.line.pubtime} before",
                    )
                )
            else:
                new = replace(new, line=new.line.with_(pubtime=line.pubtime), pubtime_is_upstreams=True)
        elif line.pubtime is not None and not known.pubtime_is_upstreams:
            new = replace(new, pubtime_is_upstreams=True)
        if new != known:
            self._crates[known.id.name.canonical][str(known.id.version)] = new
            self.updated.add(known.id)


# --- 4. one publish ---


def _publish(
    store: Store,
    online: OnlineSigner,
    merge: _Merge,
    before: Mapping[CrateId, LetIn],
    let_in: Mapping[CrateId, LetIn],
    now: datetime,
    progress: Progress,
) -> PublishResult | None:
    changed = merge.changed(crate for crate, said in let_in.items() if before.get(crate) != said)
    let_in = {**before, **let_in}
    if not changed:
        return None
    with progress("publishing", len(changed) + 1) as count:
        store.stage_tarballs(_read_again(merge.tarballs))
        index_files: dict[str, bytes] = {}
        for name, versions in changed:
            index_files[index_path(name)] = store.crates.stage(name, versions)
            count(1)
        custom = {
            index_path(name): write_let_in(
                {str(version.id.version): let_in[version.id] for version in versions if version.id in let_in}
            )
            for name, versions in changed
        }
        published = publish(store, online, Change(index_files=index_files, custom=custom), now=now)
        count(1)
    return published


def _read_again(tarballs: dict[str, Path]) -> Iterator[bytes]:
    for sha256, path in tarballs.items():
        data = path.read_bytes()
        if sha256_hex(data) != sha256:
            raise StorageError(f"{path} changed while it was being copied")
        yield data
