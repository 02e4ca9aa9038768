"""How servers are reached from here: proxies, authorities, and who one is, read in this one place.

What is read, and in which order, is the table of `docs/networks.md`, which a test walks. As everywhere in carnet, a
project says nothing: of cargo's configuration only that of the user's CARGO_HOME counts, and not when it lies in the
project, for then it comes with the code under judgement.

On the path of `carnet verify`: where nothing is set, nothing but whether a file is there is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.errors import ConfigError
from carnet.value import value
from carnet_cli.config import home, places
from carnet_verifier.net.route import Identity, Network, Origin, Proxy

if TYPE_CHECKING:
    from carnet_cli.config.network.cargo_http import CargoHttp

_PROXY, _AUTHORITIES = "CARGO_HTTP_PROXY", "CARGO_HTTP_CAINFO"
_FOR_HTTPS = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_FOR_HTTP = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_NO_PROXY = ("no_proxy", "NO_PROXY")
VARIABLES = (_PROXY, _AUTHORITIES, *dict.fromkeys(_FOR_HTTPS + _FOR_HTTP + _NO_PROXY), "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Every variable that says how servers are reached; TLS itself reads the last two."""


@value
class NetworkSettings:
    """What was read.

    Attributes:
        network: How servers are reached.
        remarks: What the user should know: what was found and does not count.
    """

    network: Network
    remarks: tuple[str, ...] = ()


def read_network(*about: Path) -> NetworkSettings:
    """Read how servers are reached.

    Args:
        about: Folders of the project that a command is about; that in which it runs when there is none.

    Raises:
        ConfigError: A setting is wrong.
        StorageError: A file cannot be read.
    """
    cargos = _read_cargos(about)
    proxy, plain_proxy = _proxy(cargos, _FOR_HTTPS), _proxy(cargos, _FOR_HTTP)
    direct_source, direct = _first(_NO_PROXY)
    ca_source, ca_file = _first((_AUTHORITIES,))
    if ca_file:
        ca_file = os.path.abspath(ca_file)  # noqa: PTH100  -- cargo takes it from where it runs
    elif cargos is not None and cargos.ca_file is not None:
        ca_source, ca_file = f"{cargos.file}: http.cainfo", cargos.ca_file
    network = Network(
        proxy,
        plain_proxy,
        tuple(direct.replace(",", " ").split()) if direct else (),
        direct_source,
        ca_file or None,
        ca_source,
        _identify,
    )
    return NetworkSettings(network, () if cargos is None else cargos.remarks)


def _proxy(cargos: CargoHttp | None, variables: Sequence[str]) -> Proxy | None:
    """The proxy for one scheme; a setting for cargo that is empty is one: none at all."""
    source, url = _PROXY, os.environ.get(_PROXY)
    if url is None and cargos is not None:
        source, url = f"{cargos.file}: http.proxy", cargos.proxy
    # What is meant for everybody is often set by who never thought of a server on this machine.
    for_loopback = url is not None
    if url is None:
        # Web servers hand a visitor's `Proxy` header to CGI programs under this name.
        names = [name for name in variables if name != "HTTP_PROXY" or "REQUEST_METHOD" not in os.environ]
        source, url = _first(names)
    if not url:
        return None
    from carnet_verifier.net.address import parse_proxy

    proxy = parse_proxy(url, source)
    return Proxy(proxy.origin, source, proxy.authorization, for_loopback)


def _first(names: Sequence[str]) -> tuple[str, str]:
    """The first of some variables that says something, and what; nothing when none does."""
    return next(((name, said) for name in names if (said := os.environ.get(name))), ("", ""))


def _read_cargos(about: Sequence[Path]) -> CargoHttp | None:
    try:
        folder = home.cargo_home()
    except ConfigError:  # cargo has none either
        return None
    if not (places.is_there(f"{folder}/config.toml") or places.is_there(f"{folder}/config")):
        return None
    from carnet_cli.config.network.cargo_http import read_cargo_http

    return read_cargo_http(folder, about)


def _identify(origin: Origin) -> Identity | None:
    """Who one is at an origin: as one logged in there, else as netrc says."""
    if (file := places.logins_file()) is not None and places.is_there(str(file)):
        from carnet_cli.config.network import logins

        if (identity := logins.identity_at(origin, file)) is not None:
            return identity
    if (file := places.netrc_file()) is not None and places.is_there(str(file)):
        from carnet_cli.config.network.netrc import identity_from_netrc

        return identity_from_netrc(origin, file)
    return None
