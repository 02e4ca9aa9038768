"""Submissions: what maintainers hand in is published only if the verifier would admit it.

    1. take the body apart; what has no place in a submission for one crate is refused. Look at sizes and
       signatures, then read it, once (`carnet_mirror.preflight`)                             -> ParsedSubmission
    2. is it published already? then say so again; was someone faster? then say what to do
    3. the verifier's view of what is published, with the submitted roles on top: exact delegations, versions,
       expiries, thresholds; a first claim or a takeover was public for as long as the root asks       (TUF 5.6)
    4. no released version is lost or changed, and a release does not come with a mass yank; a first claim adopts
       exactly what the mirror lists, and brings no version; by checksum nothing is adopted but what its upstream lists
    5. each new version, and no line of another is read: the tarball by the strict reader, the index line against the
       manifest and against what was signed, nothing that cargo or the registry would not publish
       (`carnet.publishable`), the owners' layout carried out and not expired                  (in-toto 5.2, 5.3)
    6. the index file, with exactly the lines that were signed: judged as a client will
    7. published, once python-tuf and in-toto agree: durable, and in the snapshot that clients see next

All but the first happens under the mirror's lock and in one transaction, so that two submissions cannot both be the
next version, and one that is refused changes nothing; what nobody with a key has signed never waits for that lock, and
nobody waits for it. No password is asked for: the signatures are the credential.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from carnet import times
from carnet.cargo.crate import CrateFile, read_crate
from carnet.cargo.index_line import IndexFile, IndexLine, compare_line
from carnet.cargo.names import CrateId, CrateName
from carnet.claims.adoption import Adopted, check_adopted, check_adopted_later, check_nothing_comes
from carnet.claims.history import ListedVersion
from carnet.claims.releases import Differences, Releases, SignedRelease
from carnet.claims.submission import ParsedSubmission, Submission
from carnet.errors import ArchiveRefused, MetadataMismatch, PolicyRefused, VerificationError
from carnet.publishable.checks import Destination, check_name, check_tarball
from carnet.tuf import paths
from carnet.tuf.next_version import check_owners_kept, check_version
from carnet.tuf.tree import roles_of
from carnet_mirror.preflight import check_holds_a_role, check_signed
from carnet_mirror.state.records import StoredVersion
from carnet_mirror.state.store import Store
from carnet_mirror.waiting import check_waited_for, current_view
from carnet_mirror.writing import publish, writing
from carnet_signer.metadata.publish import Change, OnlineSigner
from carnet_verifier.releases.established import Established, establish
from carnet_verifier.releases.published_versions import read_history
from carnet_verifier.releases.signed_releases import SignedReleases, judge_index, read_signed_releases
from carnet_verifier.tuf.preview import preview
from carnet_verifier.tuf.repository import TrustedRepository

MAX_YANKS_WITH_RELEASE = 1
"""A release that takes more versions back than this is held: account thieves push people to a bad version that way."""
_UPSTREAM = "maintainers"
_TIMESTAMP = paths.METADATA_PREFIX + paths.metadata_name(paths.TIMESTAMP, None)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a submission that was accepted.

    Attributes:
        crate: The crate.
        added: Versions that are new.
        yanked: Versions that were taken back.
        unyanked: Versions that were given again.
        roles: Role name to version, as they are published now.
        snapshot: The first snapshot that has it; None when it was published before.
        takeover: Whether owners were replaced without their signatures.
    """

    crate: str
    added: tuple[str, ...]
    yanked: tuple[str, ...]
    unyanked: tuple[str, ...]
    roles: Mapping[str, int]
    snapshot: int | None
    takeover: bool = False

    @property
    def words(self) -> str:
        """One line for people."""
        if self.snapshot is None:
            return f"this was published already: {self.crate}"
        parts = [f"added {', '.join(self.added)}"] if self.added else []
        parts += [f"yanked {', '.join(self.yanked)}"] if self.yanked else []
        parts += [f"unyanked {', '.join(self.unyanked)}"] if self.unyanked else []
        parts += [f"{role} is version {version}" for role, version in sorted(self.roles.items())]
        return f"{self.crate}: {'; '.join(parts)}; in snapshot {self.snapshot}"


