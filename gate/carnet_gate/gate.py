"""The gate in front of cargo: nothing reaches the compiler that was not admitted.

::

    1. look at the configuration    nothing that cargo will read leads it around the gate          -> Project
    2. resolve                      when Cargo.lock is missing or incomplete, through a verifying registry on loopback
    3. admit                        every package of the lock, or stop with the reason             -> Admitted
    4. keep and compare             admitted tarballs at one path; every tarball and every unpacked file is compared
    5. run                          the user's own cargo, from there, with --locked and offline
    6. compare again                nothing was changed while cargo ran

A crate that was refused is refused each time: what lies in a cache decides nothing.
"""

from __future__ import annotations

from pathlib import Path

from carnet.cargo.lockfile import Lockfile
from carnet.durable import private_folder
from carnet.errors import ConfigError
from carnet_gate.admission import Admitted, Grounds, admit_lock
from carnet_gate.args import CommandKind
from carnet_gate.home import CargoHome, lasting_home
from carnet_gate.project import LockOnDisk, Project
from carnet_gate.reporter import Reporter
from carnet_gate.resolving import bring_up_to_date, resolving
from carnet_gate.sources import compare_again, keep, unpack
from carnet_verifier.cargo.localregistry import LocalRegistry
from carnet_verifier.tuf.view import View, open_view


class Gate:
    """One run of a cargo command behind the gate.

    Args:
        project: From step 1, `carnet_gate.project.open_project`.
        grounds: What is decided by.
        folder: Where the admitted tarballs and the private CARGO_HOMEs of the trusted repository are.
        reporter: Is told what is found.
    """

    def __init__(self, project: Project, grounds: Grounds, folder: Path, reporter: Reporter) -> None:
        self._project = project
        self._grounds = grounds
        self._folder = folder
        self._reporter = reporter
        self._lock = LockOnDisk(project.workspace)

    def run(self) -> int:
        """Run the command.

        Returns:
            cargo's own exit status.

        Raises:
            CarnetError: Why it was not run, or why what it made is not to be trusted.
        """
        return self._use() if self._project.invocation.kind is CommandKind.USE else self._choose()

    def _use(self) -> int:
        """Run a command that works with the locked crates."""
        invocation = self._project.invocation
        with open_view(self._grounds.trust, now=self._grounds.clock()) as view:
            admitted = self._admit(view, self._lock_or_resolve(view))  # 2, 3
            registry = self._registry()
            with registry.locked():
                kept = keep(registry, view, admitted, self._reporter)  # 4
                home = lasting_home(self._folder, registry.path, self._project, self._reporter)
                problem = unpack(self._project, home, kept, foreign=bool(admitted.foreign))
                if problem is not None and not invocation.locked and self._resolve(view) == 0:
                    admitted = self._admit(view, self._lock.read())
                    kept = keep(registry, view, admitted, self._reporter)
                    problem = unpack(self._project, home, kept, foreign=bool(admitted.foreign))
                if problem is not None:
                    self._reporter.cargo_said(problem.stderr)
                    return problem.returncode
        self._tell(admitted)
        status = self._run(home)  # 5
        if invocation.compiles:
            compare_again(home.path, kept)  # 6
        return status

    def _choose(self) -> int:
        """Run a command that chooses versions; then say what became of the lock."""
        project = self._project
        with open_view(self._grounds.trust, now=self._grounds.clock()) as view:
            pinned = self._lock.read_if_any()
            with resolving(project, view, pinned, self._grounds, self._reporter) as home:
                status = project.cargo.run(
                    project.invocation.subcommand,
                    *home.flags,
                    *project.invocation.args,
                    environment=home.environment(project),
                )
            if status == 0 and self._lock.path.exists():
                self._tell(self._admit(view, self._lock.read()))
        return status

    # --- the parts ---

    def _lock_or_resolve(self, view: View) -> Lockfile:
        """2. The lock; when there is none, cargo makes one."""
        lock = self._lock.read_if_any()
        if lock is not None:
            return lock
        if self._project.invocation.locked:
            raise ConfigError(f"{self._lock.path} does not exist, and --locked was given")
        if self._resolve(view) != 0:
            raise ConfigError("cargo could not resolve the dependencies; its messages are above")
        return self._lock.read()

    def _resolve(self, view: View) -> int:
        """2. Bring the lock up to date, unless the user forbids the network; returns cargo's exit status."""
        if self._project.invocation.offline:
            return 1
        return bring_up_to_date(self._project, view, self._lock.read_if_any(), self._grounds, self._reporter)

    def _admit(self, view: View, lock: Lockfile) -> Admitted:
        """3. Every package of the lock."""
        return admit_lock(lock, view.repository, self._grounds, self._registry(), self._reporter)

    def _registry(self) -> LocalRegistry:
        return LocalRegistry(private_folder(self._folder) / "registry")

    def _run(self, home: CargoHome) -> int:
        """5. cargo itself, on the lock that was admitted."""
        invocation = self._project.invocation
        self._lock.require_unchanged()
        strict = [flag for flag in ("--locked", "--offline") if not invocation.has(flag)]
        return self._project.cargo.run(
            invocation.subcommand,
            *home.flags,
            *strict,
            *invocation.args,
            environment=home.environment(self._project),
        )

    def _tell(self, admitted: Admitted) -> None:
        if not self._project.invocation.quiet:
            self._reporter.admitted(admitted.admissions, self._grounds.trust.url)
