"""The public API: trust a repository, open it, verify a lock, explain a crate. `__all__` is what stays as it is.

    with open_repository(directory, now=datetime.now(UTC)) as repository:
        verified = verify_lock(repository, Path("Cargo.lock"), Policy())

It decides nothing by itself: `carnet verify` and `carnet explain` go the same way (`carnet_verifier.admit`,
`carnet_verifier.explain`), and come to the same answers. docs/api.md has a complete example.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from carnet.cargo.lockfile import MAX_LOCK, Lockfile, SourceKind, read_lockfile
from carnet.cargo.names import CrateId
from carnet.durable import read_file
from carnet.errors import (
    CarnetError,
    ConfigError,
    FormatError,
    LockRefused,
    MetadataError,
    PolicyRefused,
    StorageError,
    TransportError,
    VerificationError,
)
from carnet.level import Level
from carnet.made import made_by, maker
from carnet.tuf.example_keys import refuse_example_keys
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Root
from carnet.value import field, value
from carnet_verifier.admit import admit_all
from carnet_verifier.explain import Chain, ChainLink, State
from carnet_verifier.explain import explain as _explain
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.fetch import Fetcher, HttpFetcher
from carnet_verifier.outcomes import Admission, Wanted
from carnet_verifier.policy import rules as _rules
from carnet_verifier.policy.floor import Tightened, tighten
from carnet_verifier.policy.foreign import foreign_verdicts
from carnet_verifier.policy.policy import Ban, Demand, Excuse, Pattern, Policy
from carnet_verifier.policy.rule import Action, Rule, Setting
from carnet_verifier.policy.verdict import Finding, Verdict
from carnet_verifier.tuf.refresh import refresh
from carnet_verifier.tuf.repository import TrustedRepository
from carnet_verifier.tuf.view import open_view
from carnet_verifier.whole_lock import remarks_on, wanted_in

__all__ = [
    "Action",
    "Admission",
    "Ban",
    "CarnetError",
    "Chain",
    "ChainLink",
    "ConfigError",
    "CrateId",
    "Demand",
    "Excuse",
    "Fetcher",
    "Finding",
    "FormatError",
    "HttpFetcher",
    "Level",
    "LockRefused",
    "MetadataError",
    "Pattern",
    "Policy",
    "PolicyRefused",
    "Repository",
    "Rule",
    "Setting",
    "State",
    "StorageError",
    "Tightened",
    "TransportError",
    "Verdict",
    "VerificationError",
    "VerifiedLock",
    "explain",
    "open_repository",
    "rule",
    "setting",
    "tighten",
    "trust",
    "verify_lock",
]


@made_by("open_repository")
@value(eq=False)
class Repository:
    """A trusted repository, verified at one time, open for as long as the block that asked for it.

    `open_repository` makes it. Its fields are nobody's but this module's.
    """

    _view: TrustedRepository = field(repr=False)
    _memory: TrustDirectory = field(repr=False)

    @property
    def url(self) -> str:
        """The base URL, as it is trusted."""
        return self._memory.url

    @property
    def now(self) -> datetime:
        """The time that it was verified at, which is the time of every check in it."""
        return self._view.now

    @property
    def version(self) -> int:
        """The version of the snapshot: it grows with each publication."""
        return self._view.trusted.snapshot.signed.version

    @property
    def expires(self) -> datetime:
        """When this view ends: the earliest expiry among root, timestamp, snapshot and targets."""
        return self._view.expires


@made_by("verify_lock")
@value
class VerifiedLock:
    """Evidence that a whole lock may be built, and what it rests on.

    Attributes:
        admissions: Of every package from crates.io, in the order of the lock; warnings are in their verdicts.
        foreign: Of every package from git or another registry. No signed metadata vouches for these: the policy lets
            them in.
        own: Those of the workspace itself and of path dependencies, which are the builder's own and were not looked at.
        remarks: What is to be said of a lock that names nothing to check, a line each.
    """

    admissions: tuple[Admission, ...]
    foreign: tuple[Verdict, ...]
    own: tuple[CrateId, ...]
    remarks: tuple[str, ...] = ()


_repository, _verified_lock = maker(Repository), maker(VerifiedLock)


# --- a repository ---


def trust(directory: Path, root: bytes, url: str) -> None:
    """Trust a repository from a root on, and remember it in a directory. Nothing is fetched.

    Args:
        directory: Where to remember: the root, the newest metadata, what was seen of each crate. It must not hold a
            trusted repository yet.
        root: The root file. Everything else is checked against it: get it by a way that you trust, never from the
            repository alone.
        url: The repository's base URL.

    Raises:
        ConfigError: The directory trusts a repository already, the root is none or is not signed by its own threshold,
            or the URL is none.
        SigningError: A key of the root is one of the example keys that are published with this project.
        StorageError: The disk failed.
    """
    with HttpFetcher(url):  # refuses what is no URL, and connects to nothing
        pass
    try:
        roles = parse_role(root, Root).signed.roles.values()
    except FormatError as error:
        raise ConfigError(f"this root cannot be trusted: {error}", hint=error.hint) from error
    refuse_example_keys(key for role in roles for key in role.keys)
    TrustDirectory.create(directory, root, url)


@contextmanager
def open_repository(directory: Path, *, now: datetime, fetcher: Fetcher | None = None) -> Iterator[Repository]:
    """Refresh a trusted repository, and look at it while the block runs.

    Args:
        directory: Where it is remembered: what `trust` made, or `carnet trust add`.
        now: The fixed time of every check, with a time zone: `datetime.now(UTC)`.
        fetcher: Where its files come from; over HTTP from the URL that is trusted, when None. What it returns is
            checked all the same.

    Returns:
        The repository; connections that were made for it are closed with the block.

    Raises:
        ConfigError: The directory trusts no repository, or `now` has no time zone.
        MetadataError: A check failed: nothing newer than what was verified so far is remembered.
        FormatError: A file does not parse.
        TransportError: A file could not be fetched; nothing was decided.
        StorageError: What is remembered is damaged, the disk failed, or another process holds it.
    """
    if now.utcoffset() is None:
        raise ConfigError("`now` has no time zone", hint="pass datetime.now(UTC)")
    memory = TrustDirectory.open(directory)
    if fetcher is not None:
        yield _repository(refresh(memory, fetcher, now=now), memory)
        return
    with open_view(memory, now=now) as view:
        yield _repository(view.repository, memory)


# --- a lock, a crate ---


def verify_lock(repository: Repository, lock: Path | bytes, policy: Policy) -> VerifiedLock:
    """Verify every package of a lock, as `carnet verify` does. What is remembered of its crates is brought up to date.

    Args:
        repository: Opened by `open_repository`.
        lock: A `Cargo.lock`, or what is in one.
        policy: What the build asks; `Policy()` holds the defaults.

    Returns:
        The evidence, of all of it.

    Raises:
        LockRefused: Packages are refused; it says which, and why each.
        PolicyRefused: The lock names no package, and the policy denies that.
        FormatError: It is no lock.
        ConfigError: There is no such file.
        MetadataError: The repository itself failed a check.
        TransportError: A file could not be fetched; nothing was decided.
        StorageError: What is remembered is damaged, or the disk failed.
    """
    parsed = _read_lock(lock)
    remarks = remarks_on(parsed, policy, "the lock" if isinstance(lock, bytes) else str(lock))
    admissions: list[Admission] = []
    refusals: list[tuple[CrateId, CarnetError]] = []
    wanted = wanted_in(parsed)
    view, memory = repository._view, repository._memory
    for outcome in admit_all(view, wanted, policy, memory, now=view.now, cache=memory.index_files):
        if isinstance(outcome.result, Admission):
            admissions.append(outcome.result)
        else:
            refusals.append((outcome.wanted.id, outcome.result))
    foreign = foreign_verdicts(parsed, policy, now=view.now)
    for verdict in foreign:
        try:
            verdict.require()
        except PolicyRefused as error:
            refusals.append((verdict.crate, error))
    if refusals:
        raise LockRefused(refusals, of=len(wanted) + len(foreign))
    own = tuple(package.id for package in parsed.of_kind(SourceKind.PATH))
    return _verified_lock(tuple(admissions), foreign, own, remarks)


def _read_lock(lock: Path | bytes) -> Lockfile:
    if isinstance(lock, bytes):
        return read_lockfile(lock)
    try:
        return read_lockfile(read_file(lock, "the lock", max_bytes=MAX_LOCK), str(lock))
    except FileNotFoundError:
        raise ConfigError(f"{lock} does not exist", hint="name a Cargo.lock") from None


def explain(repository: Repository, crate: CrateId, policy: Policy, *, checksum: str | None = None) -> Chain:
    """Walk the whole chain behind one crate, link by link, as `carnet explain` does.

    It is for people to read: a crate that is refused has a chain as well, with the link that failed.

    Args:
        repository: Opened by `open_repository`.
        crate: Which one, such as `CrateId.parse("serde@1.0.219")`.
        policy: What the build asks.
        checksum: The sha256 that a lock pins, in hex; None when none does.

    Returns:
        The chain. `Chain.admission` is the evidence, and None when the crate is not let in: `Chain.failure` says why,
        which may be that a file could not be fetched.

    Raises:
        StorageError: What is remembered is damaged, or the disk failed.
    """
    return _explain(repository._view, Wanted(crate, checksum), policy, repository._memory, now=repository.now)


# --- what a policy may ask ---


def rule(name: str) -> Rule:
    """Find a rule, for `Policy.rules` and `Excuse.rule`.

    Args:
        name: As `carnet.toml` has it, such as `yanked`; docs/build-systems.md lists them.

    Raises:
        FormatError: There is no such rule.
    """
    return _rules.named(name)


def setting(name: str) -> Setting[Any]:
    """Find a setting, for `Policy.settings` and `Demand.settings`.

    Args:
        name: As `carnet.toml` has it, such as `least-level`; docs/build-systems.md lists them.

    Raises:
        FormatError: There is no such setting.
    """
    known: tuple[Setting[Any], ...] = _rules.settings()
    for one in known:
        if one.name == name:
            return one
    listed = ", ".join(sorted(one.name for one in known))
    raise FormatError(f"{name[:40]!a} is not a setting", hint=f"the settings are {listed}")