def take_submission(store: Store, online: OnlineSigner, body: bytes, *, now: datetime) -> Receipt:
    """Take a submission, or refuse it and change nothing.

    Args:
        store: The mirror, opened for writing.
        online: Signs what is published.
        body: As it was received, at most `MAX_SUBMISSION` bytes.
        now: The time.

    Raises:
        FormatError: The submission does not parse.
        VerificationError: A client would not admit it, or somebody else published the same version first.
        NoRoom: The disk is full, up to what is kept for upkeep.
        StorageError: The disk failed.
        SigningError: The online signer refused.
        OpinionsDiffer: python-tuf or in-toto judges it otherwise.
    """
    store.disk.require(len(body))
    taken_apart = Submission.from_bytes(body)  # 1.
    check_holds_a_role(taken_apart)
    timestamp = store.read(_TIMESTAMP)
    current = current_view(store, now)
    submission = ParsedSubmission.of(taken_apart, check_signed(current, taken_apart))
    with writing(store, online, now=now):
        if store.read(_TIMESTAMP) != timestamp:
            current = current_view(store, now)
        if _already(current, submission):  # 2.
            return _receipt(submission, Differences((), (), (), (), ()), snapshot=None)
        _check_versions(current, submission)
        _check_shard(current, submission)
        standing = {version.id: version for version in store.crates.versions(submission.crate)}
        offered = {**submission.targets, **_adopted(store, standing, submission)}
        view = preview(current, submission.roles, offered)  # 3.
        claim = view.claim(submission.crate)
        if claim is None:
            return _give_up(store, online, submission, now)
        check_waited_for(store, current, claim, submission, now=now)
        signed = read_signed_releases(claim)
        released = _releases(current, submission)
        changes = Differences.between(released, signed.releases)  # 4.
        _check_changes(changes)
        before = current.claim(submission.crate)
        if before is None or before.facts.registry != claim.facts.registry:
            check_name(submission.crate, claim.facts.registry)
        if before is None:
            adopted = _check_first(current, signed.releases, submission, standing)
            changes = replace(changes, yanked=adopted.yanked, unyanked=adopted.unyanked)
        else:
            _check_later(current, released, signed.releases, standing)
        added = {
            release.id: _check_release(view, signed, release, submission, standing, now)
            for release in changes.added
            if not release.by_checksum
        }
        again = _check_standing(view, signed, changes, submission)  # 5.
        again += [_check_level(view, signed, release) for release in changes.added if release.by_checksum]
        evidence = [*(established for _, established in added.values()), *again]
        lines = {crate: line for crate, (line, _) in added.items()}
        versions = _versions(standing, signed.releases, lines, now)  # 6.
        index = IndexFile(signed.releases.name, tuple(version.line for version in versions))
        refused = [judged for judged in judge_index(signed, index) if judged.refusal is not None]
        if refused:
            raise MetadataMismatch(
                f"this mirror lists {refused[0].line.id}, which the submission does not: clients would refuse it",
                hint="adopt every version that the mirror lists: make the claim again with `carnet claim new`",
            )
        files = {}
        if versions:
            files[paths.index_path(signed.releases.name)] = store.crates.stage(signed.releases.name, versions)
        change = Change(index_files=files, parsed=submission.roles, targets=offered, about=submission.crate)
        published = publish(store, online, change, now=now, evidence=evidence)  # 7.
        if claim.takeover or not _claimed(current, submission):
            # Whoever else waits would replace those whom the holders chose. What present owners change among
            # themselves ends nothing: they could keep a takeover from ever coming about.
            store.pending.forget(submission.crate)
        return replace(_receipt(submission, changes, snapshot=published.snapshot), takeover=claim.takeover)


# --- 2. already published, or no longer the next version ---


def _already(current: TrustedRepository, submission: ParsedSubmission) -> bool:
    """Whether every role is published as submitted; signatures may differ, what was signed may not."""
    shard, _, _ = roles_of(submission.crate)
    claimed = _claimed(current, submission)
    for role, submitted in submission.roles.items():
        if role != shard and not claimed:
            return False
        if current.version(role) != submitted.signed.version or current.role(role).message != submitted.message:
            return False
    return bool(submission.roles)


def _claimed(current: TrustedRepository, submission: ParsedSubmission) -> bool:
    return current.claim(submission.crate) is not None


def _check_versions(current: TrustedRepository, submission: ParsedSubmission) -> None:
    for role, submitted in submission.roles.items():
        check_version(role, submitted.signed.version, current.version(role) or 0)


