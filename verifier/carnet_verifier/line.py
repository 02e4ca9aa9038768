"""The straight line from a trusted repository to an admitted crate.

::

    1. refresh        a pinned root to one consistent, verified view                  (`carnet_verifier.tuf.refresh`)

    From metadata alone:
    2. find_target    the crate's index file is a signed target                       -> TrustedTarget
    3. open_index     its bytes are the ones that were signed, and parse              -> Indexed
    4. vouch          the wanted version has a line; the lock's checksum is its       -> Vouched
    5. attribute      who owns the crate, and did they sign this very line            -> Attributed

    From bytes, where a rule or the owners ask for what only bytes tell:
    6. download       the tarball has the digest that was vouched for, and reads      -> VerifiedCrate

    7. inspect        what can be said of the version from what is there              -> Evidence
    8. judge          the policy has the last word (`evaluate`)                       -> Verdict, Judged
    9. admit          evidence, or the refusal                                        -> Admission

Admission has two phases. Steps 7 and 8 first see metadata alone: what they deny is refused and never fetched. Where a
rule waits for bytes, the tarball is fetched, and both steps are taken again with all there is. What was read once goes
on as a `VerifiedCrate` to whoever needs the tarball next.

Each step takes what the one before it returned, and nothing else makes these values: skipping a check fails type
checking, and raises. A crate that nobody claimed has the level `registry`, and its tarball is vouched for by the
checksum in the signed index. Nothing here decides from what a mirror leaves out: absence is signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from carnet.cargo.index_file import IndexFile, IndexLine
from carnet.cargo.lockfile import SourceKind
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.errors import (
    CarnetError,
    ExpiredMetadata,
    MetadataMismatch,
    NotFound,
    PolicyRefused,
    VerificationError,
)
from carnet.level import Level
from carnet.made import maker
from carnet.tuf import paths
from carnet_evidence.kind import Evidence, Kind, gather
from carnet_verifier.outcomes import (
    Admission,
    Attributed,
    Indexed,
    Judged,
    KeptTarballs,
    VerifiedCrate,
    Vouched,
    Wanted,
)
from carnet_verifier.policy.evaluate import evaluate
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Facts
from carnet_verifier.provenance.kind import PROVENANCE, level_of
from carnet_verifier.tuf.repository import TrustedRepository, TrustedTarget

if TYPE_CHECKING:
    from carnet.cargo.crate import CrateFile
    from carnet.cargo.let_in import LetIn
    from carnet_verifier.claims.owners import Claim
    from carnet_verifier.policy.rule import Rule
    from carnet_verifier.tarballs import FetchedTarball


_indexed, _vouched, _attributed = maker(Indexed), maker(Vouched), maker(Attributed)
_judged, _admission = maker(Judged), maker(Admission)


# --- the steps: from metadata alone ---


def find_target(repository: TrustedRepository, name: CrateName) -> TrustedTarget:
    """2. Look the crate's index file up in the signed index.

    Raises:
        NotFound: The registry signed that there is no such crate.
        MetadataError: A role on the way failed a check.
        TransportError: Nothing was decided.
    """
    try:
        return repository.find_target(paths.index_path(name))
    except NotFound:
        raise unknown_crate(name) from None


def open_index(repository: TrustedRepository, name: CrateName, target: TrustedTarget) -> Indexed:
    """3. Fetch the index file, check it against its signed length and digest (TUF 5.7), and parse it.

    Raises:
        MetadataMismatch: Other bytes than were signed, or the target is another crate's.
        FormatError: The registry signed something that is not the crate's index file.
        TransportError: Nothing was decided.
    """
    if target.path != paths.index_path(name):
        raise MetadataMismatch(f"{target.path[:120]!a} was offered as the index file of {name}")
    return parse_index(name, target, repository.download(target))


def vouch(indexed: Indexed, wanted: Wanted, claim: Claim | None = None) -> Vouched:
    """4. Find the version's line; a checksum in the lock has to be the line's.

    Args:
        indexed: The crate's index file.
        wanted: The version.
        claim: Who owns the crate, where that is known: whoever lacks the version is told whom to ask.

    Raises:
        NotFound: The signed index file has no such version.
        MetadataMismatch: The lock pins other bytes.
    """
    line = indexed.index.line(wanted.id.version)
    if line is None or line.id.name != wanted.id.name:
        raise NotFound(
            f"{wanted.id} is not in the signed index: {_nearby(indexed.index, wanted.id)}",
            hint=f"{whom_to_ask(wanted.id, claim)}; or change the version",
        )
    if wanted.checksum is not None and wanted.checksum != line.cksum:
        raise MetadataMismatch(
            f"{wanted.id} has checksum {wanted.checksum} in the lock, {line.cksum} in the signed index",
            hint="one of the two was tampered with, or the lock is from another registry; do not update it blindly",
        )
    return _vouched(wanted, indexed.target, indexed.index, line)


def vouch_alone(repository: TrustedRepository, indexed: Indexed, wanted: Wanted) -> Vouched:
    """4. for a single version, whose owners are looked up where it lacks: only to say whom to ask.

    Raises:
        NotFound: As `vouch`, and so on.
    """
    try:
        return vouch(indexed, wanted)
    except NotFound:
        claim = None
        with suppress(CarnetError):
            claim = repository.claim(wanted.id.name)
        return vouch(indexed, wanted, claim)


def attribute(
    vouched: Vouched, claim: Claim | None, *, released: bool = False, now: datetime | None = None
) -> Attributed:
    """5. Where the crate is claimed, demand that its maintainers signed this very line and tarball.

    A missing line refuses the whole index file; a line that is extra or differs refuses this version only.

    Args:
        vouched: The registry's word.
        claim: What `TrustedRepository.claim` said of the crate.
        released: What `TrustedRepository.released` said of it; of a name that is claimed it says nothing.
        now: The time of the check; without it, nothing is let in whose index line is not its manifest's.

    Raises:
        NotFound: The maintainers never signed this version.
        MetadataMismatch: The registry's line or checksum is not what they signed, or it hides a version.
        VerificationError: The mirror's operator took it down.
        ExpiredMetadata: It was let in until a day that is over.
        FormatError: What the registry signed of versions that are let in does not parse.
    """
    let_in = _let_in(vouched, now)
    if claim is None:
        return _attributed(vouched, None, None, released=released, let_in=let_in)
    if claim.name.canonical != vouched.line.id.name.canonical:
        raise MetadataMismatch(f"the claim of {claim.name} was offered for {vouched.line.id}")
    from carnet_verifier.releases.signed_releases import attest, check_complete, read_signed_releases

    signed = read_signed_releases(claim)
    check_complete(signed, vouched.index)
    return _attributed(vouched, claim, attest(signed, vouched.line), signed, let_in=let_in)


def _let_in(vouched: Vouched, now: datetime | None) -> LetIn | None:
    """What the mirror's operator says of a version whose index line is not its manifest's; none may be taken down."""
    if not vouched.target.custom:
        return None
    _check_not_taken_down(vouched)
    if now is None:
        return None
    from carnet.cargo.let_in import read_let_in  # hardly any index file has one

    let_in = read_let_in(vouched.target.custom, vouched.target.path).get(str(vouched.line.id.version))
    if let_in is None or let_in.sha256 != vouched.line.cksum:
        return None
    if let_in.revoked is not None:
        raise VerificationError(
            f"the index line of {vouched.line.id} is not its manifest's; {let_in}",
            hint="use another version; the reason is the operator's",
        )
    if let_in.expires <= now:
        raise ExpiredMetadata(
            f"the index line of {vouched.line.id} is not its manifest's, and the mirror's operator let it in until "
            f"{let_in.expires:%Y-%m-%d} only",
            hint="ask the operator to look at it again, or use another version",
        )
    return let_in


def _check_not_taken_down(vouched: Vouched) -> None:
    from carnet.cargo.takedown import read_takedowns  # hardly any index file has one

    said = read_takedowns(vouched.target.custom, vouched.target.path).get(str(vouched.line.id.version))
    if said is not None:
        raise VerificationError(
            f"{vouched.line.id} is not to be used: {said}",
            hint="use another version, and look at what this one has done where it was built; the operator knows more",
        )


def attribute_all(
    indexed: Indexed, claim: Claim | None, *, released: bool = False, now: datetime | None = None
) -> Iterator[tuple[IndexLine, Attributed | VerificationError]]:
    """4. and 5. for every version of a crate: its line, and whose word it is or why the version is not let in.

    Args:
        indexed: The crate's index file.
        claim: What `TrustedRepository.claim` said of the crate.
        released: What `TrustedRepository.released` said of it; of a name that is claimed it says nothing.
        now: As for `attribute`.

    Raises:
        MetadataMismatch: The registry hides a version: the whole file is refused.
        FormatError: A line is another crate's, or two are of one version.
    """
    signed = None
    if claim is not None:
        from carnet_verifier.releases.signed_releases import attest, check_complete, read_signed_releases

        signed = read_signed_releases(claim)
        check_complete(signed, indexed.index)
    for line in indexed.index.readable:
        vouched = _vouched(Wanted(line.id), indexed.target, indexed.index, line)
        try:
            release = None if signed is None else attest(signed, line)
            let_in = _let_in(vouched, now)
        except VerificationError as error:
            yield line, error
        else:
            yield line, _attributed(vouched, claim, release, signed, released=released and claim is None, let_in=let_in)


# --- the steps: from bytes ---


def download(repository: TrustedRepository, attributed: Attributed, kept: KeptTarballs | None = None) -> VerifiedCrate:
    """6. Fetch the tarball and the signed files beside it, compare it with the digest that was vouched for, read it.

    Args:
        repository: The verified view.
        attributed: Whose word for which bytes.
        kept: Tarballs of earlier runs, or None.

    Raises:
        MetadataMismatch: Other bytes than metadata vouches for.
        ArchiveRefused: A rule of the archive format is broken, or the signed line does not say what the manifest says.
        TransportError: Nothing was decided.
    """
    return verify(attributed, fetch(repository, [attributed], kept)[0])


def needed(judging: Iterable[Rule]) -> tuple[Kind[Any], ...]:
    """The kinds of evidence that the owners (provenance) and these rules look at, each once."""
    return tuple(dict.fromkeys((PROVENANCE, *(kind for rule in judging for kind in rule.needs))))


def inspect(
    attributed: Attributed, kinds: Iterable[Kind[Any]], *, now: datetime, crate: VerifiedCrate | None = None
) -> Evidence:
    """7. Gather what the owners and the rules in force ask for, as far as it can be had from what is there.

    Args:
        attributed: The version.
        kinds: Which evidence: see `needed`.
        now: The time of the check.
        crate: The tarball; without it, kinds of evidence that read it are left out.

    Raises:
        ProvenanceError: The evidence that the owners' layout was carried out does not hold.
        ArchiveRefused: The tarball is not what was tagged.
        CarnetError: What another kind looked at does not hold.
    """
    return gather(kinds, attributed.material(now, crate))


# --- the steps: the policy has the last word ---


def judge(
    attributed: Attributed,
    evidence: Evidence,
    policy: Policy,
    highest: Mapping[CrateName, int],
    *,
    now: datetime,
    judging: Sequence[Rule] | None = None,
) -> Judged:
    """8. Let the policy judge what was established, and what was seen before (`LevelMemory.highest_levels`).

    Args:
        attributed: Whose word it is.
        evidence: What was found about the same tarball.
        policy: The build's.
        highest: The highest level at which each crate was seen.
        now: The time of the check.
        judging: The rules in force, when somebody has asked already.

    Raises:
        MetadataMismatch: The evidence is about other bytes.
    """
    if evidence.sha256 != attributed.sha256:
        raise MetadataMismatch(f"evidence about other bytes was offered for {attributed.crate}")
    wanted = attributed.vouched.wanted
    seen = None if attributed.exempt else highest.get(attributed.crate.name)
    facts = Facts(
        attributed.crate,
        level_of(attributed.release, evidence),
        attributed.owner_least_level,
        None if seen is None else Level(seen),
        attributed.claim is not None and attributed.claim.takeover,
        attributed.released,
        attributed.yanked_by,
        evidence,
        SourceKind.CRATES_IO,
        "",
        None if attributed.claim is None else attributed.claim.taken_over(now),
        attributed.let_in,
        wanted.locked and wanted.checksum is None,
        "" if attributed.claim is None else attributed.claim.seen_in,
    )
    return _judged(attributed, evidence, evaluate(facts, policy, now=now, judging=judging))


def admit(judged: Judged) -> Admission:
    """9. The evidence, when nothing denies it and no rule is left that waits for the tarball.

    Raises:
        PolicyRefused: A rule of the policy denies the crate, or was never judged.
    """
    verdict, attributed = judged.verdict, judged.attributed
    verdict.require()
    if judged.waits_for_bytes or verdict.level is None:
        unjudged = ", ".join(rule.name for rule in verdict.waiting) or "level"
        raise PolicyRefused(f"{attributed.crate} was not judged by its tarball: {unjudged} had to wait for it")
    return _admission(
        attributed.crate,
        verdict.level,
        attributed.sha256,
        attributed.line,
        verdict,
        attributed,
        judged.evidence,
    )


# --- parts ---


def unknown_crate(name: CrateName, crate: CrateId | None = None, claim: Claim | None = None) -> NotFound:
    """2. when the registry signed that there is no such crate.

    Args:
        name: The crate.
        crate: The version that is wanted, where one is.
        claim: Who owns the crate all the same, where somebody does.
    """
    hint = (
        "the mirror does not carry this crate; ask its operator for `carnet mirror sync DIR --lockfile FILE`, "
        f"or for its newest version `carnet mirror sync DIR {name}`"
    )
    if claim is not None and crate is not None:
        hint = whom_to_ask(crate, claim)
    return NotFound(f"{name} is not in the signed index", hint=hint)


def whom_to_ask(crate: CrateId, claim: Claim | None) -> str:
    """Who can do something about a version that a mirror does not list: its operator, or the crate's owners."""
    operator = (
        "ask the mirror's operator for `carnet mirror sync DIR --lockfile FILE`, or for this version alone "
        f"`carnet mirror sync DIR {crate.name}@={crate.version}`"
    )
    if claim is None:
        return operator
    from carnet_verifier.releases.signed_releases import read_signed_releases  # few crates are claimed

    release = read_signed_releases(claim).releases.get(crate.version)
    if release is not None:  # adopted by its checksum, and not here yet
        return operator
    return (
        f"ask the owners of {crate.name}, who sign every version: what is published elsewhere they sign in with "
        f"`carnet claim adopt {crate}`"
    )


