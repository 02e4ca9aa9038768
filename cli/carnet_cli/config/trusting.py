"""Which repositories a user trusts, as that changes: added, moved to another address, forgotten.

A repository is known by its root of trust. So the same root again is nothing new, a known root at a new address is a
move, which keeps what was seen, and only who forgets a repository forgets that.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from carnet import durable
from carnet.errors import CarnetError, ConfigError, ExpiredMetadata, StorageError, TransportError
from carnet.lock import locked
from carnet.tuf.example_keys import refuse_example_keys
from carnet.tuf.roles import Root
from carnet_cli.config import home
from carnet_cli.config.home import Trusted
from carnet_cli.config.settings import run_bounds
from carnet_verifier.cargo.localregistry import remove_tree
from carnet_verifier.memory.trust import TrustDirectory, read_pinned
from carnet_verifier.net.address import repository_url
from carnet_verifier.net.budget import Budget
from carnet_verifier.net.fetch import HttpFetcher
from carnet_verifier.net.route import Network
from carnet_verifier.tuf.refresh import read_repository, refresh


@dataclass(frozen=True)
class Pinned:
    """A root that a user chose to trust.

    Attributes:
        data: Its file, byte for byte.
        root: What it says.
        fingerprint: The sha256 of the file, in hex.
    """

    data: bytes
    root: Root
    fingerprint: str


def read_root(file: Path, *, fingerprint: str | None, insecure_example_keys: bool) -> Pinned:
    """Read a root file that somebody got by a way they trust.

    Args:
        file: Where it is.
        fingerprint: What its sha256 has to be, or None.
        insecure_example_keys: Whether keys are taken that everybody has.

    Raises:
        ConfigError: It is no root, or not the one that is meant.
        SigningError: It names keys that everybody has.
    """
    data = durable.read_named_file(file, "root file", max_bytes=Root.MAX_BYTES)
    found = home.fingerprint(data)
    if fingerprint is not None and fingerprint.lower() != found:
        digits = fingerprint.lower().rstrip(".\N{HORIZONTAL ELLIPSIS}")
        if digits and digits != found and found.startswith(digits):
            raise ConfigError(
                f"the fingerprint that you gave is cut off: it has {len(digits)} of {len(found)} digits",
                hint="give all of them, from whoever vouches for this root; anybody can make a root with the same "
                "beginning",
            )
        raise ConfigError(
            f"{file} has the fingerprint {found}, not the one that you gave",
            hint="do not trust it; ask the operator for the right file",
        )
    with durable.users_file(file, "root file"):
        root = read_pinned(data)
    refuse_example_keys((key for role in root.roles.values() for key in role.keys), allow=insecure_example_keys)
    return Pinned(data, root, found)


def add(pinned: Pinned, url: str, *, network: Network | None, now: datetime) -> tuple[Trusted, bool]:
    """Trust a repository, unless it is trusted already.

    Args:
        pinned: The root to start from.
        url: Where the repository is.
        network: How the repository is asked whether it is the one of that root: nothing changes when it is not. None:
            it is not asked.
        now: The time.

    Returns:
        The repository, and whether it is new.

    Raises:
        ConfigError: The URL is none, the root cannot be trusted, or it is trusted at another address.
        TransportError: The repository could not be asked.
        CarnetError: What it answered is not what the root vouches for.
    """
    url = repository_url(url)
    known = _known(pinned, url, network, now)
    if known is not None:
        return known, False
    if network is not None:
        with _asked(url), HttpFetcher(url, network=network, budget=Budget(run_bounds(now))) as fetcher:
            read_repository(pinned.data, fetcher, now=now)
    with _adding() as place:
        known = _known(pinned, url, network, now)  # jobs of one CI may share this home, and all begin with this
        if known is not None:
            return known, False
        TrustDirectory.create(place, pinned.data, url)
        trust_id = pinned.fingerprint[:16]
        with durable.as_storage_error(home.trust_path(trust_id)):
            place.rename(home.trust_path(trust_id))  # one step: nobody looks at half of it
    return home.open_trusted(trust_id), True


def move(trusted: Trusted, url: str, *, network: Network | None, now: datetime) -> str:
    """Go on with a trusted repository at another address. What was seen of it is kept, and holds there too.

    Args:
        trusted: The repository.
        url: Where it is from now on.
        network: How the new address is asked whether the repository is there, and no older than it was seen. None:
            it is not asked.
        now: The time.

    Returns:
        Where it was.

    Raises:
        ConfigError: The URL is none, or another trusted repository is there.
        TransportError: The new address could not be asked.
        CarnetError: The repository is not there.
    """
    url = repository_url(url)
    for other in _all():
        if other.id != trusted.id and repository_url(other.directory.url) == url:
            raise ConfigError(
                f"{url} is trusted already, as another repository ({other.id})",
                hint=f"`carnet trust remove {other.id}` forgets that one, and all that was seen there",
            )
    before = trusted.directory.url
    if network is not None:
        with _asked(url), HttpFetcher(url, network=network, budget=Budget(run_bounds(now))) as fetcher:
            _ = refresh(trusted.directory, fetcher, now=now).targets
    trusted.directory.move(url)
    return before


@dataclass(frozen=True)
class Forgotten:
    """What goes with a trusted repository that is removed.

    Attributes:
        id: How carnet calls it.
        url: Where it was.
        refreshed: When it was refreshed last; None if never.
        crates: Of how many crates the level or the owners were remembered.
        bytes: Size of the tarballs and unpacked sources that are kept for cargo.
    """

    id: str
    url: str
    refreshed: datetime | None
    crates: int
    bytes: int


def what_goes_with(trusted: Trusted) -> Forgotten:
    """What would be forgotten with a repository."""
    directory = trusted.directory
    kept = trusted.cargo.rglob("*") if trusted.cargo.is_dir() else ()
    size = sum(path.lstat().st_size for path in kept if path.is_file() and not path.is_symlink())
    return Forgotten(trusted.id, directory.url, directory.last_refresh(), directory.count_of_crates(), size)


def remove(trusted: Trusted) -> None:
    """Forget a repository: its root, what was seen of it, and what is kept of it for cargo.

    A run that ends in the middle leaves it trusted, or gone.

    Raises:
        StorageError: The disk failed.
    """
    bin_ = durable.private_folder(home.make() / "removed")
    place = bin_ / secrets.token_hex(8)
    with trusted.directory.locked(), durable.as_storage_error(place):
        trusted.directory.path.rename(place)  # one step: never half of a memory
    for folder in (trusted.cargo, bin_):
        if folder.is_dir():
            remove_tree(folder)


def _known(pinned: Pinned, url: str, network: Network | None, now: datetime) -> Trusted | None:
    """The repository of a root and URL, where it is trusted already; raises where one of the two is another's."""
    for trusted in _all():
        same_place = repository_url(trusted.directory.url) == url
        if trusted.id == pinned.fingerprint[:16] or trusted.directory.root == pinned.data:
            if same_place:
                return trusted
            raise ConfigError(
                f"this root is trusted already, at {trusted.directory.url}",
                hint=f"`carnet trust move {url} --repository {trusted.id}` keeps what was seen there",
            )
        if same_place:
            if network is not None and _is_ahead_of(pinned, trusted, network, now):
                return trusted
            raise ConfigError(
                f"{url} is trusted already, from another root on ({trusted.id})",
                hint=f"if that is over, `carnet trust remove {trusted.id}` forgets it, and all that was seen there",
            )
    return None


