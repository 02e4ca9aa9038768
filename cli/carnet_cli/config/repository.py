"""The repository that a build is judged by, as a policy has it, and as the project that is built remembers it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from carnet.errors import ConfigError, FormatError, PolicyRefused, RollbackDetected
from carnet_cli.config import home
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet.cargo.lockfile import Lockfile
    from carnet_cli.config.home import Trusted
    from carnet_cli.config.settings import Settings
    from carnet_verifier.policy.rule import Rule
    from carnet_verifier.tuf.repository import TrustedRepository

MEMORY = "carnet.lock"
"""What a project carries beside its lock: `carnet_verifier.memory.carnet_lock`."""

_WRITE = "run `carnet verify --update-memory` where the lock is known to be good, and commit carnet.lock"
_EARLIER = "name a carnet.lock, as `git show BRANCH:carnet.lock > FILE` writes that of a branch"
_ELSEWHERE = "name its repository with --repository, or begin it anew with `carnet verify --update-memory`"


def judging_repository(settings: Settings, folder: Path | None = None, *, joining: bool = False) -> Trusted:
    """Open the trusted repository that the settings name, with what the project carries of it.

    When what is seen of it cannot be remembered, that is said.

    Args:
        settings: What is asked.
        folder: Where the lock is, and the `carnet.lock` beside it; None when no project is looked at.
        joining: Whether it is to be written anew: both sides of a merge in it are then joined, and neither its absence
            nor another repository's file stands in the way.

    Raises:
        PolicyRefused: Nothing is remembered, and the policy forbids that.
        ConfigError: It is not clear which one is meant, none is trusted, or a `carnet.lock` does not parse.
        StorageError: What is remembered is damaged.
    """
    trusted = home.choose(settings.repository, may_choose=settings.may_choose)
    if not trusted.is_lasting:
        from carnet_verifier.policy.rules.runs import unremembered

        message = f"{home.home()} cannot be written: what this run sees is not remembered"
        hint = "let carnet keep its memory: set CARNET_HOME to a folder of your own"
        _broken(settings, unremembered.RULE, message, hint)
    if folder is not None:
        _carry(trusted, settings, folder / MEMORY, joining=joining)
    return trusted


def write_memory(folder: Path, lock: Lockfile, trusted: Trusted, repository: TrustedRepository) -> str:
    """Write what was seen of a lock that was let in, if it is more than what is written there.

    Args:
        folder: Where the lock is.
        lock: Whose crates were let in.
        trusted: The repository, with what was carried so far.
        repository: Its verified view.

    Returns:
        What was done, in words.

    Raises:
        StorageError: The disk failed, or is full.
    """
    from carnet import durable
    from carnet_verifier.memory.carried import updated
    from carnet_verifier.whole_lock import wanted_in

    place, carried = folder / MEMORY, trusted.directory.carried
    names = list({item.id.name.canonical: item.id.name for item in wanted_in(lock)}.values())
    claims = {
        name: claim for name, claim in repository.claims(names).items() if claim is not None and not claim.takeover
    }
    before = carried.lock if carried is not None and carried.applies else None
    made = updated(
        before,
        repository.trusted,
        home.fingerprint(trusted.directory.pinned),
        claims,
        trusted.directory.highest_levels(claims),
    )
    data = made.to_bytes()
    if before is not None and place.read_bytes() == data:
        return f"{place} says all that was seen: nothing was written"
    durable.write_file(place, data)
    return f"wrote {place}: {len(made.crates)} claimed crates, snapshot {made.snapshot.version}"


def check_memory(trusted: Trusted, earlier: Path) -> None:
    """Demand that the project's `carnet.lock` says no less than an earlier one, so that nobody makes it forget.

    Args:
        trusted: The repository, with what was carried.
        earlier: The file that it is compared with.

    Raises:
        RollbackDetected: It says less, or there is none.
        ConfigError: One of the two does not parse, they are about two repositories, or contradict one another.
    """
    from carnet.durable import read_named_file, users_file
    from carnet_verifier.memory.carnet_lock import MAX_FILE, CarnetLock

    data = read_named_file(earlier, MEMORY, max_bytes=MAX_FILE)
    with users_file(earlier, MEMORY):
        try:
            named = str(earlier) if earlier.name == MEMORY else f"{earlier}: {MEMORY}"
            before = CarnetLock.from_bytes(data, named)
        except FormatError as error:  # whose hint is about the project's own: to remove it, among others
            raise FormatError(str(error), hint=_EARLIER) from None
        if trusted.directory.carried is None:
            raise RollbackDetected(f"there is no {MEMORY} beside the lock, and {earlier} is one", hint=_WRITE)
        trusted.directory.carried.lock.check_no_less_than(before, str(earlier))


def _carry(trusted: Trusted, settings: Settings, file: Path, *, joining: bool) -> None:
    """Let what a project carries count for this run."""
    from carnet_verifier.policy.rules.runs import no_memory

    if not file.exists() and not file.is_symlink():
        if not joining:
            _broken(settings, no_memory.RULE, f"there is no {MEMORY} beside the lock", _WRITE)
        return
    if file.is_symlink() or not file.is_file():
        # A link would let a project name any file of the machine, and change what it names where git does not look.
        raise ConfigError(
            f"{file} is not a file but a link, a folder or a device: what a project remembers has to lie in it",
            hint="put the file itself there; `git log carnet.lock` says who changed that",
        )
    from carnet.durable import read_named_file, users_file
    from carnet_verifier.memory.carnet_lock import MAX_FILE, CarnetLock
    from carnet_verifier.memory.carried import Carried

    data = read_named_file(file, MEMORY, max_bytes=MAX_FILE)
    with users_file(file, MEMORY):
        read = CarnetLock.from_merge if joining else CarnetLock.from_bytes
        lock = read(data, str(file))

    def elsewhere() -> None:
        message = f"{file} is about another repository ({lock.repository[:16]}...) than {trusted.directory.url}"
        if joining:  # what satisfies the rule has to be possible; git still has what the file said
            output.warn(f"{message}: it is begun anew")
            return
        message = f"{message}: it is left out"
        if not _broken(settings, no_memory.RULE, message, _ELSEWHERE):
            output.warn(message)

    trusted.directory.carried = Carried(lock, elsewhere)


def _broken(settings: Settings, rule: Rule, message: str, hint: str) -> bool:
    """Do what the policy says of a run that breaks a rule; whether that was said."""
    from carnet_verifier.policy.rule import Action

    action = settings.policy.action(rule)
    if action is Action.DENY:
        raise PolicyRefused(f"{message} [{rule.name}]", hint=hint, decided_by=settings.policy.who_says(rule))
    if action is Action.WARN:
        output.warn(f"{message} [{rule.name}]")
    return action is Action.WARN
