"""What the gate decides by, and the decision about a whole lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from carnet.cargo.lockfile import Lockfile
from carnet.cargo.names import CrateId
from carnet.errors import CarnetError, NotFound, PolicyRefused, TransportError
from carnet.level import Level
from carnet.value import field, value
from carnet_gate.args import Invocation
from carnet_gate.comparison.settled import Settled
from carnet_gate.mirror_asks import MirrorAsks
from carnet_gate.reporter import Reporter
from carnet_verifier.cargo.localregistry import Kept, LocalRegistry
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.budget import DEFAULT_BOUNDS, RunBounds
from carnet_verifier.net.route import DIRECT, Network
from carnet_verifier.outcomes import Admission
from carnet_verifier.policy.foreign import foreign_verdicts
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.verdict import Verdict
from carnet_verifier.tuf.repository import TrustedRepository
from carnet_verifier.tuf.view import View, open_view, unheard
from carnet_verifier.whole_lock import remarks_on, wanted_in


@value
class Grounds:
    """What the gate decides by.

    Attributes:
        policy: What a crate must fulfil.
        trust: The repository that is trusted, and what is remembered of it.
        clock: The time, aware, UTC.
        bounds: What may be fetched, and for how long.
        network: How the repository's server is reached.
        remark: Is told what a person should know of what is verified, and that stops nothing.
    """

    policy: Policy
    trust: TrustDirectory
    clock: Callable[[], datetime]
    bounds: RunBounds = DEFAULT_BOUNDS
    network: Network = DIRECT
    remark: Callable[[str], None] = unheard

    def asks(self, invocation: Invocation, reporter: Reporter) -> MirrorAsks:
        """What asks the repository's server, for a command, to bring what it lacks."""
        return MirrorAsks(
            self.trust.url, self.network, self.bounds.pull_seconds, invocation=invocation, reporter=reporter
        )

    def open_view(self) -> AbstractContextManager[View]:
        """Refresh what is trusted, and look at it while the block runs.

        Raises:
            CarnetError: As `carnet_verifier.tuf.view.open_view`.
        """
        return open_view(self.trust, now=self.clock(), bounds=self.bounds, network=self.network, remark=self.remark)


@value
class Admitted:
    """A lock of which every package was let in; only `admit_lock` makes one.

    Attributes:
        admissions: The crates of crates-io that were judged in this run.
        foreign: What the policy allows from elsewhere: git, other registries.
        inspected: What those unpack to whose tarball had to be read to decide; they are kept already.
    """

    admissions: tuple[Admission, ...]
    foreign: tuple[Verdict, ...]
    inspected: Mapping[CrateId, Kept]
    settled: Mapping[CrateId, Settled] = field(default_factory=dict)

    @property
    def levels(self) -> list[Level]:
        """What stands behind each crate of crates-io."""
        return [*(one.level for one in self.admissions), *(one.level for one in self.settled.values())]


def admit_lock(
    lock: Lockfile,
    repository: TrustedRepository,
    grounds: Grounds,
    registry: LocalRegistry,
    reporter: Reporter,
    settled: Mapping[CrateId, Settled] | None = None,
    asks: MirrorAsks | None = None,
) -> Admitted:
    """Let every package of a lock in, or none.

    Args:
        lock: Cargo's.
        repository: The verified view.
        grounds: What is decided by.
        registry: Where admitted tarballs are kept: one that is there is not fetched to be inspected, and one that was
            fetched to be inspected is kept, so that it is read once.
        reporter: Is told what the policy remarks, and each refusal where there are several.
        settled: The crates that need not be judged again.
        asks: Asks the mirror for what is not in its signed index, before anything is refused; None where nobody does.

    Raises:
        CarnetError: One or more were refused, or nothing could be decided.
    """
    _ = remarks_on(lock, grounds.policy, "Cargo.lock")  # which raises where the policy denies; the sum tells the rest
    every = wanted_in(lock)
    settled = settled or {}
    wanted = [item for item in every if item.id not in settled]
    now, trust = grounds.clock(), grounds.trust
    admissions: list[Admission] = []
    errors: list[CarnetError] = []
    absent: list[CrateId] = []
    inspected: dict[CrateId, Kept] = {}
    if wanted:  # it reads index files: start-up time counts, and where nothing changed nothing is judged
        from carnet_verifier.admit import admit_all
    with reporter.counting("admitting", len(wanted)) as count:
        for outcome in (
            admit_all(repository, wanted, grounds.policy, trust, now=now, cache=trust.index_files, kept=registry)
            if wanted
            else ()
        ):
            count(1)
            if isinstance(outcome.result, Admission):
                admissions.append(outcome.result)
                if outcome.tarball is not None:
                    inspected[outcome.result.crate] = Kept.of(outcome.tarball.file)
                    # Without the lock: a file that appears whole, and is the admitted one, disturbs no other gate.
                    registry.keep([(outcome.result, outcome.tarball.data)])
            else:
                errors.append(outcome.result)
                if isinstance(outcome.result, NotFound):
                    absent.append(outcome.wanted.id)
    if absent and asks is not None:
        asks.ask_for_versions(absent)
    foreign = foreign_verdicts(lock, grounds.policy, now=now)
    for verdict in foreign:
        try:
            verdict.require()
        except PolicyRefused as error:
            errors.append(error)
    for verdict in [*(admission.verdict for admission in admissions), *foreign]:
        reporter.remarks(verdict)
    _refuse(errors, len(every) + len(foreign), reporter)
    return Admitted(tuple(admissions), foreign, inspected, settled)


def _refuse(errors: Sequence[CarnetError], total: int, reporter: Reporter) -> None:
    """Raise when there is an error; where there are several, tell each, and then how many there were."""
    if not errors:
        return
    if len(errors) == 1:
        raise errors[0]
    for error in errors:
        reporter.refused(error)
    kind = TransportError if any(isinstance(error, TransportError) for error in errors) else PolicyRefused
    raise kind(f"{len(errors)} of {total} crates were not admitted; nothing was compiled")
