"""Check a mirror as its clients would, and then what only the mirror can: its state against what is signed.

1. the database file itself;
2. every published file: there, with the bytes it was published with;
3. the signed view, from the first root on, with the verifier's own code;
4. every role of the snapshot: its version, and signatures of those whom its delegator names;
5. nothing newer was ever published than what the timestamp names, nothing older than what the shards demand, and
   nothing that the online signer, where it can be asked, does not remember;
6. every crate: index file made from the state = index file on the disk = index file that is signed, and every tarball;
7. every target that claimed crates list, and that their index lines are the ones their maintainers signed;
8. when it is asked for: what python-tuf and in-toto make of every role and of all evidence, and python-tuf's client of
   every target.

Nothing is repaired: what is damaged has to be looked at by a person first.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from carnet import times
from carnet.cargo.index_line import IndexFile, IndexLine
from carnet.cargo.names import CrateId, CrateName
from carnet.cargo.takedown import Takedown, read_takedowns
from carnet.claims.history import History
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, ExpiredMetadata, FormatError, MetadataMismatch, NotFound, StorageError
from carnet.progress import Progress
from carnet.tuf.least import check_listed, read_least
from carnet.tuf.paths import (
    METADATA_PREFIX,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TARGETS_PREFIX,
    TIMESTAMP,
    hashed_path,
    index_path,
    is_history,
    metadata_name,
    owner_role,
)
from carnet.tuf.read import parse_role
from carnet.tuf.roles import MetaFile, RoleKeys, Targets, Timestamp
from carnet.tuf.structure import check_structure
from carnet.tuf.tree import RoleKind, is_bin, parent_of, place_of
from carnet_mirror.clock import clock_problem
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.records import RawVersion, StoredFile
from carnet_mirror.state.store import Store
from carnet_verifier.claims.owners import Claim
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.releases.signed_releases import judge_index, read_signed_releases
from carnet_verifier.tuf.refresh import read_repository
from carnet_verifier.tuf.repository import TrustedRepository

_NUMBERED = re.compile(r"metadata/([1-9][0-9]*)\.([^/]+)\.json\Z")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was published.

    Attributes:
        where: A file, a role or a crate.
        what: What is wrong with it.
    """

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the online signer remembers.

    Attributes:
        timestamp: The version of the newest timestamp that it signed; 0 when its memory is gone.
        named: Version and sha256 of the snapshot that this one names.
    """

    timestamp: int
    named: tuple[int, str] | None


@dataclass(slots=True)
class FsckReport:
    """What was checked and what came of it.

    Attributes:
        files: How many files were compared with their sha256.
        roles: How many roles' signatures were checked.
        versions: How many versions of crates.
        problems: What is wrong; a sound mirror has none.
        notes: What a person may want to know and what harms nothing.
    """

    files: int = 0
    roles: int = 0
    versions: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, where: str, what: str | Exception) -> None:
        """Note a problem, once."""
        problem = Problem(where, str(what))
        if problem not in self.problems:
            self.problems.append(problem)


def fsck(
    store: Store,
    *,
    now: datetime,
    progress: Progress,
    signed: Remembered | None = None,
    second_opinion: bool = False,
) -> FsckReport:
    """Check everything; see the module.

    Args:
        store: The mirror; it may be serving meanwhile.
        now: The time.
        progress: Makes the progress bars.
        signed: What the online signer remembers, when it can be asked.
        second_opinion: Whether python-tuf and in-toto judge everything as well.
    """
    report = FsckReport()
    try:
        with store.frozen():
            view = _check(store, report, now, progress, signed)
            if second_opinion and view is not None:
                _check_opinions(store, report, *view, now, progress)
    except CarnetError as error:
        # A damaged database, or a file without which nothing more can be said.
        report.add("mirror", error)
    return report


def _check(
    store: Store, report: FsckReport, now: datetime, progress: Progress, signed: Remembered | None
) -> tuple[TrustedRepository, _Roles] | None:
    for text in store.integrity():
        report.add("database", text)
    if report.problems:
        report.notes.append("the rest was not looked at: a damaged database says anything")
        return None
    wrong = clock_problem(store, now=now)
    if wrong is not None:
        report.add("clock", wrong)
    files = _check_files(store, report, progress)
    repository = _check_view(store, report, now)
    if repository is None:
        return None
    roles = _check_roles(store, report, progress)
    _check_newest(report, roles, files)
    if signed is not None:
        _check_remembered(report, UnverifiedView(store).timestamp, signed)
    _check_least(report, roles)
    _check_crates(store, report, roles, files, progress)
    _check_targets(report, roles, files)
    _check_claims(store, report, repository, roles)
    return repository, roles


# --- 2. files ---


def _check_files(store: Store, report: FsckReport, progress: Progress) -> dict[str, StoredFile]:
    files = {file.path: file for file in store.files.all_published()}
    with progress("checking files", len(files)) as count:
        for file in files.values():
            report.files += 1
            count(1)
            try:
                data = store.files.read(file)
            except StorageError as error:
                if not store.was_pruned(file.path):  # since this began
                    report.add(file.path, error)
                continue
            if len(data) != file.length or sha256_hex(data) != file.sha256:
                report.add(file.path, "its bytes are not the ones that were published")
    if store.sealed() is not None:
        report.notes.append("a publish was interrupted: the next sync or refresh completes it or drops it")
    left_over = sorted(store.files.found_on_disk() - set(files))
    if left_over:
        report.notes.append(
            f"{len(left_over)} files are left over from an interrupted publish and not served, such as {left_over[0]}"
        )
    return files


# --- 3. the view of a client ---


def _check_claims(store: Store, report: FsckReport, repository: TrustedRepository, roles: _Roles) -> None:
    """What a client demands of a claimed crate: exact delegations, and the index lines that were signed."""
    for role in roles.targets:
        place = place_of(role)
        if place.crate is None or place.kind != RoleKind.OWNER:
            continue
        name = CrateName(store.crates.spelling(place.crate) or place.crate.text)
        try:
            claim = repository.claim(name)
            target = repository.find_targets([index_path(name)])[index_path(name)]
            if claim is None or target is None:
                continue
            index = IndexFile.from_bytes(repository.download(target), name)
            for judged in judge_index(read_signed_releases(claim), index):
                if judged.refusal is not None:
                    report.add(str(judged.line.id), judged.refusal)
                elif judged.note is not None:
                    report.notes.append(f"{judged.line.id}: {judged.note}")
        except CarnetError as error:
            report.add(role, error)


def _check_view(store: Store, report: FsckReport, now: datetime) -> TrustedRepository | None:
    root = store.served(METADATA_PREFIX + metadata_name(ROOT, 1))
    timestamp = store.served(METADATA_PREFIX + metadata_name(TIMESTAMP, None))
    if root is None or timestamp is None:
        report.add("metadata", "the first root or the timestamp is missing")
        return None
    fetcher = ReadFetcher(store.served)
    try:
        return read_repository(root, fetcher, now=now)
    except ExpiredMetadata as error:
        # An expired mirror is not a damaged one: look at it as it was the moment before.
        report.notes.append(f"{error}: clients refuse this mirror until it is signed again")
        try:
            expires = parse_role(timestamp, Timestamp).signed.expires
            return read_repository(root, fetcher, now=min(now, times.moved(expires, timedelta(seconds=-1))))
        except CarnetError as second:
            report.add("metadata", second)
    except CarnetError as error:
        report.add("metadata", error)
    return None


# --- 4. and 5. roles ---


@dataclass(slots=True)
class _Roles:
    """Every role of the current view: its version, and for those that list targets or delegate, what they say."""

    versions: dict[str, int]
    targets: dict[str, Targets]


def _check_roles(store: Store, report: FsckReport, progress: Progress) -> _Roles:
    view = UnverifiedView(store)
    meta = view.snapshot.meta
    versions = {TIMESTAMP: view.timestamp.version, SNAPSHOT: view.snapshot.version}
    found = _Roles(versions | {role: file.version for role, file in meta.items()}, {})
    root = view.root()
    with progress("checking roles", len(meta)) as count:
        for role in sorted(meta, key=lambda role: (_depth(role), role)):
            count(1)
            report.roles += 1
            try:
                signers = root.roles[TARGETS] if role == TARGETS else _signers(found.targets, role)
                if signers is None and place_of(role).crate is None:
                    raise NotFound("no role delegates to it")
                loaded = _load(store, role, meta[role], signers)
                if signers is not None:
                    found.targets[role] = loaded
            except CarnetError as error:
                report.add(role, error)
    return found


def _depth(role: str) -> int:
    """Delegators come before those that they delegate to; what has no place comes last, and is told when it is read."""
    try:
        return place_of(role).depth
    except MetadataMismatch:
        return sys.maxsize


def _signers(targets: Mapping[str, Targets], role: str) -> RoleKeys | None:
    """Who must sign a delegated role, as the one role says that may delegate to it.

    None when it does not: owners who gave a claim up leave their roles in the snapshot, and nobody trusts them.
    """
    parent = targets.get(parent_of(role))
    return None if parent is None or parent.delegations is None else parent.delegations.signers_of(role)


def _load(store: Store, role: str, meta: MetaFile, signers: RoleKeys | None) -> Targets:
    path = METADATA_PREFIX + metadata_name(role, meta.version)
    data = store.served(path)
    if data is None:
        raise StorageError(f"{path} is not published")
    promised = meta.hashes.get("sha256")
    if promised is not None and sha256_hex(data) != promised:
        raise MetadataMismatch(f"{path} is not the file that the snapshot names")
    envelope = parse_role(data, Targets, what=path)
    if signers is not None:
        signers.check(envelope, path, "5.6.3")
    if envelope.signed.version != meta.version:
        raise MetadataMismatch(f"{path} says that it is version {envelope.signed.version}")
    return envelope.signed


def _check_newest(report: FsckReport, roles: _Roles, files: Mapping[str, StoredFile]) -> None:
    """Files and the database change together, so nothing published is newer than the view: unless that was put back."""
    for path in files:
        named = _NUMBERED.match(path)
        if named is None or named[2] == ROOT:
            continue
        version, current = int(named[1]), roles.versions.get(named[2], 0)
        if version > current:
            report.add(named[2], f"version {version} was published, the current view has {current}: it was rolled back")


def _check_remembered(report: FsckReport, published: Timestamp, signed: Remembered) -> None:
    """Mirror and online signer know of the same publications; else one is an older copy, or another mirror's."""
    ahead = signed.timestamp - published.version
    snapshot = published.snapshot
    if ahead < 0:
        report.add(
            "the online signer's memory",
            f"ends with timestamp {signed.timestamp}, and {published.version} is published: it is lost, or an older "
            "copy, and nothing is signed before the right one is back",
        )
    elif ahead == 0 and signed.named != (snapshot.version, snapshot.hashes.get("sha256")):
        report.add(
            "the online signer's memory",
            f"says of timestamp {signed.timestamp} that it names another snapshot than is published: it is another "
            "mirror's, or this one was put back and signed again elsewhere",
        )
    elif ahead > 0:
        report.notes.append(
            f"the online signer has signed {ahead} timestamps more than were published: a publish was interrupted,"
            " or an older state was put back"
        )


