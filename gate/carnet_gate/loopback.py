"""A verifying registry on a loopback socket that is bound here, before anybody else can."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from carnet.errors import ConfigError, StorageError

if TYPE_CHECKING:
    import uvicorn

    from carnet_verifier.cargo.proxy import Gatekeeper

LOOPBACK = "127.0.0.1"


def bind(port: int = 0) -> socket.socket:
    """Bind a loopback socket of our own; nobody else can answer on its port.

    Args:
        port: Which; 0 lets the system choose.

    Raises:
        ConfigError: The port that was asked for is taken, or not for this user.
        StorageError: The system has none.
    """
    # The protocol by name: asyncio sends at once only for a socket that says it is TCP's. Otherwise an answer in two
    # parts waits for the first one's acknowledgement, 40 ms for each index file that cargo asks for.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        told = f"cannot listen on {LOOPBACK}:{port}: {(error.strerror or '').lower()}"
        if port:
            raise ConfigError(told, hint="choose another --port; 0 lets the system choose") from None
        raise StorageError(told, hint="see what holds so many ports of this machine (`ss -tn`)") from None
    listener.listen(128)
    return listener


def server(keeper: Gatekeeper, listener: socket.socket, hosts: Sequence[str] = ()) -> tuple[uvicorn.Server, str]:
    """The server that answers on `listener`, and its URL.

    Args:
        keeper: Decides.
        listener: From `bind`.
        hosts: Names by which it is asked, beside those of loopback.
    """
    import uvicorn

    from carnet_gate.connections import AskingConnection
    from carnet_verifier.cargo.proxy import Registry
    from carnet_verifier.net.known_hosts import KnownHosts

    url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    settings = uvicorn.Config(
        KnownHosts(Registry(keeper, url), hosts),
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        http=AskingConnection,
        loop="asyncio",
    )
    return uvicorn.Server(settings), url


@contextmanager
def serve(keeper: Gatekeeper) -> Iterator[str]:
    """Serve while the block runs.

    Returns:
        The URL of the registry.
    """
    listener = bind()
    serving, url = server(keeper, listener)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        while not serving.started and thread.is_alive():
            time.sleep(0.005)
        yield url
    finally:
        serving.should_exit = True
        thread.join(timeout=10)
        listener.close()
