"""Taking a version down: refused to clients with the reason, not served, and kept on the disk for whoever looks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from carnet import strictjson
from carnet.cargo.let_in import write_let_in
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.cargo.takedown import MAX_REASON, Takedown, write_takedowns
from carnet.errors import ConfigError
from carnet.tuf.paths import index_path
from carnet_mirror.state.crates import index_file
from carnet_mirror.state.files import blob_path
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import WITHHELD, Store
from carnet_mirror.sync.claimed import MAINTAINERS
from carnet_mirror.writing import publish, writing
from carnet_signer.metadata.publish import Change, OnlineSigner, PublishResult


def take_down(
    store: Store, online: OnlineSigner, crate: CrateId, reason: str | None, *, now: datetime
) -> tuple[Takedown, PublishResult | None]:
    """Let clients refuse a version from their next look at the mirror on, or no longer.

    Args:
        store: The mirror, opened for writing.
        online: Signs what is published.
        crate: The version, claimed or not.
        reason: Why, for everybody; None takes the takedown back.
        now: The time.

    Returns:
        What is or was said of it, and what the publish did; None when the same was said before.

    Raises:
        ConfigError: The mirror does not have that version, or has not taken it down.
        FormatError: The reason is none.
        StorageError: Another process is writing to the mirror, or the disk failed; nothing was published.
        SigningError: The online signer refused; nothing was published.
    """
    with writing(store, online, now=now):
        stored = store.crates.version(crate)
        if stored is None or stored.id != crate:
            raise ConfigError(
                f"the mirror does not have {crate}", hint="`carnet explain` and the sparse index say which it has"
            )
        view = UnverifiedView(store)
        standing = view.taken_down([crate.name])
        said = standing.get(crate)
        if reason is None:
            if said is None:
                raise ConfigError(f"{crate} is not taken down", hint="`carnet mirror status DIR` lists what is")
            after = {one: entry for one, entry in standing.items() if one != crate}
        else:
            reason = " ".join(reason.split())
            if said is not None and said.reason == reason:
                return said, None
            said = Takedown(reason, now)
            after = standing | {crate: said}
        versions = store.crates.versions(crate.name)
        path = index_path(crate.name)
        custom = write_let_in({str(one.version): entry for one, entry in view.let_in([crate.name]).items()})
        custom |= write_takedowns({str(one.version): entry for one, entry in after.items()})
        if reason is not None:
            withhold(store, view.all_taken_down() | {crate: said})  # before clients are told, and with it in one commit
        change = Change(index_files={path: index_file(crate.name, versions)}, custom={path: custom})
        published = publish(store, online, change, now=now)
        withhold(store, UnverifiedView(store).all_taken_down())
        return said, published


def to_follow(
    store: Store, said: Iterable[tuple[CrateName, Mapping[str, Takedown]]], upstream: str
) -> dict[CrateId, str]:
    """What an upstream that is a mirror took down and this one still serves, each with the reason to give for it.

    What maintainers released here is theirs: it never was the upstream's, which may be asked for older versions alone.

    Args:
        store: The mirror.
        said: Of each crate what the upstream says; a crate may come several times.
        upstream: How the mirror remembers it.
    """
    view = UnverifiedView(store)
    found: dict[CrateId, str] = {}
    for name, versions in {name: versions for name, versions in said if versions}.items():
        down = view.taken_down([name])
        for version, why in versions.items():
            crate = CrateId(name, Version(version))
            stored = store.crates.version(crate)
            if stored is not None and stored.id == crate and stored.upstream != MAINTAINERS and crate not in down:
                reason = f"{why.reason} (as {upstream} says)"
                found[crate] = reason if len(reason) <= MAX_REASON else f"{reason[: MAX_REASON - 1]}…"
    return found


def withhold(store: Store, taken_down: dict[CrateId, Takedown]) -> None:
    """Remember, inside a change, which files are not served and why: what is signed says it of versions.

    A version that is only listed has no tarball: one that lies here under the checksum that is listed is another's.
    """
    files: strictjson.JsonObject = {}
    for crate, said in taken_down.items():
        stored = store.crates.version(crate)
        if stored is not None and (stored.is_here or store.files.published(stored.path) is None):
            files |= {stored.path: f"{crate}: {said}", blob_path(stored.line.cksum): f"{crate}: {said}"}
    store.put_setting(WITHHELD, strictjson.encode(files).decode())
