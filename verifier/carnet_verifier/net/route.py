"""How a server is reached: through which proxy, by whose authorities, and as whom.

Nothing here reads anything: what cargo's configuration, the environment and files say is read in one place
(`carnet_cli.config.network`), and handed to whoever connects as one value.
"""

from __future__ import annotations

from collections.abc import Callable

from carnet.value import field, value

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@value
class Origin:
    """Whom to connect to: scheme, host and port (RFC 6454), to which everything secret is bound."""

    tls: bool
    host: str
    port: int

    @property
    def authority(self) -> str:
        """As a `Host` header has it."""
        return self.target.removesuffix(":443" if self.tls else ":80")

    @property
    def target(self) -> str:
        """As a `CONNECT` has it: always with the port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """As people write it."""
        return f"{'https' if self.tls else 'http'}://{self.authority}"


@value
class Proxy:
    """An HTTP proxy, which is spoken to in the clear.

    Attributes:
        origin: Where it is.
        source: Who names it, for people: a variable, or a file and a key.
        authorization: The header that says to it who one is; empty when it does not ask.
        for_loopback: Whether `http://` to this machine itself goes through it as well.
    """

    origin: Origin
    source: str = ""
    authorization: str = field(default="", repr=False)
    for_loopback: bool = True


@value
class Identity:
    """What says to one server who one is.

    Attributes:
        source: Where it is from, for people; nothing secret.
        authorization: The header of each request; empty when there is none.
        certificate: PEM file of a client certificate, or None.
        private_key: PEM file of its key; None when the certificate's file holds it.
    """

    source: str
    authorization: str = field(default="", repr=False)
    certificate: str | None = None
    private_key: str | None = None


@value
class Route:
    """How one server is reached.

    Attributes:
        proxy: Through which proxy; None: directly.
        ca_file: PEM file of the certificate authorities to trust instead of the system's, or None.
        ca_source: Who names that file, for people.
        identity: Who one is there; None: nobody says.
    """

    proxy: Proxy | None = None
    ca_file: str | None = None
    ca_source: str = ""
    identity: Identity | None = None


def _nobody(_: Origin) -> Identity | None:
    return None


@value
class Network:
    """How servers are reached.

    Attributes:
        proxy: The proxy for `https://`, or None.
        plain_proxy: The proxy for `http://`, or None.
        direct: Hosts that are reached without a proxy, as `NO_PROXY` writes them.
        direct_source: Who names those, for people.
        ca_file: PEM file of the certificate authorities to trust instead of the system's, or None.
        ca_source: Who names that file, for people.
        identify: Who one is at an origin, or None.
    """

    proxy: Proxy | None = None
    plain_proxy: Proxy | None = None
    direct: tuple[str, ...] = ()
    direct_source: str = ""
    ca_file: str | None = None
    ca_source: str = ""
    identify: Callable[[Origin], Identity | None] = field(default=_nobody, repr=False)

    def route_to(self, origin: Origin, *, anonymous: bool = False) -> Route:
        """How one server is reached.

        Who one is, is said over TLS, or to this machine itself and then through no proxy: nobody on the way reads it.

        Args:
            origin: The server.
            anonymous: Whether it is not told who asks: it was named by another server, and not by a person.

        Raises:
            CarnetError: What says who one is there cannot be read.
        """
        identity = None if anonymous or not may_be_told(origin) else self.identify(origin)
        proxy = self.proxy if origin.tls else self.plain_proxy
        if proxy is not None and is_direct(origin, self.direct):
            proxy = None
        if proxy is not None and not origin.tls and origin.host in LOOPBACK:
            proxy = proxy if proxy.for_loopback and identity is None else None
        return Route(proxy, self.ca_file, self.ca_source, identity)


DIRECT = Network()
"""Without proxies, by the system's authorities, as nobody."""


def may_be_told(origin: Origin) -> bool:
    """Whether an origin can be told who one is without others reading it on the way."""
    return origin.tls or origin.host in LOOPBACK


def is_direct(origin: Origin, patterns: tuple[str, ...]) -> bool:
    """Whether a host is reached without a proxy, by the rules that curl, and so cargo, has for `NO_PROXY`.

    A pattern is `*`, a name, which stands for all names below it as well (a dot in front changes nothing), an address,
    or a network such as `10.0.0.0/8`; any of the first three may end in a port.

    Args:
        origin: The server.
        patterns: What `NO_PROXY` lists.
    """
    host = origin.host.lower().rstrip(".")
    for pattern in patterns:
        if pattern == "*":
            return True
        if "/" in pattern:
            if _is_in_network(host, pattern):
                return True
            continue
        name, port = _parted(pattern.lower())
        name = name.strip(".")
        if port not in ("", str(origin.port)) or not name:
            continue
        if host == name or (host.endswith(f".{name}") and not _is_address(host)):
            return True
    return False


def _parted(pattern: str) -> tuple[str, str]:
    """A pattern's host and port, which may be empty."""
    if pattern.startswith("["):
        host, _, port = pattern[1:].partition("]")
        return host, port.removeprefix(":")
    host, _, port = pattern.partition(":")
    return (pattern, "") if ":" in port else (host, port)  # two colons: an address of IPv6


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _is_in_network(host: str, pattern: str) -> bool:
    if not _is_address(host):
        return False
    import ipaddress  # few lists have networks, and few mirrors are named by an address

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(pattern.strip("[]"), strict=False)
    except ValueError:
        return False
