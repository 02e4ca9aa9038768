"""`carnet trust login` and `logout`: say to a mirror who you are, and stop saying it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from carnet.errors import ConfigError, TransportError
from carnet_cli.commands.network import network_for
from carnet_cli.terminal import output
from carnet_cli.terminal.output import MessageFormat
from carnet_cli.terminal.passphrase import PassphraseSource

_MAX_TIMESTAMP = 1_000_000


@dataclass(frozen=True)
class LoggedIn:
    """What is said to a mirror from now on, or not any more.

    Attributes:
        origin: The mirror's scheme, host and port.
        file: Where that is kept, or was.
        keyring: Whether the system's keyring has the secret.
        ended: Whether it was forgotten.
    """

    origin: str
    file: Path
    keyring: bool = False
    ended: bool = False


def _as_text(report: LoggedIn) -> None:
    if report.ended:
        output.echo(f"logged out at {report.origin}")
    else:
        kept = f"the system's keyring, named in {report.file}" if report.keyring else str(report.file)
        output.echo(f"logged in at {report.origin}; kept in {kept}")


def _as_json(report: LoggedIn) -> Any:
    yield {
        "reason": "logged-out" if report.ended else "logged-in",
        "origin": report.origin,
        "file": str(report.file),
        "keyring": report.keyring,
    }


_pem = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("url")
@click.option("--user", help="The name that a password belongs to; without it, what is asked for is a token.")
@click.option("--token-file", type=click.Path(path_type=Path), help="Read it from the first line of this file.")
@click.option("--token-fd", type=click.IntRange(min=0), help="Read it from this open descriptor: 0 is standard input.")
@click.option("--client-certificate", type=_pem, help="A PEM file that is shown where TLS asks who you are.")
@click.option("--client-key", type=_pem, help="Its private key, where that is in a file of its own.")
@click.option("--keyring", is_flag=True, help="Keep the secret in the operating system's keyring.")
@click.option("--offline", is_flag=True, help="Do not ask the mirror whether it takes it.")
@output.message_format
def login(  # noqa: PLR0913  -- one parameter for each flag
    *,
    url: str,
    user: str | None,
    token_file: Path | None,
    token_fd: int | None,
    client_certificate: Path | None,
    client_key: Path | None,
    keyring: bool,
    offline: bool,
    message_format: MessageFormat,
) -> None:
    """Say to the mirror at URL who you are, from now on.

    The token is asked for, or read from a file or a descriptor. The mirror is asked whether it takes it, and then it is
    kept for you alone to read. It is for exactly that scheme, host and port: nothing leads it elsewhere. For example:

    \b
        carnet trust login https://mirror.example/
        carnet trust login https://mirror.example/ --client-certificate me.pem
    """
    from carnet_cli.config.network import logins
    from carnet_verifier.net.wire import require_usable

    origin = logins.origin_of(url)
    if token_file is not None and token_fd is not None:
        raise ConfigError("give either --token-file or --token-fd, not both", hint="leave one of them out")
    if client_key is not None and client_certificate is None:
        raise ConfigError("--client-key is of no use alone", hint="name its certificate with `--client-certificate`")
    secret: str | None = None
    if client_certificate is None or user is not None or token_file is not None or token_fd is not None:
        secret = _asked(PassphraseSource(token_file, token_fd, "token"), origin.url, user)
    kept = logins.Login(
        secret,
        user,
        keyring and secret is not None,
        None if client_certificate is None else str(client_certificate.absolute()),
        None if client_key is None else str(client_key.absolute()),
    )
    identity = logins.identity_of(kept, origin)
    require_usable(identity)
    if not offline:
        _require_taken(url, identity)
    output.show(LoggedIn(origin.url, logins.keep(origin, kept), kept.keyring), message_format, _as_text, _as_json)


@click.command()
@click.argument("url")
@output.message_format
def logout(url: str, message_format: MessageFormat) -> None:
    """Forget who you are at the mirror at URL, also in the keyring.

    \b
        carnet trust logout https://mirror.example/
    """
    from carnet_cli.config.network import logins

    origin = logins.origin_of(url)
    output.show(LoggedIn(origin.url, logins.forget(origin), ended=True), message_format, _as_text, _as_json)


def _asked(source: PassphraseSource, where: str, user: str | None) -> str:
    given = source.ask(f"token for {where}" if user is None else f"password of {user} for {where}")
    if not given:
        raise ConfigError(
            f"there is nobody to ask for the token for {where}",
            hint="add `--token-file FILE`, a file that only you can read; or `--token-fd 0`, and pipe it in",
        )
    try:
        return given.decode()
    except UnicodeDecodeError:
        place = f" in {source.file}" if source.file is not None else ""
        raise ConfigError(f"the token for {where}{place} is not UTF-8", hint="look at what it is read from") from None


def _require_taken(url: str, identity: Any) -> None:
    """Demand that the mirror gives out its timestamp to whoever says this.

    Raises:
        TransportError: It does not, or could not be asked.
    """
    from carnet.tuf import paths
    from carnet_verifier.net.fetch import HttpFetcher
    from carnet_verifier.net.route import Network

    settings = network_for()
    network = Network(
        settings.proxy,
        settings.plain_proxy,
        settings.direct,
        settings.direct_source,
        settings.ca_file,
        settings.ca_source,
        lambda _: identity,
    )
    path = f"{paths.METADATA_PREFIX}{paths.metadata_name(paths.TIMESTAMP, None)}"
    try:
        with HttpFetcher(url.removeprefix("sparse+"), network=network) as fetcher:
            fetcher.get(path, max_bytes=_MAX_TIMESTAMP)
    except TransportError as error:
        why = "it does not take it" if error.status in (401, 403) else f"{error.hint}; `--offline` does not ask it"
        error.hint = f"nothing was kept: {why.removeprefix('; ')}"
        raise
