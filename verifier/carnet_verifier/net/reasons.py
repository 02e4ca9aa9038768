"""Why a server was not reached, in the words of whoever has to mend it: the name, the port, the certificate, the proxy.

Imported when something failed: start-up time counts.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

from carnet.errors import ConfigError, TransportError
from carnet_verifier.net.route import Identity, Origin, Proxy, Route, may_be_told

_NO_AUTHORITY = {18, 19, 20, 21}
"""Self-signed, alone or at the end of its chain; issuer unknown; nothing of the chain known (X509_V_ERR_...)."""
_EXPIRED, _NOT_YET, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64
_CA_FILE = "SSL_CERT_FILE"
_PROXY_ASKS = 407
_OURS = ("CERTIFICATE", "UNKNOWN_CA", "DECRYPT_ERROR", "ACCESS_DENIED")
"""What a server's alert says where it is about the certificate that a client showed, or did not show."""
_LOGIN = "carnet trust login"
_SERVES = "is `carnet mirror serve` running, and with that `--port`?"
HINT_FOR_NO_FILE = (
    "something else than the mirror answers there, such as a login page or a proxy: `curl -i {}` shows what; nothing "
    "was decided; if the mirror moved, `carnet trust move URL` goes on at its new address"
)
"""What to do about a web page, or nothing at all, in place of a file; to be filled with its address."""


def why_not_reached(error: OSError, place: str, route: Route, *, issuer: str, proxied: bool) -> TransportError:
    """What the system or TLS said, as an error of ours.

    Args:
        error: What was raised.
        place: Whom it was about, `host:port`.
        route: How it was to be reached.
        issuer: The authority that signed the server's certificate, as that says; empty when it is not known.
        proxied: Whether `place` is a proxy.
    """
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error, place, route, issuer)
    if isinstance(error, ssl.SSLError):
        if _is_about_our_certificate(error):
            return TransportError(f"{place}: {_about_our_certificate(route)}", hint=_hint_for_certificate(route))
        return TransportError(
            f"{place} does not speak TLS as it should: {(error.reason or str(error)).lower().replace('_', ' ')}",
            hint=f"write http:// if it speaks no TLS; `openssl s_client -connect {place}` shows what answers",
        )
    what = "the proxy " if proxied else ""
    more = _beside(route, proxied=proxied)
    if isinstance(error, socket.gaierror):
        return TransportError(
            f"{what}{place}: {(error.strerror or 'unknown name').lower()}",
            hint=f"check the spelling, and whether the name is known here: `getent hosts {place.rpartition(':')[0]}`"
            + more,
        )
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    if isinstance(error, ConnectionRefusedError) and not proxied and is_loopback(place):
        return TransportError(reason, hint=f"nothing listens on {place} of this machine: {_SERVES}")
    hint = "check the address, and that the server is up"
    return TransportError(f"{what}{place}: {reason}" if proxied else reason, hint=hint + more)


def is_loopback(place: str) -> bool:
    """Whether an address, `host:port`, is this machine's own, which no proxy leads to."""
    host = place.rpartition(":")[0].strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _beside(route: Route, *, proxied: bool) -> str:
    """Said of the way that was tried: the proxy's place is named by somebody, or there is none."""
    if proxied and route.proxy is not None and route.proxy.source:
        return f"; {route.proxy.source} names the proxy"
    return "" if proxied else "; where servers are reached through a proxy only, set HTTPS_PROXY (`carnet doctor`)"


def why_no_tunnel(status: int, proxy: Proxy, target: str) -> TransportError:
    """A proxy's refusal to let us through, as an error of ours.

    Args:
        status: What it answered.
        proxy: The proxy.
        target: Whom we wanted to reach, `host:port`.
    """
    hint = f"ask whoever runs it to let you through to {target}, or reach the mirror without it (NO_PROXY)"
    return TransportError(
        f"the proxy answered {status} ({proxy.origin.target})",
        hint=_hint_for_proxy(proxy) if status == _PROXY_ASKS else hint,
    )


def _hint_for_proxy(proxy: Proxy) -> str:
    named = proxy.source or "whatever names it"
    if proxy.authorization:
        return f"it does not take the user name and password in {named}"
    return f"it wants to know who you are: write http://USER:PASSWORD@{proxy.origin.target} in {named}"


def hint_for_status(status: int, origin: Origin, route: Route) -> str:
    """What a person can do about a status that a server answered, or what stands before it.

    Args:
        status: What was answered.
        origin: The server.
        route: How it was reached, and as whom.
    """
    if 300 <= status < 400:
        return "use the repository's final URL"
    if status in (401, 403):
        return _hint_for_identity(status, origin, route.identity)
    if status == _PROXY_ASKS and route.proxy is not None:
        return _hint_for_proxy(route.proxy)
    return {
        429: "the repository is asked too often: try again later",
        500: "something failed at the repository: try again later, then tell its operator",
        502: "what stands before the repository does not reach it: try again later, then tell its operator",
        503: "the repository is busy: try again later",
        504: "what stands before the repository does not reach it: try again later, then tell its operator",
    }.get(status, "")


