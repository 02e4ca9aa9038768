"""Submissions: what maintainers hand in is published only if the verifier would admit it.

    1. take the body apart; what has no place in a submission for one crate is refused       -> Submission
    2. is it published already? then say so again; was someone faster? then say what to do
    3. the verifier's view of what is published, with the submitted roles on top: exact delegations, versions,
       expiries, thresholds                                                                   (TUF 5.6)
    4. no released version is lost or changed, and a release does not come with a mass yank
    5. each new version: the tarball by the strict reader, the index line against the manifest and against what was
       signed, the owners' layout carried out and not expired                                 (in-toto 5.2, 5.3)
    6. the index file, with exactly the lines that were signed: judged as a client will
    7. published, once python-tuf and in-toto agree: durable, and in the snapshot that clients see next

All of it happens under the mirror's lock and in one transaction, so that two submissions cannot both be the next
version, and one that is refused changes nothing. No password is asked for: the signatures are the credential.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import IndexFile, IndexLine, compare_line
from carnet.cargo.names import CrateId
from carnet.claims.releases import Differences, Releases, SignedRelease
from carnet.claims.submission import Submission, roles_of
from carnet.errors import ArchiveRefused, MetadataMismatch, PolicyRefused, RollbackDetected, VerificationError
from carnet.intoto.duties import LEVELS
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Targets
from carnet_mirror.state.published import Published as View
from carnet_mirror.state.records import StoredVersion
from carnet_mirror.state.store import Store
from carnet_mirror.writing import publish, writing
from carnet_signer.metadata.publish import Change, OnlineSigner
from carnet_verifier.claims.signed_releases import Established, Signed, establish, judge_index, read_signed
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.refresh import preview, read_repository
from carnet_verifier.tuf.repository import TrustedRepository

MAX_ROLE = 64_000_000
MAX_YANKS_WITH_RELEASE = 1
"""A release that takes more versions back than this is held: account thieves push people to a bad version that way."""
_UPSTREAM = "maintainers"


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


def accept(store: Store, online: OnlineSigner, body: bytes, *, now: datetime) -> Receipt:
    """Take a submission, or refuse it and change nothing.

    Args:
        store: The mirror, opened for writing.
        online: Signs what is published.
        body: As it was received, at most `MAX_SUBMISSION` bytes.
        now: The time.

    Raises:
        FormatError: The submission does not parse.
        VerificationError: A client would not admit it, or somebody else published the same version first.
        StorageError: The disk failed.
        SigningError: The online signer refused.
        OpinionsDiffer: python-tuf or in-toto judges it otherwise.
    """
    submission = Submission.from_bytes(body)  # 1.
    with writing(store, online, now=now):
        current = _current(store, now)
        if _already(current, submission):  # 2.
            return _receipt(submission, Differences((), (), (), (), ()), snapshot=None)
        _check_versions(current, submission)
        _check_shard(current, submission)
        offered = {**submission.targets, **_adopted(store, submission)}
        view = preview(current, submission.roles, offered)  # 3.
        claim = view.claim(submission.crate)
        if claim is None:
            return _give_up(store, online, submission, now)
        signed = read_signed(claim)
        changes = Differences.between(_releases(current, submission), signed.releases)  # 4.
        _check_changes(changes)
        added = {release.id: _check_release(view, signed, release, submission, store, now) for release in changes.added}
        standing = _check_standing(view, signed, changes, submission)  # 5.
        lines = {crate: line for crate, (line, _) in added.items()}
        evidence = [*(established for _, established in added.values()), *standing]
        versions = _versions(store, signed.releases, lines, submission, now)  # 6.
        index = IndexFile(signed.releases.name, tuple(version.line for version in versions))
        refused = [judged for judged in judge_index(signed, index) if judged.refusal is not None]
        if refused:
            raise MetadataMismatch(
                f"this mirror lists {refused[0].line.id}, which the submission does not: clients would refuse it",
                hint="adopt every version that the mirror lists: make the claim again with `carnet claim new`",
            )
        files = {}
        if versions:
            files[paths.index_path(signed.releases.name)] = store.put_crate(signed.releases.name, versions)
        change = Change(index_files=files, roles=submission.roles, targets=offered)
        published = publish(store, online, change, now=now, evidence=evidence)  # 7.
        return replace(_receipt(submission, changes, snapshot=published.snapshot), takeover=claim.takeover)


def _current(store: Store, now: datetime) -> TrustedRepository:
    root = store.read(paths.METADATA_PREFIX + paths.metadata_name(paths.ROOT, 1))
    if root is None:
        raise VerificationError("this mirror has published nothing yet")
    return read_repository(root, ReadFetcher(store.read), now=now)


# --- 2. already published, or no longer the next version ---


def _already(current: TrustedRepository, submission: Submission) -> bool:
    """Whether every role is published as submitted; signatures may differ, what was signed may not."""
    shard, _, _ = roles_of(submission.crate)
    claimed = _claimed(current, submission)
    for role, data in submission.roles.items():
        if role != shard and not claimed:
            return False
        submitted = parse_role(data, Targets, max_bytes=MAX_ROLE, what=role)
        if current.version(role) != submitted.signed.version or current.role(role).message != submitted.message:
            return False
    return bool(submission.roles)


def _claimed(current: TrustedRepository, submission: Submission) -> bool:
    return current.claim(submission.crate) is not None


def _check_versions(current: TrustedRepository, submission: Submission) -> None:
    if not submission.roles:
        raise VerificationError("the submission holds no role", hint="`carnet release submit` makes one")
    for role, data in submission.roles.items():
        submitted = parse_role(data, Targets, max_bytes=MAX_ROLE, what=role).signed.version
        published = current.version(role) or 0
        if submitted <= published:
            raise RollbackDetected(
                f"{role} is at version {published} here: someone else published version {submitted} meanwhile",
                hint="make it anew from what is published now: `carnet release assemble` or `carnet claim new`, "
                "then let it be signed again",
            )


def _check_shard(current: TrustedRepository, submission: Submission) -> None:
    """What is submitted for one crate changes no other one's owners, whoever signed it."""
    shard, owner, _ = roles_of(submission.crate)
    data = submission.roles.get(shard)
    if data is None:
        return
    before = current.role(shard).signed.delegations
    after = parse_role(data, Targets, max_bytes=MAX_ROLE, what=shard).signed.delegations
    old, new = ({} if one is None else one.roles for one in (before, after))
    for role in sorted((old.keys() | new.keys()) - {owner}):
        if role not in old or role not in new or not old[role].signers.same_as(new[role].signers):
            raise MetadataMismatch(f"the submitted {shard} changes {role}, and is submitted for {submission.crate}")


