"""What a sync would do, by the upstream's index alone: nothing is fetched, signed or changed.

An index line is held against the lock and against what the mirror has, as in a sync. What only the tarball shows (its
checksum, what the strict reader refuses, a manifest that its line does not match) is not known before one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from carnet.cargo.lockfile import LockedPackage
from carnet.errors import VerificationError
from carnet.scratch import temporary_folder
from carnet_mirror.state.store import Store
from carnet_mirror.sync.claimed import not_claimed, why_unsigned
from carnet_mirror.sync.merge import Examined, Merge, Missed
from carnet_mirror.sync.outcome import Refused, SyncReport
from carnet_mirror.sync.sync import look_at_claimed, pubtime
from carnet_mirror.sync.takedown import to_follow
from carnet_mirror.upstream.packages import IndexedUpstream, Listing, UpstreamIndex

_NO_TARBALL = Path()


def plan(store: Store, upstream: IndexedUpstream, packages: Sequence[LockedPackage], *, now: datetime) -> SyncReport:
    """Find out what `carnet_mirror.sync.sync.sync` would do with these packages.

    Args:
        store: The mirror; it is only read.
        upstream: Whose index is asked.
        packages: The lock's packages of the registry that this mirror stands for.
        now: The time; the publication time of versions whose real one is not known.

    Returns:
        What would be added, updated, kept and refused; nothing is published.

    Raises:
        TransportError: The upstream said nothing at all.
        ConfigError: The upstream cannot be used as it is configured.
        StorageError: The disk failed.
    """
    asked = not_claimed(store, packages)
    wanted, refused = asked.wanted, list(asked.refused)
    names = list(dict.fromkeys(package.id.name for package in wanted))
    with temporary_folder() as scratch:
        index = upstream.index(names, scratch) if names else {}
    looked = look_at_claimed(store, upstream, {crate.name for crate in asked.unsigned})
    examined: list[Examined] = []
    missed: list[Missed] = []
    for package in wanted:
        try:
            found = _listed(package, index[package.id.name])
        except VerificationError as error:
            refused.append(Refused(package.id, str(error)))
            continue
        if isinstance(found, Missed):
            missed.append(found)
        else:
            examined.append(found)
    merge = Merge(store, upstream.name, pubtime(now))
    merge.take(examined)
    merge.miss(missed)
    listed = {name: said.chunks for name, said in index.items() if said.chunks}
    merge.follow_upstream(listed)
    merge.hear(listed | looked)
    refused += [why_unsigned(crate, merge.appeared) for crate in asked.unsigned]
    down = to_follow(store, ((name, said.taken_down) for name, said in index.items()), upstream.name)
    return replace(merge.report(asked.here, refused), taken_down=tuple(sorted(down)))


def _listed(package: LockedPackage, said: UpstreamIndex) -> Examined | Missed:
    """What an upstream's index says of one package.

    Raises:
        VerificationError: It is of another tarball than the lock's.
    """
    version = str(package.id.version)
    listing = Listing(said.chunks, package.id.name, {version}, said.silence)
    line = listing.lines.get(version)
    if line is None:
        heard = said.absent or (listing.heard and not listing.unread(version))
        return Missed(package, listing.missing(version), has_none=said.absent, heard=heard)
    if package.checksum not in (None, line.cksum):
        raise VerificationError(f"the upstream's index says sha256 {line.cksum}, the lock demands {package.checksum}")
    return Examined(line, _NO_TARBALL, 0)
