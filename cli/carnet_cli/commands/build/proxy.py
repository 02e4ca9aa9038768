"""`carnet proxy`: a cargo registry on loopback that serves only what was verified."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from carnet_cli.commands.build.verify import policy_options
from carnet_cli.config import home
from carnet_cli.config import settings as config
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet_cli.config.home import Trusted
    from carnet_verifier.net.fetch import Fetcher
    from carnet_verifier.tuf.repository import TrustedRepository

REFRESH_EVERY = timedelta(seconds=10)


class _View:
    """The newest verified view, refreshed when it is older than `REFRESH_EVERY`; never one that could not be."""

    def __init__(self, trusted: Trusted, fetcher: Fetcher) -> None:
        self._trusted = trusted
        self._fetcher = fetcher
        self._lock = threading.Lock()
        self._view: TrustedRepository | None = None

    def __call__(self) -> TrustedRepository:
        from carnet_verifier.tuf.refresh import refresh

        with self._lock:
            now = home.now()
            if self._view is None or now - self._view.now > REFRESH_EVERY:
                self._view = None  # fail closed: an old view is not served because a new one cannot be had
                self._view = refresh(self._trusted.directory, self._fetcher, now=now)
            return self._view


@click.command()
@click.option("--port", default=8790, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free one.")
@policy_options
def command(port: int, least_level: str | None, repository: str | None, config_file: Path | None) -> int:
    """Serve a cargo registry on loopback that has only what was verified.

    For tools that cannot be started through `cargo carnet`. cargo checks what it downloads from here, and never looks
    at its own cache again: only `cargo carnet` compares what is compiled. Put this into cargo's configuration:

    \b
        [source.crates-io]
        replace-with = "carnet"
        [source.carnet]
        registry = "sparse+http://127.0.0.1:8790/index/"

    It runs until it is interrupted. For example:

    \b
        carnet proxy --port 8790
    """
    from carnet_cli.gate.loopback import bind, server
    from carnet_verifier.cargo.proxy import Gatekeeper
    from carnet_verifier.net.fetch import HttpFetcher

    settings = config.load(Path.cwd(), now=home.now(), file=config_file, repository=repository, least_level=least_level)
    trusted = home.choose(settings.repository)
    with HttpFetcher(trusted.directory.url) as fetcher, bind(port) as listener:
        view = _View(trusted, fetcher)
        view()
        keeper = Gatekeeper(view, fetcher, settings.policy, trusted.directory, home.now)
        serving, url = server(keeper, listener)
        output.note(f"serving verified crates of {trusted.directory.url} at sparse+{url}/index/")
        serving.run(sockets=[listener])
    return 0
