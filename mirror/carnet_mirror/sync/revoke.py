"""Taking back that a version is let in although its index line is not its manifest's, before its day."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from carnet.cargo.let_in import LetIn, write_let_in
from carnet.cargo.names import CrateId
from carnet.cargo.takedown import write_takedowns
from carnet.errors import ConfigError
from carnet.tuf.paths import index_path
from carnet_mirror.state.crates import index_file
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_mirror.writing import publish, writing
from carnet_signer.metadata.publish import Change, OnlineSigner, PublishResult


def revoke(
    store: Store, online: OnlineSigner, crate: CrateId, sha256: str, reason: str, *, now: datetime
) -> tuple[LetIn, PublishResult | None]:
    """Let clients refuse a version from their next look at the mirror on.

    Args:
        store: The mirror, opened for writing.
        online: Signs what is published.
        crate: The version.
        sha256: Of its tarball, so that nobody takes back another one than they mean.
        reason: Why, for everybody.
        now: The time.

    Returns:
        What is said of it, and what the publish did; None when it was taken back before.

    Raises:
        ConfigError: The mirror does not let it in, or another tarball of it.
        FormatError: The reason is none.
        StorageError: Another process is writing to the mirror, or the disk failed; nothing was published.
        SigningError: The online signer refused; nothing was published.
    """
    with writing(store, online, now=now):
        said = UnverifiedView(store).let_in([crate.name])
        standing = said.get(crate)
        if standing is None:
            raise ConfigError(
                f"{crate} is not let in here: nothing is said of it", hint="`carnet mirror status DIR` lists what is"
            )
        if standing.sha256 != sha256:
            raise ConfigError(
                f"the tarball of {crate} that is let in has sha256 {standing.sha256}, not {sha256[:80]}",
                hint="look at which one you mean, and give its --sha256",
            )
        if standing.revoked is not None:
            return standing, None
        taken_back = replace(standing, reason=" ".join(reason.split()), revoked=now)
        versions = store.crates.versions(crate.name)
        path = index_path(crate.name)
        listed = {str(one.version): entry for one, entry in {**said, crate: taken_back}.items()}
        down = {str(one.version): entry for one, entry in UnverifiedView(store).taken_down([crate.name]).items()}
        custom = write_let_in(listed) | write_takedowns(down)
        change = Change(index_files={path: index_file(crate.name, versions)}, custom={path: custom})
        return taken_back, publish(store, online, change, now=now)
