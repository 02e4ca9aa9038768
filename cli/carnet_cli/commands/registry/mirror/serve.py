"""`carnet mirror serve`: a mirror over HTTP, which signs again what would expire and takes submissions."""

from __future__ import annotations

import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from carnet.errors import ConfigError
from carnet_cli.commands.registry.mirror.checks import DIRECTORY, warn_without_second_opinion
from carnet_cli.config import home
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from carnet_cli.commands.registry.mirror.pull import Opened
    from carnet_cli.commands.registry.online_signer import OnlineSettings
    from carnet_mirror.intake import Receipt
    from carnet_mirror.log import LogFormat
    from carnet_mirror.schedule import Reminders
    from carnet_mirror.waiting import Public


@click.command()
@DIRECTORY
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8790, show_default=True, help="0 lets the system choose one."
)
@click.option("--url", help="The base URL that clients use, when a proxy or TLS stands before this server.")
@click.option("--host-name", "names", multiple=True, help="A host it answers for, beside the URL's. Repeatable.")
@click.option(
    "--sender-header",
    help="The header in which the proxy before this server says who asks, such as X-Forwarded-For: its last address.",
)
@click.option(
    "--access-log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that gets a line for each request; without it they go to stderr.",
)
@click.option(
    "--cargo",
    envvar="CARGO",
    default="cargo",
    show_default=True,
    help="The cargo that fetches what clients ask for, where mirror.toml says so.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How the lines of both logs are written; in JSON there is one for everything that is published, too.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="A port of their own for /health, /ready and /metrics. Without it they are on the mirror's, for this machine "
    "alone, and with --url or --sender-header nowhere.",
)
@click.option("--metrics-host", help="The address for it.  [default: 127.0.0.1]")
@click.option("--read-only", is_flag=True, help="Sign nothing: no key is opened, and metadata expires in its time.")
@passphrase_options
@output.message_format
def serve(  # noqa: PLR0913  -- one parameter for each flag
    *,
    directory: Path,
    host: str,
    port: int,
    url: str | None,
    names: tuple[str, ...],
    sender_header: str | None,
    access_log: Path | None,
    cargo: str,
    log_format: LogFormat,
    metrics_port: int | None,
    metrics_host: str | None,
    read_only: bool,
    passphrase: PassphraseSource,
    message_format: output.MessageFormat,
) -> None:
    """Serve a mirror over HTTP until it is interrupted.

    While it serves, metadata is signed again before it expires. Syncing into the same directory meanwhile is fine:
    a publish becomes visible all at once.

    A file mirror.toml in the directory says what the mirror brings from upstream because a client asks for it, and what
    by the clock; without it, nothing. It is read at the start.

    \b
    Example:
      carnet mirror serve /srv/carnet --port 8790 --access-log /var/log/carnet.log
    """
    from carnet_cli.commands.registry.mirror.pull import SECONDS, pulling, syncing, until
    from carnet_cli.commands.registry.mirror.upstreams import Sources
    from carnet_cli.commands.registry.online_signer import OnlineSettings, signer_beside
    from carnet_cli.commands.registry.service_manager import tell_ready
    from carnet_cli.config.mirror_file import read_mirror_file
    from carnet_mirror import log
    from carnet_mirror.clock import clock_problem
    from carnet_mirror.schedule import IntakePauses, Reminders, keep_fresh
    from carnet_mirror.state.store import Store
    from carnet_mirror.upkeep import is_due
    from carnet_mirror.web.pending import Proposals
    from carnet_mirror.web.serve import Address, Watched
    from carnet_mirror.web.serve import serve as run
    from carnet_mirror.web.submissions import Submissions
    from carnet_mirror.writing import wants_second_opinion

    def ready(base: str, watched_at: str | None) -> None:
        if message_format == "json":
            more = {} if watched_at is None else {"metrics": watched_at}
            output.emit_json({"event": "listening", "url": base} | more)
        else:
            output.echo(f"listening on {base}")
            if watched_at is not None:
                output.echo(f"watched at {watched_at}")
        sys.stdout.flush()
        tell_ready()

    if metrics_host is not None and metrics_port is None:
        raise ConfigError("--metrics-host is only for --metrics-port", hint="add --metrics-port, such as 9464")
    log.write_as(log_format)
    own = None if metrics_port is None else Address(metrics_host or "127.0.0.1", metrics_port, None, names)
    address, behind_proxy = Address(host, port, url, names), url is not None or sender_header is not None
    watched = Watched(access_log, log_format, own, behind_proxy, now=home.now)
    if read_only:
        run(directory, address, watched=watched, ready=ready, around=_takes_nothing)
        return
    said = read_mirror_file(directory)
    opened = partial(Store.open, directory, write=True, rules=said.disk)
    with Store.open(directory, rules=said.disk) as store:
        settings = OnlineSettings.of(store)
        warn_without_second_opinion(wants_second_opinion(store), log.warn)
        wrong = clock_problem(store, now=home.now())
        if wrong is not None:  # what is published can be served, and nothing is signed until it is set
            log.error(wrong)

        counted: Any = {"sender_header": sender_header, "tally": watched.tally, "disk": store.disk}
        sources = Sources(directory, said.upstreams, cargo, SECONDS)
        with signer_beside(directory, settings, passphrase), ExitStack() as stack:
            pulls, halts, turn = None, list[Callable[[], None]](), threading.Lock()
            if said.pull is not None:
                pulls = stack.enter_context(pulling(opened, sources, said.pull, settings, turn))
                halts.append(pulls.puller.halt)
            if said.sync is not None:
                halts.append(stack.enter_context(syncing(opened, sources, said.sync, settings, turn)).halt)

            def taking(app: ASGIApp) -> ASGIApp:
                app = app if pulls is None else pulls.in_front_of(app, store, sender_header)
                proposals = Proposals(app, partial(_take_proposal, opened, settings), **counted)
                return Submissions(proposals, partial(_take, opened, settings), **counted)

            upkeep = partial(
                keep_fresh,
                lambda: is_due(store, now=home.now()),
                partial(_upkeep, opened, settings),
                _complain,
                remind=partial(_remind, directory, Reminders()),
                look=IntakePauses(store.disk).look,
            )
            beside: Callable[[], Awaitable[None]] = upkeep
            for halt in halts:
                beside = until(halt, beside)
            run(
                directory,
                address,
                watched=watched,
                ready=ready,
                background=beside,
                around=taking,
                rules=said.disk,
            )


