"""Posting a small body to a repository's server, and reading the lines of the answer as they come.

By the same way, as the same person and within the same kind of bounds as everything that is fetched. What is
answered is untrusted, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from carnet.errors import TransportError
from carnet.value import value
from carnet_verifier.net.address import parse_url
from carnet_verifier.net.http1 import Connection, Limits
from carnet_verifier.net.patience import PASSING, retry_after
from carnet_verifier.net.route import DIRECT, Network

_CONNECT = 15.0


@value
class PostBounds:
    """What one answer may cost.

    Attributes:
        seconds: Until its end; it may be silent in between.
        size: Bytes of all of it.
    """

    seconds: float
    size: int


def post(
    url: str, path: str, body: bytes, *, media_type: str, bounds: PostBounds, network: Network = DIRECT
) -> Iterator[bytes]:
    """Post a body, and hand out the lines of the answer.

    Args:
        url: The repository's base URL.
        path: Below it.
        body: What is posted.
        media_type: What that is.
        bounds: What the answer may cost.
        network: How the server is reached, and as whom.

    Yields:
        One line after another, without its line break. A last one that has none was cut off, and is not handed out.

    Raises:
        TransportError: The server was not reached, answered with another status than 200, which the error names, or its
            answer broke a bound.
    """
    base = parse_url(url, "repository")
    limits = Limits(bounds.seconds, min(_CONNECT, bounds.seconds), 1, bounds.seconds)
    with closing(Connection(base.origin, limits, network.route_to(base.origin))) as connection:
        waiting = b""
        for data in connection.post(base.path + path, body, media_type, bounds.size):
            if isinstance(data, bytes):
                *lines, waiting = (waiting + data).split(b"\n")
                yield from lines
            elif data.status != 200:
                raise TransportError(
                    f"{base.url}{path}: answered {data.status}",
                    status=data.status,
                    passing=data.status in PASSING,
                    retry_after=retry_after(data.headers.get(b"retry-after", b"")),
                )
