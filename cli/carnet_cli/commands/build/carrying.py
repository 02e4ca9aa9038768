"""`carnet verify --update-memory`: what was seen, written beside the lock for machines that have seen nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from carnet import durable
from carnet.errors import ConfigError
from carnet_cli.commands.build.repository import MEMORY
from carnet_cli.config import home
from carnet_verifier.memory.carried import updated
from carnet_verifier.whole_lock import wanted_in

if TYPE_CHECKING:
    from carnet.cargo.lockfile import Lockfile
    from carnet_cli.config.home import Trusted
    from carnet_verifier.tuf.repository import TrustedRepository


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
        ConfigError: There is one that is about another repository.
        StorageError: The disk failed, or is full.
    """
    place, carried = folder / MEMORY, trusted.directory.carried
    if carried is not None and not carried.applies:
        raise ConfigError(
            f"{place} is about another repository than {trusted.directory.url}, and is not replaced",
            hint="name its repository with --repository, or remove the file to begin anew",
        )
    names = list({item.id.name.canonical: item.id.name for item in wanted_in(lock)}.values())
    claims = {
        name: claim for name, claim in repository.claims(names).items() if claim is not None and not claim.takeover
    }
    before = None if carried is None else carried.lock
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