def _check_least(report: FsckReport, roles: _Roles) -> None:
    """What a client demands of each shard, for every name that it has, and for every owner role of the snapshot."""
    listed: dict[str, set[CrateName]] = {}
    for role in roles.versions:
        name = place_of(role).crate if role.startswith(("owner.", "crate.")) else None
        if name is not None:
            listed.setdefault(parent_of(owner_role(name)), set()).add(name)
    for role, shard in roles.targets.items():
        if place_of(role).kind != RoleKind.SHARD:
            continue
        try:
            check_structure(role, shard)
            for name in sorted({*listed.get(role, ()), *map(CrateName, read_least(shard))}):
                check_listed(role, shard, name, roles.versions.get)
        except CarnetError as error:
            report.add(role, error)


# --- 6. and 7. crates and targets ---


def _check_crates(
    store: Store, report: FsckReport, roles: _Roles, files: Mapping[str, StoredFile], progress: Progress
) -> None:
    listed = {
        path: target for role, one in roles.targets.items() if is_bin(role) for path, target in one.targets.items()
    }
    versions: dict[str, list[RawVersion]] = {}
    for row in store.crates.raw_versions():
        versions.setdefault(row.canonical, []).append(row)
    crates = store.crates.raw_crates()
    with progress("checking crates", len(crates)) as count:
        for canonical, text, index_sha256 in crates:
            count(1)
            try:
                name = CrateName(text)
                path = index_path(name)
                if name.canonical != canonical:
                    raise FormatError(f"is listed under {canonical!a}")
                down = read_takedowns(listed[path].custom, path) if path in listed else {}
                data = _index_file(report, name, versions.pop(canonical, []), files, down)
            except CarnetError as error:
                report.add(ascii(text), error)
                continue
            target = listed.pop(path, None)
            made = sha256_hex(data)
            if target is None:
                report.add(path, "is in the database and not signed")
            elif (target.sha256, target.length) != (made, len(data)):
                report.add(path, "what is signed is not what the database says")
            if index_sha256 != made:
                report.add(path, "cargo is given another file than the database's versions make")
    for canonical in versions:
        report.add(canonical, "has versions in the database and no crate")
    for path, target in listed.items():
        if not is_history(path):
            report.add(path, "is signed and not in the database")
            continue
        try:
            file = files.get(TARGETS_PREFIX + hashed_path(path, target.sha256))
            if file is not None:  # what lacks is told with the targets
                History.from_bytes(store.files.read(file), CrateName(path.rpartition("/")[2]))
        except CarnetError as error:
            report.add(path, error)