# --- 4. what may change ---


def _releases(current: TrustedRepository, submission: Submission) -> Releases:
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


# --- 5. each version ---


def _adopted(store: Store, submission: Submission) -> dict[str, bytes]:
    """Tarballs that the roles name and that the mirror has already, from before the crate was claimed."""
    _, _, crate = roles_of(submission.crate)
    data = submission.roles.get(crate)
    if data is None:
        return {}
    found = {}
    for release in Releases.of(submission.crate, parse_role(data, Targets, max_bytes=MAX_ROLE, what=crate).signed):
        path = paths.crate_path(release.id)
        stored = store.version(release.id)
        if path in submission.targets or stored is None or stored.line.cksum != release.tarball.sha256:
            continue
        file = store.file(stored.path)
        if file is not None and store.file(_place(path, release.tarball.sha256)) is None:
            found[path] = store.read_file(file)
    return found


def _check_release(
    view: TrustedRepository,
    signed: Signed,
    release: SignedRelease,
    submission: Submission,
    store: Store,
    now: datetime,
) -> tuple[IndexLine, Established]:
    tarball = submission.targets.get(paths.crate_path(release.id))
    if tarball is None:
        line = _adopted_line(store, release)
    else:
        data = submission.lines.get(release.id.stem)
        if data is None:
            raise VerificationError(f"the submission lacks the index line of {release.id}")
        line = IndexLine.from_bytes(data)
        crate = read_crate(tarball, release.id, strict=True)
        differences = compare_line(line, crate)
        if differences:
            raise ArchiveRefused(f"the index line of {release.id} is not the manifest's: {differences[0]}")
    if line.id != release.id or line.identity() != release.index or line.cksum != release.tarball.sha256:
        raise MetadataMismatch(f"the index line of {release.id} is not the one that its maintainers signed")
    return line, _check_level(view, signed, release, now)


