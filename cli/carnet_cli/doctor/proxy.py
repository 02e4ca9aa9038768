"""The check `proxy`: whether the proxies that are in force answer."""

from __future__ import annotations

import time

from carnet.errors import CarnetError
from carnet_cli.doctor.check import Check, Diagnosis, Health, Patient
from carnet_verifier.net.route import Proxy
from carnet_verifier.net.wire import Clock, Wire

_WITHIN = 10.0


def look(patient: Patient) -> Diagnosis:
    """Connect to each of them."""
    if isinstance(patient.network, CarnetError):
        return Diagnosis(CHECK.name, Health.WARNING, "which proxies there are cannot be read", facts={"proxies": []})
    network = patient.network.network
    named = {proxy.origin: proxy for proxy in (network.proxy, network.plain_proxy) if proxy is not None}
    found = [(proxy, *_connected(proxy)) for proxy in named.values()]
    facts = {
        "proxies": [
            {"url": proxy.origin.url, "milliseconds": round(1000 * seconds), "error": why or None}
            for proxy, seconds, why in found
        ]
    }
    if not found:
        return Diagnosis(CHECK.name, Health.GOOD, "no proxy is set", facts=facts)
    details = tuple(
        f"{proxy.origin.url} ({proxy.source}): {why or f'answers within {1000 * seconds:.0f} ms'}"
        for proxy, seconds, why in found
    )
    bad = [proxy for proxy, _, why in found if why]
    if not bad:
        return Diagnosis(CHECK.name, Health.GOOD, "the proxy answers", details, facts=facts)
    advice = f"ask whoever runs your network for its address, and put it right in {bad[0].source}"
    return Diagnosis(CHECK.name, Health.FAILURE, "the proxy does not answer", details, advice, facts)


def _connected(proxy: Proxy) -> tuple[float, str]:
    """How long it took, and why it failed; empty when it did not."""
    wire, started = Wire(Clock(_WITHIN, _WITHIN, 1)), time.monotonic()
    try:
        wire.connect(proxy.origin.host, proxy.origin.port, _WITHIN)
    except OSError as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or "failed"
        return time.monotonic() - started, reason.lower()
    finally:
        wire.close()
    return time.monotonic() - started, ""


CHECK = Check("proxy", look)
