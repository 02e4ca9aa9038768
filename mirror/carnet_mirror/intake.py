"""Submissions: what maintainers hand in is published only if the verifier would admit it.

    1. take the body apart; what has no place in a submission for one crate is refused. Look at sizes and
       signatures, then read it, once (`carnet_mirror.preflight`)                             -> ParsedSubmission
    2. to 6. judge it as a client will (`carnet_mirror.judgement`)                            -> JudgedSubmission
    7. published, once python-tuf and in-toto agree: durable, and in the snapshot that clients see next

All but the first happens under the mirror's lock and in one transaction, so that two submissions cannot both be the
next version, and one that is refused changes nothing; what nobody with a key has signed never waits for that lock, and
nobody waits for it. Several that touch different crates are judged one by one and published at once. No password is
asked for: the signatures are the credential.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from carnet.claims.releases import Differences
from carnet.claims.submission import ParsedSubmission, Submission
from carnet.errors import (
    CarnetError,
    FormatError,
    OpinionsDiffer,
    VerificationError,
)
from carnet.tuf import paths
from carnet.tuf.tree import roles_of
from carnet_mirror.judgement import NOTHING, JudgedSubmission, is_published, judge
from carnet_mirror.preflight import check_holds_a_role, check_signed
from carnet_mirror.state.store import Store
from carnet_mirror.waiting import current_view
from carnet_mirror.writing import publish, writing
from carnet_signer.metadata.publish import Change, OnlineSigner
from carnet_verifier.tuf.repository import TrustedRepository

_REFUSALS = (VerificationError, FormatError, OpinionsDiffer)
"""What says something of submissions, and nothing of the mirror; none is raised once something is sealed."""
T = TypeVar("T")
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
    (outcome,) = take_submissions(store, online, [body], now=now)
    if isinstance(outcome, CarnetError):
        raise outcome
    return outcome


def take_submissions(
    store: Store, online: OnlineSigner, bodies: Sequence[bytes], *, now: datetime
) -> list[Receipt | CarnetError]:
    """Take several in one publish, each judged by itself: what is refused of one is nothing to the others.

    Those that could touch one another, which are of one crate or bring a shard, follow one another in publishes of
    their own. Where several together are refused, each is published alone.

    Args:
        store: As for `take_submission`.
        online: As for `take_submission`.
        bodies: As they were received.
        now: The time.

    Returns:
        What became of each, or why it was refused.
    """
    outcomes: dict[int, Receipt | CarnetError] = {}
    left: dict[int, ParsedSubmission] = {}
    try:
        apart: dict[int, Submission] = {}  # 1.
        for number, body in enumerate(bodies):
            try:
                store.disk.require(len(body) + sum(len(bodies[other]) for other in apart))
                apart[number] = _take_apart(body)
            except CarnetError as error:
                outcomes[number] = error
        if not apart:  # nobody has signed any: nothing is looked up
            return [outcomes[number] for number in range(len(bodies))]
        timestamp, current = store.read(_TIMESTAMP), current_view(store, now)
        for number, submission in apart.items():
            try:
                left[number] = ParsedSubmission.of(submission, check_signed(current, submission))
            except CarnetError as error:
                outcomes[number] = error
        with writing(store, online, now=now) if left else nullcontext():
            while left:
                if store.read(_TIMESTAMP) != timestamp:
                    timestamp, current = store.read(_TIMESTAMP), current_view(store, now)
                wave = {number: left.pop(number) for number in _next_wave(left)}
                _take_wave(store, online, current, wave, now, outcomes)
    except CarnetError as error:
        # What was published before it stays so; of what was not, nothing was changed.
        return [outcomes.get(number, error) for number in range(len(bodies))]
    return [outcomes[number] for number in range(len(bodies))]


def published_already(store: Store, body: bytes, *, now: datetime) -> Receipt | None:
    """Look at a submission without a lock, before it waits for others: what nobody with a key has signed does not.

    Args:
        store: The mirror.
        body: As it was received.
        now: The time.

    Returns:
        The receipt of one that is published already; None of one that is to be taken.

    Raises:
        FormatError: It does not parse.
        VerificationError: It is not signed, or somebody else published the same version first.
        NoRoom: The disk is full, up to what is kept for upkeep.
    """
    store.disk.require(len(body))
    apart = _take_apart(body)
    current = current_view(store, now)
    submission = ParsedSubmission.of(apart, check_signed(current, apart))
    return _receipt(submission, NOTHING) if is_published(current, submission) else None


def _take_apart(body: bytes) -> Submission:
    submission = Submission.from_bytes(body)
    check_holds_a_role(submission)
    return submission


def _next_wave(left: Mapping[int, ParsedSubmission]) -> list[int]:
    """Those that are published together next: of one crate the first, and of those who bring a shard one alone."""
    taken: list[int] = []
    crates: set[str] = set()
    shards: set[str] = set()
    for number, submission in left.items():
        shard, _, _ = roles_of(submission.crate)
        brings = shard in submission.roles
        if submission.crate.canonical not in crates and not (taken if brings else shard in shards):
            taken.append(number)
        crates.add(submission.crate.canonical)
        shards |= {shard} if brings else set()
    return taken


def _take_wave(
    store: Store,
    online: OnlineSigner,
    current: TrustedRepository,
    wave: Mapping[int, ParsedSubmission],
    now: datetime,
    outcomes: dict[int, Receipt | CarnetError],
) -> None:
    """Judge each, and publish together those that passed, inside `writing`; what is decided stands in `outcomes`.

    It stands there also when the disk or the signer fails for the next one: what was published is told so.
    """
    judged: dict[int, JudgedSubmission] = {}
    for number, submission in wave.items():
        try:
            if is_published(current, submission):  # 2.
                outcomes[number] = _receipt(submission, NOTHING)
            else:
                judged[number] = judge(store, current, submission, now)
        except CarnetError as error:
            outcomes[number] = error
    try:
        outcomes |= _publish(store, online, judged, now)
    except _REFUSALS as error:
        store.drop()  # nothing was sealed: both opinions are asked before anything is signed
        if len(judged) == 1:
            outcomes |= dict.fromkeys(judged, error)
            return
        for number in judged:
            _take_wave(store, online, current_view(store, now), {number: wave[number]}, now, outcomes)


def _publish(
    store: Store, online: OnlineSigner, judged: Mapping[int, JudgedSubmission], now: datetime
) -> dict[int, Receipt]:
    if not judged:
        return {}
    changes = [one.change for one in judged.values()]
    change = Change(
        index_files=_merged(change.index_files for change in changes),
        parsed=_merged(change.parsed for change in changes),
        targets=_merged(change.targets for change in changes),
        about=next((change.about for change in changes if change.about is not None), None),
    )
    evidence = [established for one in judged.values() for established in one.evidence]
    published = publish(store, online, change, now=now, evidence=evidence)  # 7.
    for one in judged.values():
        if one.takeover or one.first:
            # Whoever else waits would replace those whom the holders chose. What present owners change among
            # themselves ends nothing: they could keep a takeover from ever coming about.
            store.pending.forget(one.submission.crate)
    return {
        number: _receipt(one.submission, one.changes, snapshot=published.snapshot, takeover=one.takeover)
        for number, one in judged.items()
    }


def _merged(parts: Iterable[Mapping[str, T]]) -> dict[str, T]:
    merged: dict[str, T] = {}
    for part in parts:
        merged |= part
    return merged


# --- 7. published ---


def _receipt(
    submission: ParsedSubmission, changes: Differences, *, snapshot: int | None = None, takeover: bool = False
) -> Receipt:
    versions = {role: submitted.signed.version for role, submitted in submission.roles.items()}
    return Receipt(
        str(submission.crate),
        tuple(str(release.id.version) for release in changes.added),
        tuple(str(release.id.version) for release in changes.yanked),
        tuple(str(release.id.version) for release in changes.unyanked),
        versions,
        snapshot,
        takeover,
    )
