"""`carnet mirror`: publish crates with signed metadata."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from carnet.errors import CarnetError, ConfigError, VerificationError
from carnet_cli.commands.registry.mirror_checks import (
    DIRECTORY,
    counting,
    fsck,
    status,
    warn_without_second_opinion,
)
from carnet_cli.config import home
from carnet_cli.terminal import output
from carnet_cli.terminal.passphrase import PassphraseSource, passphrase_options

if TYPE_CHECKING:
    from carnet.cargo.lockfile import Lockfile
    from carnet_cli.commands.registry.online_signer import OnlineSettings
    from carnet_mirror.intake import Receipt
    from carnet_mirror.state.store import Store
    from carnet_mirror.sync.sync import SyncReport
    from carnet_signer.metadata.publish import OnlineSigner, Published


_MAX_LOCKFILE = 64_000_000
_SECOND_OPINION = "--second-opinion/--insecure-no-second-opinion"
_SECOND_OPINION_HELP = (
    "Whether python-tuf and in-toto must agree with carnet before anything new is signed; the mirror remembers it."
)


@click.group()
def command() -> None:
    """Publish crates with signed metadata.

    A mirror is one directory: a database and files. It starts from the files that the holders of the offline keys have
    signed; from then on it signs timestamp, snapshot and index with one online key.

    \b
    Example:
      carnet mirror init /srv/carnet --ceremony ceremony/ --online-key online.key
      carnet mirror sync /srv/carnet --lockfile Cargo.lock
      carnet mirror serve /srv/carnet
    """


# --- init ---


@command.command()
@DIRECTORY
@click.option(
    "--ceremony",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of signed files that `carnet root status` calls complete.",
)
@click.option(
    "--online-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The online private key, which signs by itself.",
)
@click.option("--online-socket", type=click.Path(path_type=Path), help="Or the socket of a running `carnet online`.")
@click.option(
    "--memory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the signer remembers what it signed.  [default: beside the key]",
)
@click.option("--insecure-example-keys", is_flag=True, help="Also accept the keys in keys-example/.")
@click.option(_SECOND_OPINION, default=True, show_default=True, help=_SECOND_OPINION_HELP)
@passphrase_options
@output.message_format
def init(  # noqa: PLR0913  -- one parameter for each flag
    *,
    directory: Path,
    ceremony: Path,
    online_key: Path | None,
    online_socket: Path | None,
    memory: Path | None,
    insecure_example_keys: bool,
    second_opinion: bool,
    passphrase: PassphraseSource,
    message_format: output.MessageFormat,
) -> None:
    """Make a mirror from a finished ceremony, and publish it.

    DIR must not exist or be empty. The online key stays where it is; the mirror remembers its path. Its passphrase is
    asked for, or read from a file or a descriptor.

    \b
    Example:
      carnet mirror init /srv/carnet --ceremony ceremony/ --online-key keys/online
    """
    from carnet_cli.commands.registry.online_signer import OnlineSettings, online
    from carnet_mirror.state.store import Store
    from carnet_mirror.writing import publish, set_second_opinion, writing
    from carnet_signer.ceremony import folder as ceremony_folder
    from carnet_signer.metadata.publish import Change

    if (online_key is None) == (online_socket is None):
        raise ConfigError(
            "say which online key signs this mirror's index", hint="give --online-key FILE, or --online-socket PATH"
        )
    settings = OnlineSettings(
        online_key and online_key.absolute(),
        (memory or online_key.with_name(f"{online_key.name}.memory")).absolute() if online_key else None,
        online_socket and online_socket.absolute(),
        insecure_example_keys,
    )
    files = ceremony_folder.finished(ceremony)
    warn_without_second_opinion(second_opinion)
    existed = directory.exists()
    now = home.now()
    with Store.create(directory) as store:
        try:
            with online(directory, settings, passphrase) as signer, writing(store, signer, now=now):
                settings.remember(store)
                set_second_opinion(store, wanted=second_opinion)
                published = publish(store, signer, Change(roles=files), now=now)
        except CarnetError:
            store.close()
            _remove(directory, keep=existed)
            raise
    _say_published(published, message_format, f"the mirror in {directory} is ready", {"directory": str(directory)})


def _remove(directory: Path, *, keep: bool) -> None:
    """Take a half-made mirror away again; nothing else was in its directory."""
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not keep:
        directory.rmdir()


def _say_published(published: Published, message_format: output.MessageFormat, text: str, more: dict[str, Any]) -> None:
    for warning in published.warnings:
        output.warn(warning)
    until = published.expires.strftime("%Y-%m-%d %H:%M UTC")
    if message_format == "json":
        output.emit_json(more | _published(published))
    else:
        output.echo(f"{text}: snapshot {published.snapshot}, timestamp {published.timestamp}, fresh until {until}")


def _published(published: Published) -> dict[str, Any]:
    return {
        "snapshot": published.snapshot,
        "timestamp": published.timestamp,
        "expires": published.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "roles": dict(published.roles),
        "bytes-written": published.bytes_written,
    }


# --- sync ---


@command.command()
@DIRECTORY
@click.option(
    "--lockfile",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("Cargo.lock"),
    show_default=True,
    help="Copy every crate that it locks from crates-io.",
)
@click.option("--upstream", help="Read this sparse index directly (`sparse+https://...`), without cargo.")
@click.option("--cargo", envvar="CARGO", default="cargo", show_default=True, help="The cargo that fetches.")
@passphrase_options
@output.message_format
def sync(
    directory: Path,
    lockfile: Path,
    upstream: str | None,
    cargo: str,
    passphrase: PassphraseSource,
    message_format: output.MessageFormat,
) -> int:
    """Copy the crates of a lock file into a mirror, and publish them.

    Your own cargo fetches them, with your registries, proxies and credentials, into a scratch directory. Each tarball
    is compared with the lock, read strictly, and its index line compared with the manifest inside. What is refused
    stops nothing else, and gives exit status 1. Syncing again changes only what has changed upstream.

    \b
    Example:
      carnet mirror sync /srv/carnet --lockfile app/Cargo.lock
    """
    from carnet_cli.commands.registry.online_signer import OnlineSettings, online
    from carnet_mirror.state.store import Store
    from carnet_mirror.sync.sync import sync as run
    from carnet_mirror.upstream.cargo import CargoUpstream
    from carnet_mirror.upstream.sparse import SparseUpstream

    source = SparseUpstream(upstream) if upstream is not None else CargoUpstream(cargo, _cargo_home(), dict(os.environ))
    lock = _read_lockfile(lockfile)
    for package in lock.packages:
        if package.kind.value in ("registry", "git"):
            output.warn(f"{package.id} comes from {package.source}, which this mirror does not stand for")
    with Store.open(directory, write=True) as store:
        with online(directory, OnlineSettings.of(store), passphrase) as signer:
            report = run(store, signer, source, lock.registry_packages, now=home.now(), progress=counting)
        crates, versions = store.count()
    for finding in report.findings:
        output.warn(f"{finding.crate}: {finding.text}")
    for refused in report.refused:
        output.report(VerificationError(f"{refused.crate}: {refused.reason}"))
    if message_format == "json":
        output.emit_json(_sync_result(report))
    else:
        words = [f"{len(report.added)} added", f"{len(report.updated)} updated", f"{report.unchanged} unchanged"]
        words += [f"{len(report.refused)} refused"] if report.refused else []
        output.echo(f"{', '.join(words)}; the mirror has {versions} versions of {crates} crates")
        if report.published is None:
            output.echo("nothing had changed: nothing was published")
        else:
            output.echo(f"published snapshot {report.published.snapshot}, timestamp {report.published.timestamp}")
    return 1 if report.refused else 0


def _cargo_home() -> Path:
    given = os.environ.get("CARGO_HOME")
    return Path(given) if given else Path.home() / ".cargo"


def _read_lockfile(path: Path) -> Lockfile:
    from carnet import durable
    from carnet.cargo.lockfile import read_lockfile

    try:
        data = durable.read_file(path, "lock file", max_bytes=_MAX_LOCKFILE)
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}", hint="`cargo generate-lockfile` makes one") from None
    return read_lockfile(data, str(path))


def _sync_result(report: SyncReport) -> dict[str, Any]:
    return {
        "added": [str(crate) for crate in report.added],
        "updated": [str(crate) for crate in report.updated],
        "unchanged": report.unchanged,
        "refused": [{"crate": str(one.crate), "reason": one.reason} for one in report.refused],
        "findings": [{"crate": str(one.crate), "text": one.text} for one in report.findings],
        "published": None if report.published is None else _published(report.published),
    }


# --- refresh ---


@command.command()
@DIRECTORY
@click.option(
    "--ceremony",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also publish the newer files that the holders have signed in this folder.",
)
@click.option(
    "--next-online-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The online key that the ceremony's new root names: this time both sign, from then on it alone. Its "
    "passphrase is that of the key before.",
)
@click.option(_SECOND_OPINION, default=None, help=f"{_SECOND_OPINION_HELP}  [default: as it remembers]")
@passphrase_options
@output.message_format
def refresh(
    directory: Path,
    ceremony: Path | None,
    next_online_key: Path | None,
    second_opinion: bool | None,
    passphrase: PassphraseSource,
    message_format: output.MessageFormat,
) -> None:
    """Sign again what would expire: the timestamp, and snapshot and index when they are due.

    `serve` does this by itself; without it, call this at least once a day.

    \b
    Example:
      carnet mirror refresh /srv/carnet
      carnet mirror refresh /srv/carnet --ceremony ceremony/    # after `carnet root rotate` and its signatures
      carnet mirror refresh /srv/carnet --ceremony ceremony/ --next-online-key keys/online-2027
    """
    from carnet_cli.commands.registry.online_signer import OnlineSettings, online
    from carnet_mirror.state.store import Store
    from carnet_mirror.writing import set_second_opinion, wants_second_opinion
    from carnet_signer.ceremony import folder as ceremony_folder

    files = ceremony_folder.finished(ceremony) if ceremony is not None else {}
    with Store.open(directory, write=True) as store:
        if second_opinion is not None:
            with store.change():
                set_second_opinion(store, wanted=second_opinion)
        warn_without_second_opinion(wants_second_opinion(store))
        settings = replace(OnlineSettings.of(store), next_key=next_online_key and next_online_key.absolute())
        with online(directory, settings, passphrase) as signer:
            published = _sign_again(store, signer, files)
        if settings.next_key is not None:
            with store.change():
                replace(settings, key=settings.next_key).remember(store)
    _say_published(published, message_format, "signed again", {"directory": str(directory)})


def _sign_again(store: Store, signer: OnlineSigner, files: Mapping[str, bytes]) -> Published:
    from carnet_mirror.intake import check_claims_kept
    from carnet_mirror.schedule import bin_count, bins_each_run
    from carnet_mirror.writing import publish, writing
    from carnet_signer.metadata.publish import Change, refresh_due

    now = home.now()
    with writing(store, signer, now=now):
        if files:
            check_claims_kept(store, files)
            return publish(store, signer, Change(roles=files), now=now)
        return refresh_due(store, signer, now=now, bins=bins_each_run(bin_count(store)))


# --- serve ---


@command.command()
@DIRECTORY
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8790, show_default=True, help="0 lets the system choose one."
)
@click.option("--url", help="The base URL that clients use, when a proxy or TLS stands before this server.")
@click.option(
    "--access-log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that gets a line for each request; without it they go to stderr.",
)
@click.option("--read-only", is_flag=True, help="Sign nothing: no key is opened, and metadata expires in its time.")
@passphrase_options
@output.message_format
def serve(  # noqa: PLR0913  -- one parameter for each flag
    *,
    directory: Path,
    host: str,
    port: int,
    url: str | None,
    access_log: Path | None,
    read_only: bool,
    passphrase: PassphraseSource,
    message_format: output.MessageFormat,
) -> None:
    """Serve a mirror over HTTP until it is interrupted.

    While it serves, metadata is signed again before it expires. Syncing into the same directory meanwhile is fine:
    a publish becomes visible all at once.

    \b
    Example:
      carnet mirror serve /srv/carnet --port 8790 --access-log /var/log/carnet.log
    """
    from carnet_cli.commands.registry.online_signer import OnlineSettings, signer_beside
    from carnet_mirror.schedule import keep_fresh
    from carnet_mirror.state.store import Store
    from carnet_mirror.web.serve import Address
    from carnet_mirror.web.serve import serve as run
    from carnet_mirror.web.submissions import Submissions
    from carnet_mirror.writing import wants_second_opinion

    def ready(base: str) -> None:
        if message_format == "json":
            output.emit_json({"event": "listening", "url": base})
        else:
            output.echo(f"listening on {base}")
        sys.stdout.flush()

    address = Address(host, port, url)
    if read_only:
        run(directory, address, access_log=access_log, ready=ready, around=lambda app: Submissions(app, None))
        return
    with Store.open(directory) as store:
        settings = OnlineSettings.of(store)
        warn_without_second_opinion(wants_second_opinion(store))
        with signer_beside(directory, settings, passphrase):
            upkeep = partial(keep_fresh, partial(_due, store), partial(_upkeep, directory, settings), _complain)
            taking = partial(Submissions, take=partial(_take, directory, settings))
            run(directory, address, access_log=access_log, ready=ready, background=upkeep, around=taking)


def _due(store: Store) -> bool:
    from carnet_mirror.schedule import timestamp_due
    from carnet_mirror.state.published import Published as View

    return timestamp_due(View(store).timestamp.expires, home.now())


def _upkeep(directory: Path, settings: OnlineSettings) -> None:
    from carnet_cli.commands.registry.online_signer import online
    from carnet_mirror.state.store import Store

    with Store.open(directory, write=True) as store, online(directory, settings, PassphraseSource()) as signer:
        _sign_again(store, signer, {})


def _take(directory: Path, settings: OnlineSettings, body: bytes) -> Receipt:
    """Judge one submission, in whichever thread the server runs it."""
    from carnet_cli.commands.registry.online_signer import online
    from carnet_mirror.intake import accept
    from carnet_mirror.state.store import Store

    with Store.open(directory, write=True) as store, online(directory, settings, PassphraseSource()) as signer:
        return accept(store, signer, body, now=home.now())


def _complain(text: str) -> None:
    output.warn(text, hint="it is tried again in a minute")


command.add_command(status)
command.add_command(fsck)