@contextmanager
def _adding() -> Iterator[Path]:
    """Where a trust directory is made that nobody sees yet; one process at a time is in there."""
    folder = home.make()
    lock = folder / "trust.lock"
    busy = StorageError(f"another carnet process has held {lock} for a minute", hint="wait for it, or end it")
    with locked(lock, timeout=60, busy=busy):
        durable.private_folder(folder / "trust")
        made = durable.private_folder(folder / "added")
        try:
            yield made / secrets.token_hex(8)
        finally:
            remove_tree(made)  # with what processes that were ended have left


def _all() -> Iterator[Trusted]:
    return map(home.open_trusted, home.trusted_ids())


def _is_ahead_of(pinned: Pinned, trusted: Trusted, network: Network, now: datetime) -> bool:
    """Whether a root leads to the same repository as one that is trusted: an earlier or a later one of its chain."""
    with HttpFetcher(trusted.directory.url, network=network, budget=Budget(run_bounds(now))) as fetcher:
        seen = refresh(trusted.directory, fetcher, now=now).trusted.root.signed
        try:
            return read_repository(pinned.data, fetcher, now=now).trusted.root.signed == seen
        except TransportError:
            raise
        except CarnetError:
            return False


@contextmanager
def _asked(url: str) -> Iterator[None]:
    """Say of every failure what it means here: nothing was changed."""
    try:
        yield
    except TransportError as error:
        if error.absent and not error.hint:
            error.hint = "no mirror of carnet's answers there: ask its operator for the address"
        error.hint = f"{error.hint}; " * bool(error.hint) + (
            "nothing was changed; `--offline` does it without asking the mirror"
        )
        raise
    except ExpiredMetadata as error:
        error.hint = f"nothing was changed: {url} is out of date; its operator has to look at it"
        raise
    except CarnetError as error:
        error.hint = (
            f"nothing was changed: either {url} is not the repository of this root, or somebody stands between you and "
            "it; ask its operator for the address and the root file"
        )
        raise
