"""`carnet claim adopt`: what appeared upstream of a claimed crate, shown to its owners and signed in by them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.cargo.names import CrateName, Version
from carnet.errors import ConfigError
from carnet_cli.commands.maintain import proposal_folders
from carnet_cli.config import home
from carnet_cli.report.adoption import AppearedReport, appeared_as_json, appeared_as_text
from carnet_cli.terminal import output
from carnet_cli.terminal.typed import typed

if TYPE_CHECKING:
    from carnet.claims.history import History, ListedVersion
    from carnet.claims.releases import Releases


def adopt(
    wanted: Sequence[str], folder: Path | None, repository: str | None, message_format: output.MessageFormat
) -> int:
    """Show what appeared upstream of a claimed crate, or make the folder that signs it in."""
    from carnet.claims.releases import Releases
    from carnet_signer.proposals import ownership
    from carnet_verifier.releases.published_versions import read_history

    name, versions = _asked(wanted)
    with proposal_folders.looking(repository) as view:
        published = ownership.read_published(view.repository, name, neighbours=False)
        if published.crate is None:
            raise ConfigError(f"{name} is not claimed", hint="claim it with `carnet claim new`, which adopts them all")
        appeared = _appeared(read_history(view.repository, name), Releases.of(name, published.crate.signed))
        if folder is None:
            report = AppearedReport(name, [one for one in appeared if not versions or one.id.version in versions])
            output.show(report, message_format, appeared_as_text, appeared_as_json)
            return 1 if report.appeared else 0
        chosen = _chosen(name, appeared, versions)
        proposal = ownership.adopt_listed(published, name, chosen, now=home.now())
    proposal_folders.made(proposal, folder, "claim")
    return 0


def _asked(wanted: Sequence[str]) -> tuple[CrateName, list[Version]]:
    """One crate, and which of its versions; none for all that appeared."""
    found: list[tuple[CrateName, Version | None]] = []
    for text in wanted:
        name, at, version = text.partition("@")
        found.append((typed(CrateName, name), typed(Version, version) if at else None))
    names = {name.canonical for name, _ in found}
    if len(names) != 1:
        raise ConfigError("a folder is about one crate", hint="name versions of one crate: NAME@VERSION NAME@VERSION")
    return found[0][0], [version for _, version in found if version is not None]


def _appeared(history: History | None, signed: Releases) -> list[ListedVersion]:
    """What the upstream lists and nobody signed, oldest first."""
    return [one for one in history or () if one.id.version not in signed.versions]


def _chosen(name: CrateName, appeared: Sequence[ListedVersion], versions: Sequence[Version]) -> list[ListedVersion]:
    known = {one.id.version: one for one in appeared}
    for version in versions:
        if version not in known:
            raise ConfigError(
                f"the mirror knows of no {name}@{version} at its upstream that is not signed already",
                hint=f"`carnet claim adopt {name}` shows what it knows of; its operator lets it look again with "
                f"`carnet mirror sync DIR --history {name}`",
            )
    if not appeared:
        raise ConfigError(
            f"everything that the mirror knows of {name} at its upstream is signed already",
            hint=f"its operator lets it look again with `carnet mirror sync DIR --history {name}`",
        )
    return [known[version] for version in dict.fromkeys(versions)] or list(appeared)
