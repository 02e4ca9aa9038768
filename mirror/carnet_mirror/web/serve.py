"""The web server: granian in this process, on a port that nobody else shares.

granian binds with `SO_REUSEPORT`, so a second server on the same port would silently answer half of the requests. The
port is therefore claimed first, without that option, which fails if anybody listens there; only then is the option set
on the claim, which never listens itself, so that granian may bind beside it and others may not.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from starlette.types import ASGIApp

from carnet.errors import ConfigError, StorageError
from carnet_mirror.log import LogFormat
from carnet_mirror.state.disk import DiskRules
from carnet_mirror.state.store import Store
from carnet_mirror.web.files import Mirror, RequestLog, open_log
from carnet_mirror.web.tally import Tally
from carnet_mirror.web.watch import Watch
from carnet_mirror.web.watching import Watching
from carnet_verifier.net.known_hosts import KnownHosts

try:  # before a key is asked for or a port is taken: whoever only builds has no web server
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.server.embed import Server
except ImportError:
    raise ConfigError(
        "the web server granian is not installed: carnet was installed without what a mirror needs",
        hint="install it with the extra `mirror`: in a checkout `pip install '.[mirror]'`, "
        "of a wheel `pip install './carnet-VERSION-py3-none-any.whl[mirror]'`",
    ) from None

_OTHER_HOST = "listen at an address that this machine has, such as `--host 127.0.0.1`"
_HEADERS_WITHIN = 10_000
"""Milliseconds for a request's headers to arrive."""
_HEADERS_MAX = 64 * 1024
_CONNECTIONS = 16_384
"""At the same time; the system's limit of open files may be lower."""
_STARTED_WITHIN = 10.0
_STOPPED_WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen.

    Attributes:
        host: An address or a name of this machine.
        port: A port; 0 lets the system choose.
        url: The base URL that clients use, when it is another one than `http://host:port`.
        names: Hosts for which it answers, beside the URL's, `host` and those of loopback.
    """

    host: str = "127.0.0.1"
    port: int = 8790
    url: str | None = None
    names: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts for which it answers, beside those of loopback."""
        public = urlsplit(self.url or "").hostname
        return (*self.names, self.host, *([public] if public else []))

    def base(self, port: int) -> str:
        """The base URL, without a slash at its end, once the port is known."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.url or f"http://{host}:{port}").rstrip("/")


@dataclass(frozen=True, slots=True)
class Watched:
    """How a mirror lets itself be watched.

    Attributes:
        access_log: The file that gets a line for each request; stderr when None.
        log_format: How those lines are written.
        address: Where `/health`, `/ready` and `/metrics` have a port of their own. When None they are answered on the
            mirror's, to this machine, unless a proxy is said to stand before it.
        behind_proxy: Whether one is.
        tally: What is counted.
        now: Tells the time.
    """

    access_log: Path | None = None
    log_format: LogFormat = "text"
    address: Address | None = None
    behind_proxy: bool = False
    tally: Tally = field(default_factory=Tally)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def serve(
    directory: Path,
    address: Address,
    *,
    watched: Watched,
    ready: Callable[[str, str | None], None],
    background: Callable[[], Awaitable[None]] | None = None,
    around: Callable[[ASGIApp], ASGIApp] | None = None,
    rules: DiskRules | None = None,
) -> None:
    """Serve a mirror until SIGINT or SIGTERM.

    Args:
        directory: The mirror.
        address: Where to listen.
        watched: What is logged and counted, and who may ask for it.
        ready: Called with the base URL once requests are answered, and with that for whoever watches when it is
            another one.
        background: Runs beside the server, and ends it when it ends.
        around: Puts something in front of the application, such as what takes submissions.
        rules: What its operator says of the disk.

    Raises:
        ConfigError: The port is taken, the address is not this machine's, or clients could not use it.
        StorageError: The log cannot be written, or the mirror cannot be read.
    """
    if address.url is None and address.host in ("", "0.0.0.0", "::"):  # noqa: S104  -- recognised, not chosen
        raise ConfigError(
            f"listening on {address.host or 'every address'}, clients need to know a URL",
            hint="give it with --url, such as --url https://crates.example.org",
        )
    with Store.open(directory, rules=rules) as store, ExitStack() as claims:
        port = claims.enter_context(claim(address)).getsockname()[1]
        url, own = address.base(port), watched.address
        try:
            log = open_log(watched.access_log)
        except OSError as error:
            raise StorageError(f"cannot write the request log {watched.access_log}: {error.strerror}") from None
        watch, tally = Watch(directory, store, watched.now), watched.tally
        app: ASGIApp = Mirror(store, url)
        app = app if around is None else around(app)
        listeners = []
        if own is None and not watched.behind_proxy:
            app = Watching(watch, tally, app, near=True)
        elif own is not None:
            beside = claims.enter_context(claim(own)).getsockname()[1]
            listeners.append(_Listener(own.host, beside, KnownHosts(Watching(watch, tally), own.hosts)))
        app = RequestLog(KnownHosts(app, address.hosts), log, watched.log_format, tally)
        listeners.insert(0, _Listener(address.host, port, app))
        _allow_connections()
        asyncio.run(_run(listeners, lambda: ready(url, None if own is None else own.base(beside)), background))


@dataclass(frozen=True, slots=True)
class _Listener:
    """A port, and what answers there."""

    host: str
    port: int
    app: ASGIApp


def _allow_connections() -> None:
    """Let this process have as many open files, and so connections, as the system lets it choose."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # a system that lets nobody choose
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def claim(address: Address) -> AbstractContextManager[socket.socket]:
    """Claim a port for this process alone; the claim does not listen.

    Raises:
        ConfigError: Somebody listens there, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        claimed = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {address.host!a}: {error.strerror or error}",
            hint=_OTHER_HOST,
        ) from None
    try:
        # Connections of a server that has just ended linger; they may, a listener may not.
        claimed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        claimed.bind(where)
        claimed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        claimed.close()
        raise ConfigError(
            f"cannot listen on {address.host}:{address.port}: {(error.strerror or str(error)).lower()}",
            hint=_OTHER_HOST
            if error.errno == errno.EADDRNOTAVAIL
            else "choose another --port; 0 lets the system choose",
        ) from None
    return closing(claimed)


def _server(listener: _Listener) -> Server:
    return Server(
        listener.app,
        address=listener.host,
        port=listener.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADERS_WITHIN, max_buffer_size=_HEADERS_MAX),
        websockets=False,
        log_enabled=False,
        backlog=1024,
        backpressure=_CONNECTIONS,
    )


async def _run(
    listeners: list[_Listener], ready: Callable[[], None], background: Callable[[], Awaitable[None]] | None
) -> None:
    servers = [_server(listener) for listener in listeners]
    stops: list[Callable[[], None]] = [server.stop for server in servers]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    serving: list[asyncio.Future[object]] = [asyncio.ensure_future(server.serve()) for server in servers]
    tasks: set[asyncio.Future[object]] = {*serving, asyncio.ensure_future(stop.wait())}
    try:
        for listener, started in zip(listeners, serving, strict=True):
            await _wait_until_open(listener.host, listener.port, started)
        ready()
        if background is not None:
            tasks.add(asyncio.ensure_future(background()))
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for stop_server in stops:
            stop_server()
        for task in tasks - {*serving}:
            task.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), _STOPPED_WITHIN)


async def _wait_until_open(host: str, port: int, serving: asyncio.Future[object]) -> None:
    deadline = asyncio.get_running_loop().time() + _STARTED_WITHIN
    while asyncio.get_running_loop().time() < deadline and not serving.done():
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        return
    raise StorageError(f"the web server did not start on {host}:{port}")
