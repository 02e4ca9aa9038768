"""A lock as a whole: what is asked of the registry for it, and what is to be said of a lock that asks for nothing."""

from __future__ import annotations

from carnet.cargo.lockfile import LockedPackage, Lockfile, SourceKind
from carnet.cargo.names import CrateId
from carnet.errors import PolicyRefused
from carnet_verifier.outcomes import Wanted
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action
from carnet_verifier.policy.rules.runs import empty_lock


def wanted_in(lock: Lockfile) -> list[Wanted]:
    """Every crate that a lock takes from crates-io, in its order."""
    return [wanted_as(package) for package in lock.registry_packages]


def wanted_as(package: LockedPackage) -> Wanted:
    """One crate, as a lock asks for it."""
    return Wanted(package.id, package.checksum, locked=True)


def packages_named(lock: Lockfile, crate: CrateId) -> tuple[LockedPackage, ...]:
    """Everything that a lock has by one name and version: each source of it is another package."""
    return tuple(package for package in lock.packages if package.id == crate)


def remarks_on(lock: Lockfile, policy: Policy, what: str) -> tuple[str, ...]:
    """What is to be said of a lock of which nothing, or nothing but the project's own code, could be checked.

    Args:
        lock: Cargo's.
        policy: What is asked.
        what: Its path, for messages.

    Returns:
        A line each; nothing, mostly.

    Raises:
        PolicyRefused: It names no package, and the rule `empty-lock` denies that.
    """
    if not lock.packages and not lock.nameless:
        action = policy.action(empty_lock.RULE)
        message = f"{what} names no package at all: nothing was checked [{empty_lock.RULE.name}]"
        if action is Action.DENY:
            raise PolicyRefused(
                message,
                hint="cargo lists at least the project itself: have it write the lock (`cargo generate-lockfile`)",
                decided_by=policy.who_says(empty_lock.RULE),
            )
        return (message,) if action is Action.WARN else ()
    if all(package.kind is SourceKind.PATH for package in lock.packages):
        return (f"{what} names the project's own packages alone: there was nothing to check",)
    return ()
