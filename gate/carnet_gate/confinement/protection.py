"""Which protection of carnet's home is in force while cargo compiles, and why no better one.

Landlock comes first: it needs nothing but the kernel, and holds for root and in containers that forbid namespaces; then
bubblewrap. Where neither works, what was compiled from is only compared afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from carnet.errors import ConfigError, PolicyRefused
from carnet.value import field, value
from carnet_gate.confinement import bubblewrap, landlock, terminal
from carnet_gate.confinement.paths import real_paths

if TYPE_CHECKING:
    from carnet_gate.reporter import Reporter
    from carnet_verifier.policy.policy import Policy

WRITABLE = "CARNET_INSECURE_WRITABLE_HOME"
"""The variable by which a user goes without: for programs that need more privileges than they were started with."""


class Means(Enum):
    """What keeps builds from writing to carnet's home."""

    LANDLOCK = "landlock"
    BUBBLEWRAP = "bubblewrap"
    NONE = "none"


@value
class Protection:
    """What is in force.

    Attributes:
        means: By what.
        about: The same for people, in one line.
        lacking: Why each better one is not.
    """

    means: Means
    about: str
    lacking: tuple[str, ...] = ()


@value
class Confinement:
    """How a command is started so that it cannot write to carnet's home.

    Attributes:
        prefix: What stands before it.
        enter: What the new process does before it becomes the command; None when there is nothing to do.
        environment: More variables for it.
        descriptors: What it inherits open.
    """

    prefix: Sequence[str] = ()
    enter: Callable[[], None] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    descriptors: Sequence[int] = ()


def find_protection(home: Path, environment: Mapping[str, str]) -> Protection:
    """Find the best protection that works here.

    Args:
        home: Carnet's own folder.
        environment: The user's variables.
    """
    if environment.get(WRITABLE):
        return Protection(Means.NONE, "nothing", (f"{WRITABLE} is set",))
    if unknown := terminal.why_not():
        return Protection(Means.NONE, "nothing", (unknown,))
    version = landlock.abi()
    if version >= landlock.LEAST_ABI:
        return Protection(Means.LANDLOCK, f"Landlock, version {version}")
    lacking = [
        f"the kernel's Landlock has version {version}; {landlock.LEAST_ABI} is needed (Linux 6.2)"
        if version
        else "the kernel has no Landlock, or it is switched off"
    ]
    reason = bubblewrap.why_not(home.resolve())
    if not reason:
        return Protection(Means.BUBBLEWRAP, "bubblewrap", tuple(lacking))
    return Protection(Means.NONE, "nothing", (*lacking, reason))


def require(protection: Protection, policy: Policy, reporter: Reporter) -> None:
    """Hold to what the policy asks of a machine whose builds can write to carnet's home.

    Raises:
        PolicyRefused: It lets nothing be compiled there.
    """
    if protection.means is not Means.NONE:
        return
    from carnet_verifier.policy.rule import Action  # most machines need none of it, nor does what judges nothing
    from carnet_verifier.policy.rules.runs import read_only_home

    message = f"build scripts can write to carnet's home while cargo compiles: {'; '.join(protection.lacking)}"
    action = policy.action(read_only_home.RULE)
    if action is Action.DENY:
        raise PolicyRefused(
            f"{message} [{read_only_home.RULE.name}]",
            hint="`carnet doctor` says what works here; Linux 6.2 or bubblewrap is needed",
        )
    if action is Action.WARN:
        reporter.warn(f"{message} [{read_only_home.RULE.name}]")


class Confine(Protocol):
    """Prepares the start of one command, as `confinement` does, where what holds on this machine is known."""

    def __call__(
        self,
        outputs: Sequence[Path],
        environment: Mapping[str, str],
        *,
        writable: Sequence[Path] = (),
        makes_in: Path | None = None,
    ) -> AbstractContextManager[Confinement]:
        """Prepare it."""


@contextmanager
def confinement(
    protection: Protection,
    home: Path,
    outputs: Sequence[Path],
    environment: Mapping[str, str],
    *,
    writable: Sequence[Path] = (),
    makes_in: Path | None = None,
    deciding: Sequence[Path] = (),
) -> Iterator[Confinement]:
    """Prepare the start of one command.

    Args:
        protection: What is to be in force.
        home: Carnet's own folder.
        outputs: Where the command writes: absolute, without links; those are made that it could not make itself.
        environment: The command's.
        writable: Folders of the home that the command is to write to; they are there.
        makes_in: Where the command, which compiles nothing, makes new files: Cargo.lock, Cargo.toml. With Landlock
            nothing can in a folder above carnet's home, so where that lies in the project, it is not in force.
        deciding: More folders that it is not to write to, because what stands there decides over builds.

    Raises:
        ConfigError: It would write into carnet's home, or that lies in what it writes to.
        StorageError: The system refused.
    """
    named, home = home, home.resolve()
    for output in outputs:
        if output == home or home in output.parents or output in home.parents:
            raise ConfigError(
                f"carnet's home {home} and the target folder {output} are not apart",
                hint="set CARNET_HOME or CARGO_TARGET_DIR to another folder",
            )
    opened = [folder.resolve() for folder in writable]
    if protection.means is Means.BUBBLEWRAP:
        from tempfile import TemporaryFile  # seldom needed, and it brings much: start-up time counts

        held = [home, *(found for folder in deciding if (found := _made(folder)) is not None)]
        with TemporaryFile() as filters:
            filters.write(terminal.program())
            filters.seek(0)
            number = filters.fileno()
            yield Confinement(bubblewrap.command(held, opened, seccomp=number), descriptors=(number,))
        return
    held = [path for folder in (named, *deciding) for path in real_paths(folder)]
    hinders = makes_in is not None and any(makes_in.resolve() in path.parents for path in held)
    if protection.means is Means.NONE or hinders:
        yield Confinement()
        return
    with ExitStack() as stack:
        more = {}
        for output in outputs:
            output.mkdir(parents=True, exist_ok=True)
        temporary = Path(environment.get("TMPDIR") or "/tmp").resolve()  # noqa: S108  -- where programs look for it
        if any(temporary in path.parents for path in held):  # in which nothing new can be made
            from carnet.scratch import temporary_folder  # as above

            more["TMPDIR"] = str(stack.enter_context(temporary_folder()))
        _make_cache(environment, held)
        rules, enter = landlock.read_only(held, opened)
        stack.callback(os.close, rules)
        yield Confinement((), enter, more)


def _make_cache(environment: Mapping[str, str], held: Sequence[Path]) -> None:
    """Make the user's folder of caches where the command could not: on a new machine it is not there yet.

    Compiler caches, Go and what fetches libraries for build scripts keep theirs in it, and some fail without.
    """
    named = environment.get("XDG_CACHE_HOME", "")
    cache = Path(named if named.startswith("/") else f"{environment.get('HOME', '')}/.cache")
    if cache.is_absolute() and cache not in held and any(cache.parent.resolve() in path.parents for path in held):
        with suppress(OSError):
            cache.mkdir(mode=0o700, exist_ok=True)


def _made(folder: Path) -> Path | None:
    """A folder for a mount point; None where nobody in the confinement could make it either."""
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError:
        return None
    return folder.resolve()
