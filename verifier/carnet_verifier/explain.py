"""The whole chain behind one crate, link by link, for people: what was checked, who signed it, where it stopped.

It walks the steps of `carnet_verifier.line` and decides nothing by itself: a crate is let in when that line says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from carnet.cargo.lockfile import LockedPackage, SourceKind
from carnet.cargo.names import CrateId, CrateName
from carnet.errors import CarnetError, MetadataMismatch
from carnet.tuf import keys, paths
from carnet.tuf.roles import RoleFile, RoleKeys, Targets
from carnet_evidence.kind import Evidence
from carnet_verifier.claims.owners import Claim, Handover
from carnet_verifier.line import (
    admit,
    attribute,
    download,
    find_target,
    inspect,
    judge,
    needed,
    open_index,
    vouch_alone,
)
from carnet_verifier.outcomes import Admission, Attributed, LevelMemory, Vouched, Wanted
from carnet_verifier.policy.evaluate import in_force
from carnet_verifier.policy.foreign import FOREIGN, foreign_verdict
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rules.level import LEAST_LEVEL
from carnet_verifier.policy.verdict import Verdict
from carnet_verifier.provenance.kind import PROVENANCE, level_of
from carnet_verifier.provenance.provenance import Provenance
from carnet_verifier.tuf.repository import TrustedRepository, TrustedTarget
from carnet_verifier.whole_lock import wanted_as

OPERATOR = "the mirror's operator"
HOLDERS = "the holders of the mirror's offline keys"
OWNERS = "the crate's owners"
MAINTAINERS = "the crate's maintainers"
_POLICY = "your policy"
_FOLLOWED = {
    Handover.FIRST_SEEN: "seen for the first time: the registry's word for them was taken",
    Handover.SAME: "as they were seen before",
    Handover.HANDED_OVER: "those before them signed the handover",
    Handover.TAKEOVER: "those before them did not sign: a takeover by the registry",
}


class State(Enum):
    """What became of one link of the chain."""

    OK = "ok"
    FAILED = "failed"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class ChainLink:
    """One link of the chain.

    Attributes:
        depth: How far below the root it stands.
        what: A role, a file, or a step.
        state: What became of it.
        facts: What was established, a short line each.
        error: Why it failed.
        mended_by: Who can do something about a failure.
    """

    depth: int
    what: str
    state: State
    facts: tuple[str, ...] = ()
    error: CarnetError | None = None
    mended_by: str = ""


@dataclass(frozen=True)
class Chain:
    """What stands behind a crate, and whether it is let in.

    Attributes:
        wanted: Which crate.
        links: From the root to the verdict.
        admission: The evidence, when it is let in.
        verdict: What the policy says; None when the chain ended before it was asked, and of code of one's own.
        origin: Where the lock takes it from; of what no lock names, crates-io.
    """

    wanted: Wanted
    links: tuple[ChainLink, ...]
    admission: Admission | None
    verdict: Verdict | None = None
    origin: SourceKind = SourceKind.CRATES_IO

    @property
    def failure(self) -> ChainLink | None:
        """The link that failed."""
        return next((link for link in self.links if link.state is State.FAILED), None)

    @property
    def exit_code(self) -> int:
        """The exit status of a command that was asked about it alone."""
        failure = self.failure
        return 0 if failure is None else 1 if failure.error is None else failure.error.exit_code


def explain(
    repository: TrustedRepository, wanted: Wanted, policy: Policy, memory: LevelMemory | None, *, now: datetime
) -> Chain:
    """Walk the chain of one crate."""
    walk = _Walk(repository)
    walk.top_level()
    vouched = walk.index(wanted)
    attributed = walk.claims(vouched, wanted)
    admission = walk.verdict(attributed, policy, memory, now)
    return Chain(wanted, tuple(walk.links), admission, walk.judged)


def explain_package(
    repository: TrustedRepository,
    package: LockedPackage,
    policy: Policy,
    memory: LevelMemory | None,
    *,
    now: datetime,
) -> Chain:
    """Explain one package of a lock, wherever the lock takes it from: what `carnet verify` says of it, and why."""
    wanted = wanted_as(package)
    if package.kind is SourceKind.CRATES_IO:
        return explain(repository, wanted, policy, memory, now=now)
    if package.kind not in FOREIGN:
        own = "a package of the workspace itself, or a path dependency: your own code, which is not looked at"
        return Chain(wanted, (ChainLink(0, "Cargo.lock", State.OK, (own,)),), None, None, package.kind)
    verdict = foreign_verdict(package, policy, now=now)
    facts = (f"taken from {package.source}", "no signed metadata vouches for it: the policy alone decides")
    named, said = ChainLink(0, "Cargo.lock", State.OK, facts), tuple(map(str, verdict.findings))
    try:
        verdict.require()
    except CarnetError as error:
        last = ChainLink(0, _POLICY, State.FAILED, said, error, "you, in carnet.toml of your own")
    else:
        last = ChainLink(0, _POLICY, State.OK, said)
    return Chain(wanted, (named, last), None, verdict, package.kind)


def chains_of(
    crate: CrateId,
    packages: Sequence[LockedPackage],
    repository: TrustedRepository,
    policy: Policy,
    memory: LevelMemory | None,
    *,
    now: datetime,
) -> tuple[Chain, ...]:
    """Explain everything that a lock has by one name and version; what no lock names, as the registry has it."""
    if not packages:
        return (explain(repository, Wanted(crate), policy, memory, now=now),)
    return tuple(explain_package(repository, package, policy, memory, now=now) for package in packages)


class _Walk:
    def __init__(self, repository: TrustedRepository) -> None:
        self._repository = repository
        self._stopped = False
        self.links: list[ChainLink] = []
        self.judged: Verdict | None = None

    def _step(self, depth: int, what: str, mended_by: str, look: Callable[[], tuple[Any, tuple[str, ...]]]) -> Any:
        """Look at one link, unless an earlier one failed."""
        if self._stopped:
            self.links.append(ChainLink(depth, what, State.NOT_REACHED))
            return None
        try:
            found, facts = look()
        except CarnetError as error:
            self._stopped = True
            self.links.append(ChainLink(depth, what, State.FAILED, (), error, mended_by))
            return None
        self.links.append(ChainLink(depth, what, State.OK, facts))
        return found

    def top_level(self) -> None:
        trusted = self._repository.trusted
        root = trusted.root.signed
        for depth, role, envelope in (
            (0, paths.ROOT, trusted.root),
            (1, paths.TIMESTAMP, trusted.timestamp),
            (2, paths.SNAPSHOT, trusted.snapshot),
        ):
            facts = role_facts(envelope, root.roles[role])
            self._step(depth, role, OPERATOR, lambda facts=facts: (True, facts))  # type: ignore[misc]
        self._role(3, paths.TARGETS, root.roles[paths.TARGETS], HOLDERS)

    def _role(self, depth: int, role: str, signers: RoleKeys | None, mended_by: str) -> Targets | None:
        def look() -> tuple[Targets, tuple[str, ...]]:
            if signers is None:
                raise MetadataMismatch(f"nobody delegates to {role}")
            envelope = self._repository.role(role)
            return envelope.signed, role_facts(envelope, signers)

        found: Targets | None = self._step(depth, role, mended_by, look)
        return found

    def index(self, wanted: Wanted) -> Vouched | None:
        path = paths.index_path(wanted.id.name)
        index = self._role(4, paths.INDEX, self._signers(paths.TARGETS, paths.INDEX), HOLDERS)
        bins = index.delegations.succinct if index is not None and index.delegations is not None else None
        name = bins.bin_of(path) if bins is not None else "index-?"
        self._role(5, name, bins.signers if bins is not None else None, OPERATOR)

        def list_file() -> tuple[TrustedTarget, tuple[str, ...]]:
            target = find_target(self._repository, wanted.id.name)
            return target, (f"sha256 {target.sha256}, {target.length} bytes",)

        target: TrustedTarget | None = self._step(6, path, OPERATOR, list_file)

        def find_line() -> tuple[Vouched, tuple[str, ...]]:
            if target is None:
                raise MetadataMismatch(f"{path} was not found")
            indexed = open_index(self._repository, wanted.id.name, target)
            vouched = vouch_alone(self._repository, indexed, wanted)
            found = vouched.line
            facts = [f"sha256 {found.cksum} of the tarball", f"published {found.pubtime or 'at an unknown time'}"]
            if wanted.checksum is not None:
                facts.append("the lock pins the same sha256")
            if found.yanked:
                facts.append("yanked, says the registry")
            return vouched, tuple(facts)

        vouched: Vouched | None = self._step(7, f"index line {wanted.id.version}", OPERATOR, find_line)
        return vouched

    def claims(self, vouched: Vouched | None, wanted: Wanted) -> Attributed | None:
        name = wanted.id.name
        self._role(4, paths.CLAIMS, self._signers(paths.TARGETS, paths.CLAIMS), HOLDERS)
        shard = paths.claims_shard_role(name.shard)
        self._role(5, shard, self._signers(paths.CLAIMS, shard), HOLDERS)

        def look() -> tuple[Claim | None, tuple[str, ...]]:
            claim = self._repository.claim(name)
            if claim is None:
                given_up = self._repository.released(name)
                said = "its owners gave the name up" if given_up else "nobody has claimed the name"
                return None, (said, "the registry's word is all there is")
            when = claim.taken_over(self._repository.now)
            return claim, (
                *role_facts(self._repository.role(paths.owner_role(name)), claim.owner_delegation.signers),
                f"owners: {', '.join(sorted(set(claim.facts.owners.people.values())))} ({_FOLLOWED[claim.handover]})",
                *(() if when is None else (f"the registry replaced owners on {when:%Y-%m-%d}, says the role itself",)),
            )

        claim: Claim | None = self._step(6, paths.owner_role(name), HOLDERS, look)
        if claim is not None:
            self._role(7, paths.crate_role(name), claim.crate_delegation.signers, OWNERS)

        def signed() -> tuple[Attributed, tuple[str, ...]]:
            if vouched is None:
                raise MetadataMismatch(f"{wanted.id} has no index line")
            attributed = attribute(vouched, claim, released=self._repository.released(name), now=self._repository.now)
            if attributed.release is None:
                return attributed, ("unclaimed: the registry alone vouches for it",)
            facts = ["its maintainers signed this tarball and this index line"]
            if attributed.yanked:
                facts.append("yanked, say its maintainers")
            return attributed, tuple(facts)

        attributed: Attributed | None = self._step(
            8 if claim is not None else 7, str(wanted.id), f"{MAINTAINERS}, or {OPERATOR}", signed
        )
        return attributed

    def verdict(
        self, attributed: Attributed | None, policy: Policy, memory: LevelMemory | None, now: datetime
    ) -> Admission | None:
        def highest(attributed: Attributed) -> Mapping[CrateName, int]:
            return {} if memory is None else memory.highest_levels([attributed.crate.name])

        def prove() -> tuple[tuple[Attributed, Evidence], tuple[str, ...]]:
            if attributed is None:
                raise MetadataMismatch("nobody's word for it was found")
            kinds = needed(in_force(policy))
            evidence = inspect(attributed, kinds, now=now)
            first = judge(attributed, evidence, policy, highest(attributed), now=now)
            if first.waits_for_bytes and not first.verdict.denials:  # what metadata alone refuses is not fetched
                crate = download(self._repository, attributed)
                evidence = inspect(attributed, kinds, now=now, crate=crate)
            provenance = evidence.of(PROVENANCE)
            said = () if provenance is None else summary(provenance)
            level = level_of(attributed.release, evidence)
            reached = (
                "the tarball was not looked at: the policy refuses it anyway" if level is None else f"level {level}"
            )
            return (attributed, evidence), (reached, *said)

        proven: tuple[Attributed, Evidence] | None = self._step(0, "release steps", MAINTAINERS, prove)

        def decide() -> tuple[Admission, tuple[str, ...]]:
            if proven is None:
                raise MetadataMismatch("no level was reached")
            judged = judge(*proven, policy, highest(proven[0]), now=now)
            self.judged = judged.verdict
            admission = admit(judged)
            asker = policy.who_asks(LEAST_LEVEL, admission.crate)
            asks = f"asks for {policy.asks(LEAST_LEVEL, admission.crate)} at least{f', says {asker}' if asker else ''}"
            return admission, (asks, *map(str, judged.verdict.findings))

        mended_by = f"you, in carnet.toml of your own, or {MAINTAINERS}"
        admission: Admission | None = self._step(0, _POLICY, mended_by, decide)
        return admission

    def _signers(self, delegator: str, role: str) -> RoleKeys | None:
        if self._stopped:
            return None
        delegations = self._repository.role(delegator).signed.delegations
        return None if delegations is None else delegations.signers_of(role)


def summary(provenance: Provenance) -> tuple[str, ...]:
    """Who carried out which step, and what a person may want to know, a short line each."""
    steps = tuple(f"{step.name}: {', '.join(step.people)}" for step in provenance.steps)
    return (*steps, *(f"{finding.where}: {finding.text}" for finding in provenance.findings))


def role_facts(envelope: RoleFile[Any], signers: RoleKeys) -> tuple[str, ...]:
    """Version, expiry, and who signed a role, of those who may."""
    signed = keys.signers(signers.keys, envelope.signatures, envelope.message)
    who = ", ".join(key.keyid[:8] for key in signed)
    return (
        f"version {envelope.signed.version}, expires {envelope.signed.expires:%Y-%m-%d %H:%M} UTC",
        f"signed by {len(signed)} of {len(signers.keys)} keys ({who}), {signers.threshold} needed",
    )
