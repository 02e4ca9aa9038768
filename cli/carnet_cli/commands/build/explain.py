"""`carnet explain`: the whole chain behind one crate, and why it is let in or not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from carnet.errors import CarnetError
from carnet_cli.commands.build.verify import policy_options
from carnet_cli.commands.build.verifying import MAX_LOCK
from carnet_cli.config import home
from carnet_cli.config import settings as config
from carnet_cli.report import as_json
from carnet_cli.terminal import output
from carnet_cli.terminal.output import MessageFormat

if TYPE_CHECKING:
    from carnet.cargo.names import CrateId
    from carnet_verifier.explain import Chain, Link

_MARKS = {"ok": "✓", "failed": "✗", "not reached": "·"}


@click.command()
@click.argument("crate", metavar="NAME@VERSION")
@policy_options
@output.message_format
def command(
    crate: str,
    least_level: str | None,
    repository: str | None,
    config_file: Path | None,
    message_format: MessageFormat,
) -> int:
    """Show the whole chain behind one crate, and why it is let in or not.

    Roles, versions, signers, thresholds and expiry, from the root to the tarball. For a refused crate: which check
    failed, what was expected, what was found, and who can mend it. When the folder has a Cargo.lock that pins the
    version, its checksum is checked too. For example:

    \b
        carnet explain serde@1.0.219
    """
    from carnet.cargo.names import CrateId
    from carnet_verifier.admit import Wanted
    from carnet_verifier.explain import explain
    from carnet_verifier.tuf.view import open_view

    crate_id = CrateId.parse(crate)
    now = home.now()
    settings = config.load(Path.cwd(), now=now, file=config_file, repository=repository, least_level=least_level)
    trusted = home.choose(settings.repository)
    with open_view(trusted.directory, now=now) as view:
        wanted = Wanted(crate_id, _pinned(crate_id))
        chain = explain(view.repository, wanted, settings.policy, trusted.directory, now=now)
    failure = chain.failure
    if message_format == "json":
        output.emit_json(_chain_object(chain))
    else:
        _draw(chain, trusted.directory.url)
    return 0 if failure is None else failure.error.exit_code if failure.error is not None else 1


def _pinned(crate: CrateId) -> str | None:
    """The checksum in the lock of this folder, when it pins the version."""
    from carnet.cargo.lockfile import read_lockfile
    from carnet.durable import read_file

    try:
        lock = read_lockfile(read_file(Path("Cargo.lock"), "the lock", max_bytes=MAX_LOCK))
    except FileNotFoundError:
        return None
    return next((package.checksum for package in lock.registry_packages if package.id == crate), None)


def _draw(chain: Chain, url: str) -> None:
    admission = chain.admission
    said = f"allowed at level {admission.level}" if admission is not None else "refused"
    output.echo(f"{chain.wanted.id}: {said} ({url})")
    for link in chain.links:
        indent = "  " * link.depth
        output.echo(f"{indent}{_mark(link)} {output.plain(link.what)}")
        for fact in link.facts:
            output.echo(f"{indent}    {output.plain(fact)}")
        if link.error is not None:
            _draw_failure(link.error, link.mended_by, indent)


def _draw_failure(error: CarnetError, mended_by: str, indent: str) -> None:
    output.echo(f"{indent}    {output.plain(str(error))}")
    if error.hint:
        output.echo(f"{indent}    hint: {output.plain(error.hint)}")
    output.echo(f"{indent}    who can mend it: {mended_by}")


def _mark(link: Link) -> str:
    mark = _MARKS[link.state.value]
    return mark if _can_print(mark) else f"[{link.state.value}]"


def _can_print(mark: str) -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        mark.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _chain_object(chain: Chain) -> dict[str, Any]:
    return {
        "reason": "chain",
        "name": str(chain.wanted.id.name),
        "version": str(chain.wanted.id.version),
        "allowed": chain.admission is not None,
        "level": None if chain.admission is None else str(chain.admission.level),
        "sha256": None if chain.admission is None else chain.admission.sha256,
        "links": [
            {
                "depth": link.depth,
                "what": link.what,
                "state": link.state.value,
                "facts": list(link.facts),
                "error": None if link.error is None else as_json.error_object(link.error),
                "mended_by": link.mended_by or None,
            }
            for link in chain.links
        ],
    }
