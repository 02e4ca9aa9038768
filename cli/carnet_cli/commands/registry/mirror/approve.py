"""`carnet mirror approve`: what clients asked for and a person has to sign off, and bringing it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet.errors import ConfigError
from carnet_cli.commands.registry.mirror.checks import DIRECTORY
from carnet_cli.config import home
from carnet_cli.report.registry.approvals import AwaitedReport, awaited_as_json, awaited_as_text
from carnet_cli.report.registry.synced import SyncedReport, synced_as_json, synced_as_text
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options

if TYPE_CHECKING:
    from carnet.cargo.asked import AskedFor


@click.command()
@DIRECTORY
@click.argument("wanted", nargs=-1, metavar="[NAME[@REQUIREMENT]]...")
@click.option("--drop", is_flag=True, help="Take these off the list, and bring nothing.")
@click.option("--cargo", envvar="CARGO", default="cargo", show_default=True, help="The cargo that fetches.")
@passphrase_options
@output.message_format
def approve(
    directory: Path,
    wanted: tuple[str, ...],
    *,
    drop: bool,
    cargo: str,
    passphrase: PassphraseSource,
    message_format: output.MessageFormat,
) -> int:
    """Show what clients asked for and `approve` in mirror.toml keeps back; or bring some of it.

    What is approved comes with all that it depends on, by the other rules of mirror.toml: what they deny or find too
    young is not brought. Others who ask for it then find it there.

    \b
    Example:
      carnet mirror approve /srv/carnet
      carnet mirror approve /srv/carnet acme-parser@1 'acme-lexer@>=2, <3'
      carnet mirror approve /srv/carnet acme-nonsense --drop
    """
    from carnet.cargo.asked import AskedFor
    from carnet_mirror.state.approvals import awaited, no_longer
    from carnet_mirror.state.store import Store

    asked = [AskedFor.parse(text) for text in wanted]
    if not asked:
        if drop:
            raise ConfigError("nothing is named that could be dropped", hint="name it as the list does: NAME@REQ")
        with Store.open(directory) as store:
            report = AwaitedReport(directory, awaited(store))
        output.show(report, message_format, awaited_as_text, awaited_as_json)
        return 0
    if drop:
        with Store.open(directory, write=True) as store:
            no_longer(store, asked)
            report = AwaitedReport(directory, awaited(store))
        output.show(report, message_format, awaited_as_text, awaited_as_json)
        return 0
    synced = _bring(directory, asked, cargo, passphrase)
    output.show(synced, message_format, synced_as_text, synced_as_json)
    return 1 if synced.refused else 3 if synced.undecided else 0


def _bring(directory: Path, asked: Sequence[AskedFor], cargo: str, passphrase: PassphraseSource) -> SyncedReport:
    from carnet_cli.commands.registry.mirror.upstreams import Sources
    from carnet_cli.commands.registry.online_signer import OnlineSettings, online
    from carnet_cli.config.mirror_file import FILE_NAME, read_mirror_file
    from carnet_mirror.state.approvals import no_longer
    from carnet_mirror.state.store import Store
    from carnet_mirror.sync.closure import Taking, close
    from carnet_mirror.sync.sync import sync
    from carnet_mirror.upstream.stopping import never

    settings, now = read_mirror_file(directory), home.now()
    said = settings.pull
    if said is None:
        raise ConfigError(
            f"{directory / FILE_NAME} does not say what is brought",
            hint="`carnet mirror sync DIR NAME@REQUIREMENT` brings it without",
        )
    rules = said.rules.signed_off()
    source = Sources(directory, settings.upstreams, cargo, said.quotas.seconds).make(said.upstream)(never)
    with Store.open(directory, write=True, rules=settings.disk) as store:
        with online(directory, OnlineSettings.of(store), passphrase) as signer:
            taking = Taking(rules.why_no_crate, lambda line: rules.why_no_version(line, now))
            closed = close(store, source, asked, taking=taking)
            report = sync(
                store,
                signer,
                source,
                closed.packages,
                now=now,
                progress=output.counting,
                require=lambda line: rules.require(line, now),
            )
        left = {one.asked for one in closed.missing}
        no_longer(store, [one for one in asked if one not in left])
        crates, versions = store.crates.count()
    return SyncedReport(report, crates, versions, closed.missing)