def _check_shard(current: TrustedRepository, submission: ParsedSubmission) -> None:
    """What is submitted for one crate changes no other one's owners, whoever signed it."""
    shard, _, _ = roles_of(submission.crate)
    submitted = submission.roles.get(shard)
    if submitted is not None:
        check_owners_kept(shard, current.role(shard).signed, submitted.signed, about=submission.crate)


# --- 4. what may change ---


def _releases(current: TrustedRepository, submission: ParsedSubmission) -> Releases:
    if current.version(paths.crate_role(submission.crate)) is None or not _claimed(current, submission):
        return Releases(submission.crate, {})
    _, _, crate = roles_of(submission.crate)
    return Releases.of(submission.crate, current.role(crate).signed)


def _check_changes(changes: Differences) -> None:
    if changes.lost:
        raise MetadataMismatch(
            f"{changes.lost[0]} is gone or changed: a released version stays as it is",
            hint="to take a version back, `carnet release yank`",
        )
    if changes.added and len(changes.yanked) > MAX_YANKS_WITH_RELEASE:
        raise PolicyRefused(
            f"{changes.added[-1].id} comes with {len(changes.yanked)} yanks: a mass yank with a new release is held",
            hint="if it is meant, submit the yanks first and on their own",
        )


def _check_first(
    current: TrustedRepository,
    releases: Releases,
    submission: ParsedSubmission,
    standing: Mapping[CrateId, StoredVersion],
) -> Adopted:
    """A first claim adopts what this mirror lists, and brings no version: whoever signed it was shown none."""
    role = submission.roles.get(paths.crate_role(submission.crate))
    if role is not None:
        check_nothing_comes(role.signed, submission.targets, submission.lines)
    lines = {id_: version.line for id_, version in standing.items()}
    adopted = check_adopted(releases, lines, _listed(current, submission.crate))
    for release in releases:
        if release.by_checksum:
            continue
        if not standing[release.id].is_here:
            raise MetadataMismatch(
                f"the claim adopts {release.id}, which this mirror lists and does not have yet",
                hint=f"its operator brings what is missing: `carnet mirror sync DIR --history {release.id.name}`",
            )
        if standing[release.id].length != release.tarball.length:
            raise MetadataMismatch(
                f"the claim adopts {release.id} with {release.tarball.length} bytes, and its tarball has "
                f"{standing[release.id].length}",
                hint="make the claim again with `carnet claim new`",
            )
    return adopted


def _check_later(
    current: TrustedRepository, before: Releases, after: Releases, standing: Mapping[CrateId, StoredVersion]
) -> None:
    """What is adopted by checksum after the claim is what the upstream lists; a length that is new is the tarball's."""
    if any(one.by_checksum and one.id.version not in before.versions for one in after):
        lines = {id_: version.line for id_, version in standing.items()}
        check_adopted_later(before, after, lines, _listed(current, before.name))
    for release in before:
        now = after.get(release.id.version)
        if release.by_checksum and now is not None and not now.by_checksum:
            stored = standing.get(release.id)
            if stored is None or stored.length != now.tarball.length:
                raise MetadataMismatch(
                    f"{release.id} was adopted by its checksum, and this mirror has no tarball of "
                    f"{now.tarball.length} bytes of it",
                    hint="sign it again as it was adopted",
                )


def _listed(current: TrustedRepository, name: CrateName) -> dict[CrateId, ListedVersion]:
    history = read_history(current, name)
    return {} if history is None else {one.id: one for one in history}


# --- 5. each version ---


def _adopted(store: Store, standing: Mapping[CrateId, StoredVersion], submission: ParsedSubmission) -> dict[str, bytes]:
    """Tarballs that the roles name and that the mirror has already, from before the crate was claimed."""
    _, _, crate = roles_of(submission.crate)
    submitted = submission.roles.get(crate)
    if submitted is None:
        return {}
    found = {}
    for release in Releases.of(submission.crate, submitted.signed):
        path = paths.crate_path(release.id)
        if release.by_checksum:
            continue
        stored = standing.get(release.id)
        if path in submission.targets or stored is None or stored.line.cksum != release.tarball.sha256:
            continue
        file = store.files.published(stored.path)
        if file is not None and store.files.published(_place(path, release.tarball.sha256)) is None:
            found[path] = store.files.read(file)
    return found