def parse_index(name: CrateName, target: TrustedTarget, data: bytes) -> Indexed:
    """3. once the bytes are there, and are the ones that were signed.

    Raises:
        FormatError: The registry signed something that is not the crate's index file.
    """
    return _indexed(target, IndexFile.from_bytes(data, name))


def _few(versions: Sequence[Version]) -> str:
    if not versions:
        return "no version at all"
    newest = ", ".join(str(version) for version in versions[-3:])
    return f"..., {newest}" if len(versions) > 3 else newest


def _nearby(index: IndexFile, crate: CrateId) -> str:
    spelled = [line.id.name for line in index.readable if line.id.name != crate.name]
    if spelled:
        return f"the crate is spelled {spelled[0]}"
    return f"it lists {_few(sorted(line.id.version for line in index.readable))}"


def fetch(
    repository: TrustedRepository, wanted: Sequence[Attributed], kept: KeptTarballs | None
) -> Sequence[FetchedTarball]:
    """Tarballs, and the signed files beside them; see `carnet_verifier.tarballs.fetch_files`.

    Args:
        repository: The verified view.
        wanted: Of which versions.
        kept: Tarballs that need not be fetched, or None.

    Raises:
        MetadataMismatch: Other bytes than were signed, or a kept tarball was changed.
        TransportError: Nothing was decided.
    """
    from carnet_verifier.tarballs import fetch_files  # reads archives: most runs never get here

    held = {} if kept is None else {item.crate: kept.read(item.crate, item.sha256) for item in wanted}
    return fetch_files(repository, wanted, {crate: data for crate, data in held.items() if data is not None})


def verify(attributed: Attributed, fetched: FetchedTarball, file: CrateFile | None = None) -> VerifiedCrate:
    """6. once the bytes are there; see `carnet_verifier.tarballs.verify_tarball`.

    Raises:
        MetadataMismatch: Other bytes than metadata vouches for.
        ArchiveRefused: As `download`.
    """
    from carnet_verifier.tarballs import verify_tarball  # as above

    return verify_tarball(attributed, fetched.data, beside=fetched.beside, file=file)
