"""The check `network`: which proxies, authorities and identities are in force, and who named them."""

from __future__ import annotations

import os
from pathlib import Path

from carnet.errors import CarnetError, ConfigError
from carnet_cli.doctor.check import Check, Diagnosis, Health, Patient
from carnet_verifier.net.route import Identity, Proxy

_BY_TLS = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def look(patient: Patient) -> Diagnosis:
    """Say what was read; nothing that is secret."""
    if isinstance(patient.network, CarnetError):
        raise patient.network
    network, remarks = patient.network.network, patient.network.remarks
    source, authorities = network.ca_source, network.ca_file
    if authorities is None:
        source = next((name for name in _BY_TLS if patient.environment.get(name)), "")
        authorities = patient.environment.get(source) if source else None
    if authorities is not None and not Path(authorities).exists():
        raise ConfigError(
            f"the certificate authorities in {authorities} ({source}) are not there",
            hint=f"name a file that is there with {source}, or take it away",
        )
    mirrors = () if isinstance(patient.mirrors, CarnetError) else patient.mirrors
    known = {
        one.origin.url: identity for one in mirrors if (identity := network.route_to(one.origin).identity) is not None
    }
    details = [
        f"https:// {_words(network.proxy)}",
        f"http:// {_words(network.plain_proxy)}",
        f"directly: {', '.join(network.direct)} ({network.direct_source})" if network.direct else "",
        f"authorities: {authorities} ({source})" if authorities is not None else "authorities: the system's",
        *(f"{url} is told who you are: {_shown(identity)}" for url, identity in known.items()),
        *remarks,
    ]
    facts = {
        "https_proxy": _facts(network.proxy),
        "http_proxy": _facts(network.plain_proxy),
        "no_proxy": [*network.direct],
        "no_proxy_source": network.direct_source or None,
        "authorities": authorities,
        "authorities_source": source or None,
        "identities": [{"origin": url, "source": identity.source} for url, identity in known.items()],
    }
    ways = {None if proxy is None else proxy.origin.target for proxy in (network.proxy, network.plain_proxy)}
    summary = "servers are reached " + ("directly" if ways == {None} else "through a proxy")
    health = Health.WARNING if remarks else Health.GOOD
    advice = "set the variables instead: docs/networks.md says which" if remarks else ""
    return Diagnosis(CHECK.name, health, summary, tuple(filter(None, details)), advice, facts)


def _words(proxy: Proxy | None) -> str:
    if proxy is None:
        return "directly"
    return f"through {proxy.origin.url}{' with a user name' if proxy.authorization else ''} ({proxy.source})"


def _facts(proxy: Proxy | None) -> dict[str, object] | None:
    if proxy is None:
        return None
    return {"url": proxy.origin.url, "source": proxy.source, "login": bool(proxy.authorization)}


def _shown(identity: Identity) -> str:
    what = [*(["a token or password"] if identity.authorization else [])]
    what += [f"the certificate {os.fspath(identity.certificate)}"] if identity.certificate is not None else []
    return f"{' and '.join(what)} ({identity.source})"


CHECK = Check("network", look)
