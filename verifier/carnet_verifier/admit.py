"""The straight line from a trusted repository to an admitted crate.

::

    1. refresh            a pinned root to one consistent, verified view              (`carnet_verifier.tuf.refresh`)
    2. find_target        the crate's index file is a signed target                   -> Listed
    3. download           its bytes are the ones that were signed, and parse          -> Indexed
    4. vouch              the wanted version has a line; the lock's checksum is its   -> Vouched
    5. attribute          who owns the crate, and did they sign this very line        -> Attributed
    6. check_provenance   was the owners' layout carried out                          -> Proven
    7. evaluate           the policy has the last word                                -> Judged
    8. admit              evidence, or the refusal                                    -> Admission

Each step takes what the one before it returned, and nothing else makes these values: skipping a check fails type
checking. A crate that nobody claimed stops being interesting after step 5: its level is `registry`, and its tarball is
vouched for by the checksum in the signed index. Nothing here decides from what a mirror leaves out: absence is signed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from carnet.cargo.index_file import IndexFile, IndexLine
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, FormatError, MetadataMismatch, NotFound, TransportError, VerificationError
from carnet.level import Level
from carnet.tuf import paths
from carnet.value import value
from carnet_verifier.outcomes import (
    Admission,
    Attributed,
    Indexed,
    Judged,
    ListCache,
    Listed,
    Memory,
    Proven,
    Vouched,
    Wanted,
)
from carnet_verifier.policy.mass_yank import mass_yank
from carnet_verifier.policy.policy import Facts, Policy, evaluate
from carnet_verifier.tuf.repository import TrustedRepository, TrustedTarget

if TYPE_CHECKING:
    from carnet_verifier.claims.owners import Claim
    from carnet_verifier.provenance.provenance import Provenance

__all__ = [
    "Admission",
    "Attributed",
    "Indexed",
    "Judged",
    "ListCache",
    "Listed",
    "Memory",
    "Outcome",
    "Proven",
    "Vouched",
    "Wanted",
    "admit",
    "admit_all",
    "admit_one",
    "attribute",
    "check_provenance",
    "download",
    "find_target",
    "judge",
    "publication_time",
    "read_index",
    "vouch",
]

_Key = TypeVar("_Key", bound=Hashable)
_Found = TypeVar("_Found")


# --- the steps ---


def find_target(repository: TrustedRepository, wanted: Wanted) -> Listed:
    """2. Look the crate's index file up in the signed index.

    Raises:
        NotFound: The registry signed that there is no such crate.
        MetadataError: A role on the way failed a check.
        TransportError: Nothing was decided.
    """
    try:
        return Listed(wanted, repository.find_target(paths.index_path(wanted.id.name)))
    except NotFound:
        raise _unknown_crate(wanted) from None


def download(repository: TrustedRepository, listed: Listed) -> Indexed:
    """3. Fetch the index file, check it against its signed length and digest (TUF 5.7), and parse it.

    Raises:
        MetadataMismatch: Other bytes than were signed.
        FormatError: Not an index file.
        TransportError: Nothing was decided.
    """
    return _parse_index(listed, repository.download(listed.target))


def vouch(indexed: Indexed) -> Vouched:
    """4. Find the version's line; a checksum in the lock has to be the line's.

    Raises:
        NotFound: The signed index file has no such version.
        MetadataMismatch: The lock pins other bytes.
    """
    wanted = indexed.wanted
    line = indexed.index.line(wanted.id.version)
    if line is None or line.id.name != wanted.id.name:
        raise NotFound(
            f"{wanted.id} is not in the signed index: {_nearby(indexed.index, wanted.id)}",
            hint="ask the mirror's operator to sync it, or change the version",
        )
    if wanted.checksum is not None and wanted.checksum != line.cksum:
        raise MetadataMismatch(
            f"{wanted.id} has checksum {wanted.checksum} in the lock, {line.cksum} in the signed index",
            hint="one of the two was tampered with, or the lock is from another registry; do not update it blindly",
        )
    return Vouched(wanted, indexed.target, indexed.index, line)


def attribute(vouched: Vouched, claim: Claim | None, *, released: bool = False) -> Attributed:
    """5. Where the crate is claimed, demand that its maintainers signed this very line and tarball.

    A missing line refuses the whole index file; a line that is extra or differs refuses this version only.

    Args:
        vouched: The registry's word.
        claim: What `TrustedRepository.claim` said of the crate.
        released: What `TrustedRepository.released` said of it.

    Raises:
        NotFound: The maintainers never signed this version.
        MetadataMismatch: The registry's line or checksum is not what they signed, or it hides a version.
    """
    if claim is None:
        return Attributed(vouched, None, None, released=released)
    if claim.name.canonical != vouched.line.id.name.canonical:
        raise MetadataMismatch(f"the claim of {claim.name} was offered for {vouched.line.id}")
    from carnet_verifier.claims.signed_releases import attest, check_complete, read_signed

    signed = read_signed(claim)
    check_complete(signed, vouched.index)
    return Attributed(vouched, claim, attest(signed, vouched.line), signed)


def check_provenance(attributed: Attributed, repository: TrustedRepository) -> Proven:
    """6. See whether the owners' layout was carried out for this version (`carnet_verifier.provenance.provenance`).

    A release without evidence is at level `maintainer`; step 7 compares that with what its owners ask. Evidence that is
    there and does not hold is refused here.

    Raises:
        ProvenanceError: The evidence does not hold.
        ArchiveRefused: The tarball breaks a rule, or is not what was tagged.
        TransportError: Nothing was decided.
    """
    if attributed.signed is None or attributed.release is None:
        return Proven(attributed, Level.REGISTRY)
    from carnet_verifier.claims.signed_releases import establish

    found = establish(repository, attributed.signed, attributed.release)
    summary = () if found.provenance is None else _summary(found.provenance)
    return Proven(attributed, found.level, found.least_level, summary, found)


def _summary(provenance: Provenance) -> tuple[str, ...]:
    steps = tuple(f"{step.name}: {', '.join(step.people)}" for step in provenance.steps)
    return (*steps, *(f"{finding.where}: {finding.text}" for finding in provenance.findings))


def judge(proven: Proven, policy: Policy, highest: Mapping[CrateName, int], *, now: datetime) -> Judged:
    """7. Let the policy judge what was established, and what was seen before (`Memory.highest_levels`)."""
    attributed = proven.attributed
    line = attributed.vouched.line
    seen = None if proven.exempt else highest.get(line.id.name)
    published = publication_time(line)
    facts = Facts(
        crate=line.id,
        level=proven.level,
        owner_least_level=proven.owner_least_level,
        highest_seen=None if seen is None else Level(seen),
        takeover=attributed.claim is not None and attributed.claim.takeover,
        released=attributed.released,
        yanked=attributed.yanked_by,
        published=published,
        mass_yank=mass_yank(line, lambda: attributed.shown, published=published, now=now),
    )
    return Judged(proven, evaluate(facts, policy, now=now))


def admit(judged: Judged) -> Admission:
    """8. The evidence, when nothing denies it.

    Raises:
        PolicyRefused: A rule of the policy denies the crate.
    """
    judged.verdict.require()
    attributed = judged.proven.attributed
    line = attributed.vouched.line
    effective = line.with_(yanked=attributed.yanked)
    return Admission(line.id, judged.proven.level, line.cksum, effective, judged.verdict, judged.proven)


# --- the whole line, for one crate and for many ---


def admit_one(
    repository: TrustedRepository, wanted: Wanted, policy: Policy, memory: Memory | None, *, now: datetime
) -> Admission:
    """Steps 2 to 8 for one crate; its level is remembered.

    Raises:
        CarnetError: Where it stopped.
    """
    listed = find_target(repository, wanted)
    indexed = download(repository, listed)
    vouched = vouch(indexed)
    name = wanted.id.name
    attributed = attribute(vouched, repository.claim(name), released=repository.released(name))
    proven = check_provenance(attributed, repository)
    highest = {} if memory is None else memory.highest_levels([name])
    admission = admit(judge(proven, policy, highest, now=now))
    if memory is not None and admission.level > Level.REGISTRY:
        memory.remember_levels({name: int(admission.level)})
    return admission


@value
class Outcome:
    """What became of one crate among many: an admission, or the error that stopped it."""

    wanted: Wanted
    result: Admission | CarnetError

    @property
    def admission(self) -> Admission | None:
        """The admission, when it was admitted."""
        return self.result if isinstance(self.result, Admission) else None

    @property
    def error(self) -> CarnetError | None:
        """Why it was not admitted."""
        return self.result if isinstance(self.result, CarnetError) else None


def admit_all(
    repository: TrustedRepository,
    wanted: Sequence[Wanted],
    policy: Policy,
    memory: Memory | None,
    *,
    now: datetime,
    cache: ListCache | None = None,
) -> Iterator[Outcome]:
    """Steps 2 to 8 for many crates, in order; what is needed is fetched concurrently first.

    One crate's refusal does not stop the others. Levels are remembered once the last crate was judged.

    Raises:
        TransportError: Nothing could be decided about some of them: the mirror cannot be reached.
        MetadataError: The view itself failed a check.
        StorageError: The memory is damaged.
    """
    targets, claims = _look_up(repository, wanted)
    listed = {item: _listed(item, targets[paths.index_path(item.id.name)]) for item in wanted}
    files = _download_all(repository, [item for item in listed.values() if isinstance(item, Listed)], cache)
    highest = {} if memory is None else memory.highest_levels(item.id.name for item in wanted)
    levels: dict[CrateName, int] = {}
    for item in wanted:
        name = item.id.name
        try:
            target = _found(listed[item])
            vouched = vouch(_parse_index(target, _found(files[target.target.path])))
            attributed = attribute(vouched, _found(claims[name.canonical]), released=repository.released(name))
            admission = admit(judge(check_provenance(attributed, repository), policy, highest, now=now))
        except TransportError:
            raise
        except CarnetError as error:
            yield Outcome(item, error)
            continue
        if admission.level > Level.REGISTRY:  # nothing is below it that a memory of it could refuse
            levels[name] = max(int(admission.level), levels.get(name, 0))
        yield Outcome(item, admission)
    if memory is not None and levels:
        memory.remember_levels(levels)


# --- parts ---


def read_index(data: bytes, name: CrateName) -> IndexFile:
    """Parse a signed index file.

    Raises:
        FormatError: The registry signed something that is not the crate's index file.
    """
    return IndexFile.from_bytes(data, name)


def publication_time(line: IndexLine) -> datetime | None:
    """When the registry says that a version was published."""
    if line.pubtime is None:
        return None
    try:
        return datetime.fromisoformat(line.pubtime)  # of cargo's one form, which the line has checked
    except ValueError:
        raise FormatError(f"{line.id}: pubtime {line.pubtime[:40]!a} is not a time") from None


def _unknown_crate(wanted: Wanted) -> NotFound:
    return NotFound(
        f"{wanted.id.name} is not in the signed index",
        hint="the mirror does not carry this crate; ask its operator to sync it",
    )


def _found(result: _Found | CarnetError) -> _Found:
    if isinstance(result, CarnetError):
        raise result
    return result


def _each(
    keys: Iterable[_Key], together: Callable[[list[_Key]], Mapping[_Key, _Found]], alone: Callable[[_Key], _Found]
) -> dict[_Key, _Found | CarnetError]:
    """Look many things up at once; when one is refused, each alone, so that it spoils nothing but itself."""
    listed = list(dict.fromkeys(keys))
    try:
        return dict(together(listed))
    except (VerificationError, FormatError):
        return _one_by_one(listed, alone)


def _one_by_one(keys: Iterable[_Key], alone: Callable[[_Key], _Found]) -> dict[_Key, _Found | CarnetError]:
    found: dict[_Key, _Found | CarnetError] = {}
    for key in keys:
        try:
            found[key] = alone(key)
        except (VerificationError, FormatError) as error:
            found[key] = error
    return found


def _look_up(
    repository: TrustedRepository, wanted: Iterable[Wanted]
) -> tuple[Mapping[str, TrustedTarget | CarnetError | None], Mapping[str, Claim | CarnetError | None]]:
    """Index targets by path, and claims by canonical name."""
    names = {item.id.name.canonical: item.id.name for item in wanted}
    wanted_paths = list(dict.fromkeys(paths.index_path(item.id.name) for item in wanted))
    targets: Mapping[str, TrustedTarget | CarnetError | None]
    claims: Mapping[CrateName, Claim | CarnetError | None]
    try:
        targets, claims = repository.look_up(wanted_paths, names.values())
    except (VerificationError, FormatError):
        targets = _one_by_one(wanted_paths, lambda path: repository.find_targets([path])[path])
        claims = _one_by_one(names.values(), repository.claim)
    return targets, {canonical: claims[name] for canonical, name in names.items()}


def _listed(wanted: Wanted, target: TrustedTarget | CarnetError | None) -> Listed | CarnetError:
    if isinstance(target, CarnetError):
        return target
    return _unknown_crate(wanted) if target is None else Listed(wanted, target)


def _download_all(
    repository: TrustedRepository, listed: Iterable[Listed], cache: ListCache | None
) -> dict[str, bytes | CarnetError]:
    targets = {item.target.path: item.target for item in listed}
    files: dict[str, bytes | CarnetError] = {}
    if cache is not None:
        for path, target in targets.items():
            data = cache.get(target.sha256)
            if data is not None and len(data) == target.length and sha256_hex(data) == target.sha256:
                files[path] = data

    def together(missing: list[str]) -> dict[str, bytes]:
        return dict(zip(missing, repository.download_many([targets[path] for path in missing]), strict=True))

    fresh = _each((path for path in targets if path not in files), together, lambda path: together([path])[path])
    if cache is not None and fresh:
        cache.put({targets[path].sha256: data for path, data in fresh.items() if isinstance(data, bytes)})
    return files | fresh


def _parse_index(listed: Listed, data: bytes) -> Indexed:
    return Indexed(listed.wanted, listed.target, read_index(data, listed.wanted.id.name))


def _few(versions: Sequence[Version]) -> str:
    if not versions:
        return "no version at all"
    newest = ", ".join(str(version) for version in versions[-3:])
    return f"..., {newest}" if len(versions) > 3 else newest


def _nearby(index: IndexFile, crate: CrateId) -> str:
    spelled = [line.id.name for line in index.lines if line.id.name != crate.name]
    if spelled:
        return f"the crate is spelled {spelled[0]}"
    return f"it lists {_few(sorted(line.id.version for line in index.lines))}"