def _adopted_line(store: Store, release: SignedRelease) -> IndexLine:
    stored = store.version(release.id)
    if stored is None or stored.id != release.id:
        raise VerificationError(
            f"{release.id} is neither here nor in the submission", hint="submit the folder with its targets/"
        )
    return stored.line


def _check_level(
    view: TrustedRepository, signed: Signed, release: SignedRelease, accepted_at: datetime | None
) -> Established:
    found = establish(view, signed, release, accepted_at=accepted_at)
    if LEVELS.index(found.level) < LEVELS.index(found.least_level):
        raise PolicyRefused(
            f"{release.id} is at level {found.level}, its owners ask for {found.least_level}",
            hint="carry out the steps of the owners' layout, then `carnet release assemble --bundle-from`",
        )
    return found


def _check_standing(
    view: TrustedRepository, signed: Signed, changes: Differences, submission: Submission
) -> list[Established]:
    """Versions that stand must go on being admitted when the owners change what they ask, or evidence changes."""
    again = set(changes.evidence)
    if paths.owner_role(submission.crate) in submission.roles:
        again |= set(signed.releases) - set(changes.added)
    ordered = sorted(again, key=lambda release: release.id.version)
    return [_check_level(view, signed, release, None) for release in ordered]


# --- 6. the index file ---


def _versions(
    store: Store, releases: Releases, lines: Mapping[CrateId, IndexLine], submission: Submission, now: datetime
) -> list[StoredVersion]:
    known = {version.id: version for version in store.versions(releases.name)}
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    for release in releases:
        stored = known.get(release.id)
        if stored is None:
            line = lines[release.id].with_(pubtime=moment)
            place = _place(paths.crate_path(release.id), release.tarball.sha256)
            stored = StoredVersion(line, release.tarball.length, place, _UPSTREAM, False, moment)
        known[release.id] = replace(stored, line=stored.line.with_(yanked=release.yanked))
    return sorted(known.values(), key=lambda version: version.id.version)


def _place(path: str, sha256: str) -> str:
    return paths.TARGETS_PREFIX + paths.hashed_path(path, sha256)


# --- 7. published ---


def check_claims_kept(store: Store, files: Mapping[str, bytes]) -> None:
    """Refuse new files of the registry's holders that would drop claims.

    The holders sign shards again every 90 days, from a folder of their own. If a claim was made meanwhile and never
    came into that folder, their next shard would lack it: every client would see a crate without owners.

    Args:
        store: The mirror.
        files: Role name to the file that is to be published.

    Raises:
        MetadataMismatch: A shard lacks an entry that the published one has; `carnet claim give-up` is the way to that.
        FormatError: A file does not parse.
    """
    view = View(store)
    for role, data in files.items():
        published = view.targets(role) if role.startswith("claims-") else None
        if published is None or published.delegations is None:
            continue
        following = parse_role(data, Targets, max_bytes=MAX_ROLE, what=role).signed.delegations
        gone = published.delegations.roles.keys() - (set() if following is None else following.roles.keys())
        if gone:
            raise MetadataMismatch(
                f"the next {role} would drop {min(gone)}: its crate would lose its owners",
                hint="bring the published shards into the ceremony first: `carnet root update`",
            )


def _give_up(store: Store, online: OnlineSigner, submission: Submission, now: datetime) -> Receipt:
    # The view on top holds no role that nobody delegates to: this can only be the shard.
    published = publish(store, online, Change(roles=submission.roles), now=now)
    return _receipt(submission, Differences((), (), (), (), ()), snapshot=published.snapshot)


def _receipt(submission: Submission, changes: Differences, *, snapshot: int | None) -> Receipt:
    versions = {
        role: parse_role(data, Targets, max_bytes=MAX_ROLE, what=role).signed.version
        for role, data in submission.roles.items()
    }
    return Receipt(
        str(submission.crate),
        tuple(str(release.id.version) for release in changes.added),
        tuple(str(release.id.version) for release in changes.yanked),
        tuple(str(release.id.version) for release in changes.unyanked),
        versions,
        snapshot,
    )
