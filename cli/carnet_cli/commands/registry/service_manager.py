"""Telling a service manager that a service is ready: systemd's notification protocol (sd_notify(3)), one datagram."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def tell_ready() -> None:
    """Say `READY=1` to whoever started this process and waits for it; to nobody where nobody does.

    Where it cannot be said, the service manager gives up the waiting: the service goes on either way.
    """
    place = os.environ.pop("NOTIFY_SOCKET", "")  # what this process starts has nothing to tell
    if not place.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.connect("\0" + place[1:] if place.startswith("@") else place)
        manager.sendall(b"READY=1")