def _remind(directory: Path, reminders: Reminders) -> None:
    """Tell of what people have to sign soon: at the start, and whenever there is something new to tell."""
    from carnet_cli.report.registry.status import tell_what_ends
    from carnet_mirror import log
    from carnet_mirror.schedule import claims_that_end, expiries
    from carnet_mirror.state.store import Store

    now = home.now()
    with Store.open(directory) as store:
        roles, claims = expiries(store), claims_that_end(store, now=now)
    tell_what_ends(reminders.due(roles, now=now), reminders.due(claims, now=now), now, log.warn)


def _upkeep(opened: Opened, settings: OnlineSettings) -> None:
    from carnet_cli.commands.registry.online_signer import online
    from carnet_mirror import log
    from carnet_mirror.upkeep import sign_again

    with opened() as store, online(store.directory, settings, PassphraseSource()) as signer:
        done = sign_again(store, signer, now=home.now())
    log.note("signed again", snapshot=done.snapshot, timestamp=done.timestamp, roles=dict(done.roles))


def _take(opened: Opened, settings: OnlineSettings, body: bytes) -> Receipt:
    """Judge one submission, in whichever thread the server runs it."""
    from carnet_cli.commands.registry.online_signer import online
    from carnet_mirror import log
    from carnet_mirror.intake import take_submission

    with opened() as store, online(store.directory, settings, PassphraseSource()) as signer:
        receipt = take_submission(store, signer, body, now=home.now())
    log.note(f"taken: {receipt.words}", crate=receipt.crate, snapshot=receipt.snapshot)
    return receipt


def _take_proposal(opened: Opened, settings: OnlineSettings, body: bytes, source: str) -> Public:
    """Judge one proposal, in whichever thread the server runs it."""
    from carnet_cli.commands.registry.online_signer import online
    from carnet_mirror.waiting import take_proposal

    with opened() as store, online(store.directory, settings, PassphraseSource()) as signer:
        return take_proposal(store, signer, body, source=source, now=home.now())


def _takes_nothing(app: ASGIApp) -> ASGIApp:
    from carnet_mirror.web.pending import Proposals
    from carnet_mirror.web.submissions import Submissions

    return Submissions(Proposals(app, None), None)


def _complain(text: str) -> None:
    from carnet_mirror import log

    log.warn(text, "it is tried again in a minute")
