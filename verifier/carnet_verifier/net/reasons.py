"""Why a server was not reached, in the words of whoever has to mend it: the name, the port, the certificate, the proxy.

Imported when something failed: start-up time counts.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from carnet.errors import TransportError

_NO_AUTHORITY = {18, 19, 20, 21}
"""Self-signed, alone or at the end of its chain; issuer unknown; nothing of the chain known (X509_V_ERR_...)."""
_EXPIRED, _NOT_YET, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64
_CA_FILE = "SSL_CERT_FILE"
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


def why_not_reached(error: OSError, place: str, *, ca_file: str | None, issuer: str, proxied: bool) -> TransportError:
    """What the system or TLS said, as an error of ours.

    Args:
        error: What was raised.
        place: Whom it was about, `host:port`.
        ca_file: The authorities that were asked for instead of the system's.
        issuer: The authority that signed the server's certificate, as that says; empty when it is not known.
        proxied: Whether `place` is a proxy.
    """
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error, place, ca_file, issuer)
    if isinstance(error, ssl.SSLError):
        return TransportError(
            f"{place} does not speak TLS as it should: {(error.reason or str(error)).lower().replace('_', ' ')}",
            hint=f"write http:// if it speaks no TLS; `openssl s_client -connect {place}` shows what answers",
        )
    what = "the proxy " if proxied else ""
    if isinstance(error, socket.gaierror):
        return TransportError(
            f"{what}{place}: {(error.strerror or 'unknown name').lower()}",
            hint=f"check the spelling, and whether the name is known here: `getent hosts {place.rpartition(':')[0]}`"
            + _unused_proxy(),
        )
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    hint = "check the address, and that the server is up"
    return TransportError(f"{what}{place}: {reason}" if proxied else reason, hint=hint + _unused_proxy())


def _unused_proxy() -> str:
    """Said where a proxy is configured for others: carnet asks the mirror itself."""
    named = next((name for name in _PROXIES if os.environ.get(name)), None)
    return "" if named is None else f"; carnet connects directly, and does not use {named}"


def _certificate(error: object, place: str, ca_file: str | None, issuer: str) -> TransportError:
    code, said = getattr(error, "verify_code", 0), str(getattr(error, "verify_message", "")).rstrip(".")
    reason = f"certificate verify failed: {place}: {said[:1].lower()}{said[1:]}"
    if code in _NO_AUTHORITY:
        known = f"are in {ca_file}" if ca_file is not None else "this machine knows"
        by = f", {issuer}," if issuer else ""
        named = os.environ.get(_CA_FILE)
        gone = f" ({_CA_FILE} names {named}, which is not there)" if named and not Path(named).is_file() else ""
        return TransportError(
            f"{reason}: the authority that signed it{by} is none of those that {known}{gone}",
            hint=f"get that authority's certificate from whoever runs the server, and `export {_CA_FILE}=FILE.pem`",
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