def _check_release(
    view: TrustedRepository,
    signed: SignedReleases,
    release: SignedRelease,
    submission: ParsedSubmission,
    standing: Mapping[CrateId, StoredVersion],
    now: datetime,
) -> tuple[IndexLine, Established]:
    crate = None
    tarball = submission.targets.get(paths.crate_path(release.id))
    if tarball is None:
        line = _adopted_line(standing, release)
    else:
        submitted = submission.lines.get(release.id.stem)
        if submitted is None:
            raise VerificationError(f"the submission lacks the index line of {release.id}")
        line = IndexLine.from_bytes(submitted)
        crate = read_crate(tarball, release.id, strict=True)
        differences = compare_line(line, crate)
        if differences:
            raise ArchiveRefused(f"the index line of {release.id} is not the manifest's: {differences[0]}")
        published = (*standing, *(other.id for other in signed.releases))
        check_tarball(crate, Destination(release.registry, published))
    if line.id != release.id or line.identity() != release.index or line.cksum != release.tarball.sha256:
        raise MetadataMismatch(f"the index line of {release.id} is not the one that its maintainers signed")
    return line, _check_level(view, signed, release, now, crate)


def _adopted_line(standing: Mapping[CrateId, StoredVersion], release: SignedRelease) -> IndexLine:
    stored = standing.get(release.id)
    if stored is None:
        raise VerificationError(
            f"{release.id} is neither here nor in the submission", hint="submit the folder with its targets/"
        )
    return stored.line


def _check_level(
    view: TrustedRepository,
    signed: SignedReleases,
    release: SignedRelease,
    accepted_at: datetime | None = None,
    crate: CrateFile | None = None,
) -> Established:
    found = establish(view, signed, release, accepted_at=accepted_at, crate=crate)
    if found.level < found.least_level:
        raise PolicyRefused(
            f"{release.id} is at level {found.level}, its owners ask for {found.least_level}",
            hint="carry out the steps of the owners' layout, then `carnet release assemble --bundle-from`",
        )
    return found


def _check_standing(
    view: TrustedRepository, signed: SignedReleases, changes: Differences, submission: ParsedSubmission
) -> list[Established]:
    """Versions that stand must go on being admitted when the owners change what they ask, or evidence changes."""
    again = set(changes.evidence)
    if paths.owner_role(submission.crate) in submission.roles:
        again |= set(signed.releases) - set(changes.added)
    ordered = sorted(again, key=lambda release: release.id.version)
    return [_check_level(view, signed, release) for release in ordered]


# --- 6. the index file ---


def _versions(
    standing: Mapping[CrateId, StoredVersion], releases: Releases, lines: Mapping[CrateId, IndexLine], now: datetime
) -> list[StoredVersion]:
    known = dict(standing)
    moment = times.written(now)
    for release in releases:
        stored = known.get(release.id)
        if stored is None and release.by_checksum:
            continue
        if stored is None:
            line = lines[release.id].with_(pubtime=moment)
            place = _place(paths.crate_path(release.id), release.tarball.sha256)
            stored = StoredVersion(line, release.tarball.known_length, place, _UPSTREAM, False, moment)
        known[release.id] = replace(stored, line=stored.line.with_(yanked=release.yanked))
    return sorted(known.values(), key=lambda version: version.id.version)


def _place(path: str, sha256: str) -> str:
    return paths.TARGETS_PREFIX + paths.hashed_path(path, sha256)


# --- 7. published ---


def _give_up(store: Store, online: OnlineSigner, submission: ParsedSubmission, now: datetime) -> Receipt:
    # The view on top holds no role that nobody delegates to: this can only be the shard.
    published = publish(store, online, Change(parsed=submission.roles, about=submission.crate), now=now)
    store.pending.forget(submission.crate)
    return _receipt(submission, Differences((), (), (), (), ()), snapshot=published.snapshot)


def _receipt(submission: ParsedSubmission, changes: Differences, *, snapshot: int | None) -> Receipt:
    versions = {role: submitted.signed.version for role, submitted in submission.roles.items()}
    return Receipt(
        str(submission.crate),
        tuple(str(release.id.version) for release in changes.added),
        tuple(str(release.id.version) for release in changes.yanked),
        tuple(str(release.id.version) for release in changes.unyanked),
        versions,
        snapshot,
    )
