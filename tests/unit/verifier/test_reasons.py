"""Why a server was not reached, in words that help on this very machine."""

from __future__ import annotations

import errno
import os

import pytest

from carnet.errors import TransportError
from carnet_verifier.net.reasons import is_loopback, why_not_reached
from carnet_verifier.net.route import Origin, Proxy, Route


def refused(place: str, route: Route | None = None, *, proxied: bool = False) -> TransportError:
    error = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    return why_not_reached(error, place, route or Route(), issuer="", proxied=proxied)


@pytest.mark.parametrize("place", ["127.0.0.1:8790", "localhost:80", "[::1]:8790", "127.9.9.9:1", "a.localhost.:80"])
def test_no_proxy_leads_to_this_machine(place: str) -> None:
    told = refused(place)
    assert str(told) == "connection refused"
    assert told.hint == (
        f"nothing listens on {place} of this machine: is `carnet mirror serve` running, and with that `--port`?"
    )


@pytest.mark.parametrize("place", ["mirror.example:443", "192.0.2.1:80", "[2001:db8::1]:443", "localhost.example:80"])
def test_another_machine_may_be_behind_one(place: str) -> None:
    assert "HTTPS_PROXY" in refused(place).hint
    assert not is_loopback(place)


def test_a_proxy_on_this_machine_is_named_by_whoever_names_it() -> None:
    route = Route(Proxy(Origin(False, "127.0.0.1", 3128), "HTTPS_PROXY"))
    told = refused("127.0.0.1:3128", route, proxied=True)
    assert told.hint.endswith("; HTTPS_PROXY names the proxy")
