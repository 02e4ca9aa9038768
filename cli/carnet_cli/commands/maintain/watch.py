"""`carnet watch`: which claims and takeovers wait at a mirror, for whoever wants to object in time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from carnet.cargo.names import CrateName
from carnet_cli.commands.maintain.proposal_folders import repository_option
from carnet_cli.commands.network import network_for
from carnet_cli.config import home
from carnet_cli.report.waiting import WatchReport, watch_as_json, watch_as_text
from carnet_cli.terminal import output
from carnet_cli.terminal.typed import typed


@click.command()
@click.argument("names", nargs=-1)
@click.option("--mirror", help="The mirror's base URL.  [default: that of the trusted repository]")
@repository_option
@output.message_format
def command(
    names: tuple[str, ...], mirror: str | None, repository: str | None, message_format: output.MessageFormat
) -> int:
    """Show the claims and takeovers that wait, of the crates NAMES or of all.

    Exit status 1 when one waits, 0 when none does, 3 when the mirror does not say: made for cron.

    \b
    Example:
      carnet watch serde serde_json
    """
    from carnet_mirror.web.client import pending

    wanted = {typed(CrateName, name).canonical for name in names}
    url = mirror or home.choose(repository).directory.url
    parts = pending(url, network=network_for())
    entries = [one for part in parts for one in _listed(part, url) if not wanted or one["crate"] in wanted]
    output.show(WatchReport(url, entries), message_format, watch_as_text, watch_as_json)
    return 1 if entries else 0


def _listed(answer: dict[str, Any], url: str) -> Iterator[dict[str, Any]]:
    """The entries of an answer: a list that cannot be read is no empty one."""
    from carnet.errors import TransportError

    unreadable = TransportError(f"what waits at {url} cannot be read", hint="ask the mirror's operator")
    listed = answer.get("pending")
    if not isinstance(listed, list):
        raise unreadable
    for one in listed:
        match one:
            case {"crate": str(), "kind": str(), "asked": str(), "digest": str()} if all(
                _is_team(one.get(title)) for title in ("owners", "releasers", "replaces")
            ) and _is_dropped(one.get("dropped")):
                yield one
            case _:
                raise unreadable


def _is_dropped(value: Any) -> bool:
    match value:
        case None | {"time": str(), "reason": str()}:
            return True
        case _:
            return False


def _is_team(value: Any) -> bool:
    match value:
        case None:
            return True
        case {"threshold": int(), "people": dict(people)}:
            return all(isinstance(name, str) for name in people.values())
        case _:
            return False
