"""Choosing versions: cargo asks a verifying registry on loopback, so that only what may be admitted is chosen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from carnet.cargo.lockfile import Lockfile
from carnet.scratch import temporary_folder
from carnet_gate.admission import Grounds
from carnet_gate.confinement.descendants import none_left
from carnet_gate.confinement.protection import Confine, Confinement
from carnet_gate.home import CargoHome, passing_home
from carnet_gate.project import Project
from carnet_gate.reporter import Reporter
from carnet_verifier.tuf.view import View


@contextmanager
def resolving(
    project: Project, view: View, pinned: Lockfile | None, grounds: Grounds, confine: Confine, reporter: Reporter
) -> Iterator[tuple[CargoHome, Confinement]]:
    """Serve a verifying registry while the block runs.

    Args:
        project: Whose versions are chosen.
        view: What the registry serves of.
        pinned: The lock as it is, whose versions are never hidden from cargo; None when there is none.
        grounds: What the registry decides by.
        confine: Keeps cargo, and what it starts, from writing to carnet's own folder.
        reporter: Is told what of the user's configuration does not hold.

    Returns:
        A throw-away CARGO_HOME that uses the registry, and how cargo is started in it.

    Raises:
        CarnetError: It cannot be served.
    """
    # Here and not above: they bring a web server, which a build with a complete lock does not need.
    from carnet_gate.loopback import serve
    from carnet_verifier.cargo.proxy import Gatekeeper

    keep = frozenset(package.id for package in pinned.registry_packages) if pinned else frozenset()
    keeper = Gatekeeper(lambda: view.repository, grounds.policy, grounds.trust, grounds.clock, pinned=keep)
    with serve(keeper) as url, temporary_folder() as folder:
        home = passing_home(folder, url, project, reporter)
        with confine((), home.environment(project), makes_in=project.workspace) as within, none_left():
            yield home, within


def bring_up_to_date(
    project: Project, view: View, pinned: Lockfile | None, grounds: Grounds, confine: Confine, reporter: Reporter
) -> int:
    """Bring the lock up to date as `cargo build` would: what is locked stays.

    Args:
        project: Whose lock.
        view: What may be chosen from.
        pinned: The lock as it is; None when there is none.
        grounds: What is decided by.
        confine: Keeps cargo, and what it starts, from writing to carnet's own folder.
        reporter: Is told what of the user's configuration does not hold.

    Returns:
        cargo's exit status; its messages are on the terminal.

    Raises:
        CarnetError: The registry cannot be served.
    """
    command = ["generate-lockfile"] if pinned is None else ["update", "--workspace"]
    quiet = ["--quiet"] if project.invocation.quiet else []
    with resolving(project, view, pinned, grounds, confine, reporter) as (home, within):
        return project.cargo.run(
            *(*command, *quiet, *home.flags, *project.arguments, *project.lock_flags),
            environment=home.environment(project),
            within=within,
        )