def _hint_for_identity(status: int, origin: Origin, identity: Identity | None) -> str:
    if identity is not None:
        return (
            f"the repository does not take what {identity.source} says about who you are: `{_LOGIN} {origin.url}` anew"
        )
    if not may_be_told(origin):
        return "carnet says who you are over https:// only: `carnet trust move` to the repository's https:// URL"
    asks = f"`{_LOGIN} {origin.url}`, with a token that its operator gives you"
    if status == 401:
        return f"the repository wants to know who you are: {asks}"
    return f"the repository does not give this file out; if it wants to know who you are, {asks}"


def why_broken(error: OSError, origin: Origin, route: Route, *, passing: bool) -> TransportError:
    """Why a connection that was open ended, as an error of ours.

    Args:
        error: What was raised.
        origin: The server.
        route: How it was reached, and as whom.
        passing: Whether asking again makes sense.
    """
    if _is_about_our_certificate(error):
        return TransportError(_about_our_certificate(route), hint=_hint_for_certificate(route, origin))
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    return TransportError(reason, hint="is the address right, and is the server up?", passing=passing)


def _is_about_our_certificate(error: OSError) -> bool:
    """Whether it is a server's alert about the certificate that a client shows (RFC 8446, 6.2)."""
    said = str(getattr(error, "reason", "") or "").upper()
    return "ALERT" in said and any(word in said for word in _OURS)


def _about_our_certificate(route: Route) -> str:
    if route.identity is None or route.identity.certificate is None:
        return "the server wants a certificate that says who you are"
    return f"the server does not take the certificate {route.identity.certificate}"


def _hint_for_certificate(route: Route, origin: Origin | None = None) -> str:
    at = "URL" if origin is None else origin.url
    if route.identity is not None and route.identity.certificate is not None:
        return f"ask whoever runs the server which authority's certificates it takes; {route.identity.source} names it"
    return f"get one from whoever runs the server, and `{_LOGIN} {at} --client-certificate FILE.pem`"


def unusable_authorities(error: OSError, route: Route) -> ConfigError:
    """Why the file of authorities cannot be used.

    Args:
        error: What was raised.
        route: What names it.
    """
    reason = (error.strerror or "").lower() if error.errno and error.filename else "it holds no certificate in PEM form"
    if isinstance(error, FileNotFoundError):
        reason = "there is no such file"
    named = f" ({route.ca_source})" if route.ca_source else ""
    return ConfigError(
        f"the certificate authorities in {route.ca_file}{named} cannot be used: {reason}",
        hint="it has to be a file with lines `-----BEGIN CERTIFICATE-----`: get it from whoever runs your network",
    )


def unusable_certificate(error: Exception, identity: Identity) -> ConfigError:
    """Why the client certificate cannot be used.

    Args:
        error: What was raised.
        identity: What names it.
    """
    absent = isinstance(error, FileNotFoundError)
    reason = "a file is not there" if absent else "it does not fit its key, or one of them is not PEM or is encrypted"
    return ConfigError(
        f"the client certificate {identity.certificate} ({identity.source}) cannot be used: {reason}",
        hint="name a PEM file with the certificate and its plain key: `openssl pkey -in KEY -out KEY.pem` makes it so",
    )


def _certificate(error: object, place: str, route: Route, issuer: str) -> TransportError:
    code, said = getattr(error, "verify_code", 0), str(getattr(error, "verify_message", "")).rstrip(".")
    reason = f"certificate verify failed: {place}: {said[:1].lower()}{said[1:]}"
    if code in _NO_AUTHORITY:
        by_name = f" ({route.ca_source})" if route.ca_source else ""
        known = f"are in {route.ca_file}{by_name}" if route.ca_file is not None else "this machine knows"
        by = f", {issuer}," if issuer else ""
        named = os.environ.get(_CA_FILE) if route.ca_file is None else None
        gone = f" ({_CA_FILE} names {named}, which is not there)" if named and not Path(named).is_file() else ""
        return TransportError(
            f"{reason}: the authority that signed it{by} is none of those that {known}{gone}",
            hint=f"get that authority's certificate from whoever runs the server, and "
            f"`export {_CA_FILE if route.ca_file is None else 'CARGO_HTTP_CAINFO'}=FILE.pem`",
        )
    if code in (_EXPIRED, _NOT_YET):
        return TransportError(
            reason, hint="if this machine's clock is right (`date -u`), whoever runs the server has to renew it"
        )
    if code in (_OTHER_NAME, _OTHER_ADDRESS):
        return TransportError(
            reason,
            hint="use the name that its certificate is for: "
            f"`openssl s_client -connect {place} </dev/null | openssl x509 -noout -ext subjectAltName` shows it",
        )
    return TransportError(reason, hint="whoever runs the server has to look at its certificate")


def issuer_of(certificate: bytes) -> str:
    """The name of the authority that signed a certificate, as the certificate says; empty when it cannot be read.

    Args:
        certificate: In DER, from a server that nobody vouches for.
    """
    from cryptography import x509

    try:
        return ascii(x509.load_der_x509_certificate(certificate).issuer.rfc4514_string()[:200])
    except ValueError:
        return ""
