"""Choosing versions: cargo asks a verifying registry on loopback, so that only what may be admitted is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from carnet.cargo.lockfile import Lockfile
from carnet.cargo.names import CrateId
from carnet.errors import CarnetError, ConfigError
from carnet.value import value
from carnet_gate.admission import Grounds
from carnet_gate.confinement.descendants import none_left
from carnet_gate.confinement.protection import Confine, Confinement
from carnet_gate.home import CargoHome, passing_home
from carnet_gate.mirror_asks import MirrorAsks
from carnet_gate.project import LockOnDisk, Project
from carnet_gate.reporter import Lacking, Reporter, Skipped
from carnet_verifier.tuf.view import View

_MOST = 64
"""Crates of which it is looked up who owns them, to say whom to ask."""

if TYPE_CHECKING:
    from carnet_gate.choosing.choices import Choices


@value
class Resolved:
    """What became of choosing versions.

    Attributes:
        status: cargo's exit status.
        lacking: What the mirror lacks, where cargo did not find all; it was told.
        skipped: Versions that cargo would have taken, had they been let in; they were told.
    """

    status: int
    lacking: tuple[Lacking, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @property
    def hint(self) -> str:
        """What to do where cargo did not find all; empty where nobody knows more than cargo says."""
        if self.lacking:
            return "; ".join(_whom_to_ask(self.lacking))
        if self.skipped:
            crate = self.skipped[0].crate
            return (
                f"what is skipped is not let in: `carnet policy explain {crate}` says which rule of which file decided"
            )
        return ""


@contextmanager
def resolving(
    project: Project, view: View, pinned: Lockfile | None, grounds: Grounds, confine: Confine, reporter: Reporter
) -> Iterator[tuple[CargoHome, Confinement, Choices]]:
    """Serve a verifying registry while the block runs.

    Args:
        project: Whose versions are chosen.
        view: What the registry serves of.
        pinned: The lock as it is, whose versions are never hidden from cargo; None when there is none.
        grounds: What the registry decides by.
        confine: Keeps cargo, and what it starts, from writing to carnet's own folder.
        reporter: Is told what of the user's configuration does not hold.

    Returns:
        A throw-away CARGO_HOME that uses the registry, how cargo is started in it, and what it could not choose.

    Raises:
        CarnetError: It cannot be served.
    """
    # Here and not above: they bring a web server, which a build with a complete lock does not need.
    from carnet.scratch import temporary_folder
    from carnet_gate.choosing.choices import Choices
    from carnet_gate.loopback import serve
    from carnet_verifier.cargo.proxy import Gatekeeper

    keep, choices = _locked(pinned), Choices()
    keeper = Gatekeeper(
        lambda: view.repository, grounds.policy, grounds.trust, grounds.clock, pinned=keep, witness=choices
    )
    with serve(keeper) as url, temporary_folder() as folder:
        home = passing_home(folder, url, project, reporter)
        with confine((), home.environment(project), makes_in=project.workspace) as within, none_left():
            yield home, within, choices


def bring_up_to_date(
    project: Project,
    view: View,
    pinned: Lockfile | None,
    grounds: Grounds,
    confine: Confine,
    reporter: Reporter,
    asks: MirrorAsks,
) -> Resolved:
    """Bring the lock up to date as `cargo build` would: what is locked stays.

    Args:
        project: Whose lock.
        view: What may be chosen from.
        pinned: The lock as it is; None when there is none.
        grounds: What is decided by.
        confine: Keeps cargo, and what it starts, from writing to carnet's own folder.
        reporter: Is told what of the user's configuration does not hold.
        asks: Asks the mirror for what it lacks, before that is told.

    Returns:
        cargo's exit status, whose messages are on the terminal, and what the mirror lacks.

    Raises:
        CarnetError: The registry cannot be served.
    """
    command = ["generate-lockfile"] if pinned is None else ["update", "--workspace"]
    quiet = ["--quiet"] if project.invocation.quiet else []
    with resolving(project, view, pinned, grounds, confine, reporter) as (home, within, choices):
        status = project.cargo.run(
            *(*command, *quiet, *home.flags, *project.arguments, *project.lock_flags),
            environment=home.environment(project),
            within=within,
        )
        return tell(project, view, choices, status, _locked(pinned), reporter, asks)


def tell(
    project: Project,
    view: View,
    choices: Choices,
    status: int,
    before: frozenset[CrateId],
    reporter: Reporter,
    asks: MirrorAsks,
) -> Resolved:
    """Tell what cargo could not choose: versions that are not let in, and what the mirror lacks.

    Args:
        project: Whose versions were chosen.
        view: From which: it says which crates are claimed.
        choices: What cargo was shown.
        status: cargo's exit status.
        before: What was locked before, and is not told of again.
        reporter: Is told.
        asks: Asks the mirror for what it lacks, before that is told.
    """
    from carnet_gate.choosing.choices import asked_by

    lock = LockOnDisk(project.workspace, project.lock).read_if_any() if status == 0 else None
    lacking = with_owners(view, choices.lacking(asked_by(project))) if status != 0 else ()
    asks.ask([one.asked for one in lacking])
    skipped = choices.skipped(_locked(lock) - before)
    if status == 0:
        chosen = {crate.name for crate in _locked(lock) - before}
        skipped = [one for one in skipped if one.crate.name in chosen]
    if skipped and not project.invocation.quiet:
        reporter.skipped(skipped)
    if lacking:
        reporter.missing(lacking)
    return Resolved(status, lacking, tuple(skipped))


def unresolved(what: str, resolved: Resolved) -> ConfigError:
    """Why nothing was resolved, for whoever reads it below cargo's own messages.

    Args:
        what: Whose versions were to be chosen.
        resolved: From `bring_up_to_date`.
    """
    otherwise = (
        "mend what cargo says; of a crate or version that it did not find, ask the mirror's operator for "
        "`carnet mirror sync DIR --lockfile FILE`, or its owners where it is claimed"
    )
    return ConfigError(f"cargo could not resolve {what}; its messages are above", hint=resolved.hint or otherwise)


def sentence(lacking: Sequence[Lacking]) -> str:
    """What the operator of a mirror types to bring what it lacks."""
    return " ".join(("carnet mirror sync DIR", *(one.asked.typed for one in lacking)))


def _whom_to_ask(lacking: Sequence[Lacking]) -> Iterator[str]:
    """The operator for what an upstream may have; the owners for versions of theirs that they have not signed."""
    brought, owned = [one for one in lacking if not one.owned], [one for one in lacking if one.owned]
    if brought:
        yield f"ask the mirror's operator for `{sentence(brought)}`"
    if owned:
        names = ", ".join(dict.fromkeys(str(one.asked.name) for one in owned))
        yield (
            f"ask the owners of {names}, who sign every version: what is published elsewhere they sign in with "
            f"`carnet claim adopt {owned[0].asked.name}@VERSION`"
        )


def with_owners(view: View, lacking: Sequence[Lacking]) -> tuple[Lacking, ...]:
    """The same, each with whether the crate's owners alone can do something about it.

    What they adopted by checksum, the mirror's operator brings.

    Args:
        view: Says which crates are claimed.
        lacking: What cargo did not find.
    """
    from carnet.cargo.admitted import admitted  # here and below: who lacks nothing needs none of it

    try:
        _, claims = view.repository.look_up((), [one.asked.name for one in lacking[:_MOST]])
    except CarnetError:  # this is only about whom to ask
        return tuple(lacking)
    told = []
    for one in lacking:
        claim = claims.get(one.asked.name)
        if claim is not None:
            from carnet.claims.releases import Releases

            wanted, signed = admitted(one.asked.requirement), Releases.of(claim.name, claim.crate)
            awaited = any(release.by_checksum and wanted.admits(release.id.version) for release in signed)
            told.append(Lacking(one.asked, one.by, owned=not awaited))
        else:
            told.append(one)
    return tuple(told)


def _locked(lock: Lockfile | None) -> frozenset[CrateId]:
    return frozenset(package.id for package in lock.registry_packages) if lock is not None else frozenset()