def _index_file(
    report: FsckReport,
    name: CrateName,
    rows: list[RawVersion],
    files: Mapping[str, StoredFile],
    down: Mapping[str, Takedown],
) -> bytes:
    lines: list[IndexLine] = []
    for row in rows:
        report.versions += 1
        line = IndexLine.from_bytes(row.line)
        where = f"{name}@{row.version}"
        if line.id != CrateId.of(str(name), row.version) or line.cksum != row.checksum:
            report.add(where, "its row and its index line differ")
        if row.digest != row.recomputed():
            report.add(where, "its row is not the one that was written")
        tarball = files.get(row.path)
        if tarball is None and row.version in down:
            report.notes.append(f"{where}: it was taken down, and its tarball is not kept any more")
        if row.length == 0:
            pass  # it is only listed, and where there is a tarball of that checksum it is another one's
        elif tarball is None:
            report.add(where, f"its tarball {row.path} is not published")
        elif (tarball.sha256, tarball.length) != (row.checksum, row.length):
            report.add(where, f"its tarball {row.path} has another checksum or length")
        lines.append(line)
    return IndexFile(name, tuple(sorted(lines, key=lambda line: line.id.version))).to_bytes()


def _check_targets(report: FsckReport, roles: _Roles, files: Mapping[str, StoredFile]) -> None:
    for role, targets in roles.targets.items():
        for path, target in targets.targets.items():
            stored = files.get(TARGETS_PREFIX + hashed_path(path, target.sha256))
            if stored is None:
                report.add(path, f"is listed by {role} and not published")
            elif stored.length != target.length or stored.sha256 != target.sha256:
                report.add(path, f"is not what {role} lists")


# --- 8. the second opinion ---


def _check_opinions(
    store: Store, report: FsckReport, repository: TrustedRepository, roles: _Roles, now: datetime, progress: Progress
) -> None:
    # 130 ms, and few runs ask for it.
    from carnet_mirror.second_opinion.published import judge_published_evidence, judge_published_roles
    from carnet_mirror.second_opinion.stock_client import fetch_everything

    judge_published_roles(store, roles.targets, report.add, progress)
    judge_published_evidence(repository, list(_claims(report, repository, roles)), report.add, progress)
    if UnverifiedView(store).timestamp.expired(now):
        report.notes.append("python-tuf's client was not asked: what is published has expired")
    else:
        fetch_everything(store, roles.targets, report.add, progress)


def _claims(report: FsckReport, repository: TrustedRepository, roles: _Roles) -> Iterator[Claim]:
    for role in roles.targets:
        if role.startswith("owner."):
            try:
                claim = repository.claim(CrateName(role.partition(".")[2]))
            except CarnetError as error:
                report.add(role, error)
                continue
            if claim is not None:
                yield claim
