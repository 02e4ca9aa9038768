"""URLs of repositories and proxies as people write them, checked, and in one spelling."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from carnet.errors import ConfigError
from carnet.value import value
from carnet_verifier.net.route import Origin, Proxy

PATH = re.compile(r"[A-Za-z0-9._~%/+@:,;=!$&'()*-]+\Z")
_HOST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.:_-")
_PROXY_PORT = 1080
"""Where a proxy listens whose URL names no port: cargo, by way of curl, has it so."""


@value
class BaseUrl:
    """A URL's parts.

    Attributes:
        origin: The server.
        path: With a slash at its end.
        url: All of it, in one spelling.
    """

    origin: Origin
    path: str
    url: str


def repository_url(url: str) -> str:
    """A repository's base URL as people give it, checked and in one spelling: with a slash at its end.

    Raises:
        ConfigError: It is none, or the address of something else than the repository's base.
    """
    base = parse_url(url.removeprefix("sparse+"), "repository").url
    for end, what in (("/index/", "cargo's index"), ("/metadata/", "the metadata"), ("/targets/", "the files")):
        if base.endswith(end):
            raise ConfigError(
                f"{base[:200]} is where {what} of a mirror would be",
                hint=f"name the mirror itself: {base.removesuffix(end)[:200]}/",
            )
    if url.startswith("sparse+"):
        raise ConfigError(f"{url[:200]} is how cargo names an index", hint=f"name the mirror itself: {base[:200]}")
    return base


def parse_url(url: str, what: str) -> BaseUrl:
    """Take a URL apart that holds no user name, password, query or fragment.

    Args:
        url: As somebody wrote it.
        what: What it is of, for messages.

    Raises:
        ConfigError: It is none.
    """
    what = f"{what} URL"
    parts = _split(url, what)
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"the {what} holds a user name or password, which carnet does not send",
            hint=f"leave out what stands before the @: {parts.scheme}://{(parts.hostname or '')[:80]}/; "
            "`carnet trust login URL` takes a token or a password",
        )
    return _address(parts, url, what)


def parse_proxy(url: str, source: str = "") -> Proxy:
    """A proxy as `http.proxy` and `HTTPS_PROXY` write it: `[http://][USER:PASSWORD@]HOST[:PORT]`.

    No message repeats it: it may hold a password.

    Args:
        url: As somebody wrote it.
        source: Who, for messages; empty when it is the caller.

    Raises:
        ConfigError: It is none, or of a kind that carnet does not speak.
    """
    what = f"proxy URL in {source}" if source else "proxy URL"
    scheme = url.partition("://")[0].lower() if "://" in url else "http"
    if scheme != "http":
        named = scheme if re.fullmatch(r"[a-z][a-z0-9+.-]{0,20}", scheme) else "something else"
        raise ConfigError(
            f"the {what} is not http://, but {named}://",
            hint="name a proxy that is spoken to with http://; what goes through it is https:// all the same",
        )
    parts = _split(url if "://" in url else f"http://{url}", what, secret=True)
    address = _address(parts, "", what, secret=True)
    origin = Origin(False, address.origin.host, parts.port or _PROXY_PORT)
    if parts.username is None and parts.password is None:
        return Proxy(origin, source)
    return Proxy(origin, source, basic(unquote_to_bytes(parts.username or ""), unquote_to_bytes(parts.password or "")))


def basic(user: bytes, password: bytes) -> str:
    """The header's value for a name and a password (RFC 7617)."""
    from binascii import b2a_base64  # few servers ask

    return f"Basic {b2a_base64(user + b':' + password, newline=False).decode()}"


def _split(url: str, what: str, *, secret: bool = False) -> SplitResult:
    shown = "" if secret else f" {url[:200]!a}"
    hint = f"for example {'http://proxy.example:3128' if secret else 'https://mirror.example/'}"  # secret: a proxy's
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigError(f"the {what}{shown} is not one", hint=hint) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"the {what}{shown} does not start with https:// or http:// and a host", hint=hint)
    return parts


def _address(parts: SplitResult, url: str, what: str, *, secret: bool = False) -> BaseUrl:
    shown = "" if secret else f" {url[:200]!a}"
    if parts.query or parts.fragment:
        raise ConfigError(
            f"the {what}{shown} holds a query or a fragment", hint="leave out what follows the ? or the #"
        )
    host = parts.hostname or ""
    path = parts.path if parts.path.endswith("/") else parts.path + "/"
    if PATH.match(path) is None or not _HOST.issuperset(host):
        raise ConfigError(
            f"the {what}{shown} has characters that a URL does not have",
            hint="look for a space or a letter that is not ASCII; write it as %XX",
        )
    labels = [] if ":" in host else host.removesuffix(".").split(".")
    if not all(1 <= len(label) <= 63 for label in labels):
        raise ConfigError(
            f"the {what}{shown} has a host name that cannot be one",
            hint="look for two dots in a row, or a part of more than 63 characters",
        )
    origin = Origin(parts.scheme == "https", host, parts.port or (443 if parts.scheme == "https" else 80))
    return BaseUrl(origin, path, f"{parts.scheme}://{parts.netloc}{path}")
