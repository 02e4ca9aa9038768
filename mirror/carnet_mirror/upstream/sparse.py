"""Crates from a sparse index that is read directly, without cargo."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urljoin, urlsplit

from carnet import strictjson
from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateId, CrateName
from carnet.errors import CarnetError, ConfigError, FormatError, StorageError, TransportError
from carnet.tuf.paths import index_prefix, url_path
from carnet_mirror.upstream.packages import UpstreamCrate

if TYPE_CHECKING:
    from urllib3 import PoolManager

_MAX_INDEX = 64 * 1024 * 1024
_MAX_TARBALL = 64 * 1024 * 1024
_MAX_CONFIG = 64 * 1024
_MAX_REDIRECTS = 5
_CONNECTIONS = 8
_DEADLINE = 120.0
_PIECE = 64 * 1024
_MARKERS = ("{crate}", "{version}", "{prefix}", "{lowerprefix}", "{sha256-checksum}")


@dataclass(frozen=True, slots=True)
class SparseUpstream:
    """A sparse index.

    Attributes:
        url: As cargo writes it: `sparse+https://host/index/`.
    """

    url: str

    def __post_init__(self) -> None:
        base = self.url.removeprefix("sparse+")
        parts = _split(base)
        if base == self.url or not _is_http(parts) or not base.endswith("/"):
            raise ConfigError(
                f"{self.url[:200]!a} is not the URL of a sparse index",
                hint="it looks like sparse+https://host/index/, with the slash at its end",
            )

    @property
    def name(self) -> str:
        """How the mirror remembers it."""
        return self.url

    def fetch(
        self, packages: Sequence[LockedPackage], scratch: Path, progress: Callable[[int], None]
    ) -> list[UpstreamCrate]:
        """See `Upstream.fetch`."""
        import urllib3

        base = self.url.removeprefix("sparse+")
        with urllib3.PoolManager(maxsize=_CONNECTIONS, block=True, retries=False) as pool:
            template = _download_template(_get(pool, urljoin(base, "config.json"), _MAX_CONFIG))

            def one(numbered: tuple[int, LockedPackage]) -> UpstreamCrate:
                number, package = numbered
                try:
                    return _fetch_one(pool, base, template, package, scratch / f"{number}.crate")
                except CarnetError as error:
                    return UpstreamCrate(package, None, str(error))
                finally:
                    progress(1)

            with ThreadPoolExecutor(_CONNECTIONS) as workers:
                return list(workers.map(one, enumerate(packages)))


def _fetch_one(pool: PoolManager, base: str, template: str, package: LockedPackage, path: Path) -> UpstreamCrate:
    name = package.id.name
    index = _get(pool, urljoin(base, f"{index_prefix(name)}/{name.text.lower()}"), _MAX_INDEX)
    tarball = _get(pool, fill_template(template, package.id, package.checksum or ""), _MAX_TARBALL, redirects=True)
    try:
        path.write_bytes(tarball)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None
    return UpstreamCrate(package, path, index=tuple(line for line in index.split(b"\n") if line))


def _download_template(config: bytes) -> str:
    value = strictjson.parse_object(config, "the upstream's config.json", max_bytes=_MAX_CONFIG)
    template = value.get("dl")
    if value.get("auth-required") is True:
        raise ConfigError(
            "this upstream demands credentials", hint="leave --upstream out: your own cargo has the credentials"
        )
    if not isinstance(template, str) or not _is_http(_split(template)):
        raise FormatError(
            f"the upstream's config.json has no usable `dl`: {str(template)[:200]!a} is no http:// or https:// URL",
            hint="ask whoever runs the upstream, or leave --upstream out: your own cargo may know how to fetch from it",
        )
    return template


def fill_template(template: str, crate: CrateId, checksum: str) -> str:
    """Where a tarball is downloaded: the `dl` of `config.json`, filled in as cargo fills it in."""
    if not any(marker in template for marker in _MARKERS):
        template += "/{crate}/{version}/download"
    prefix = index_prefix(crate.name)
    cased = _cased_prefix(crate.name)
    values = (str(crate.name), url_path(str(crate.version)), cased, prefix, checksum)
    for marker, value in zip(_MARKERS, values, strict=True):
        template = template.replace(marker, value)
    return template


def _cased_prefix(name: CrateName) -> str:
    text = name.text
    if len(text) <= 3:
        return index_prefix(name) if len(text) < 3 else f"3/{text[0]}"
    return f"{text[:2]}/{text[2:4]}"


def _get(pool: PoolManager, url: str, max_bytes: int, *, redirects: bool = False) -> bytes:
    """Fetch one file whole, within a deadline and a size.

    Raises:
        TransportError: It could not be had.
    """
    import urllib3

    deadline = time.monotonic() + _DEADLINE
    for _ in range(_MAX_REDIRECTS + 1):
        try:
            answer = pool.request(
                "GET",
                url,
                headers={"accept-encoding": "identity", "user-agent": "carnet"},
                timeout=urllib3.Timeout(connect=15, read=30),
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise TransportError(f"{url}: {' '.join(str(error).split())[:200]}") from None
        try:
            location = answer.headers.get("location")
            if redirects and answer.status in (301, 302, 303, 307, 308) and location:
                url = _redirected(url, location)
                continue
            if answer.status != 200:
                raise TransportError(f"{url} answered {answer.status}", status=answer.status)
            return _read(answer, url, max_bytes, deadline)
        finally:
            answer.close()
    raise TransportError(f"{url} redirects more than {_MAX_REDIRECTS} times")


def _read(answer: object, url: str, max_bytes: int, deadline: float) -> bytes:
    import urllib3

    if not isinstance(answer, urllib3.BaseHTTPResponse):
        raise TransportError(f"{url} did not answer")
    pieces: list[bytes] = []
    size = 0
    try:
        for piece in answer.stream(_PIECE, decode_content=False):
            pieces.append(piece)
            size += len(piece)
            if size > max_bytes:
                raise TransportError(f"{url} is larger than {max_bytes} bytes")
            if time.monotonic() > deadline:
                raise TransportError(f"{url} took longer than {_DEADLINE:.0f} s")
    except urllib3.exceptions.HTTPError as error:
        raise TransportError(f"{url}: {' '.join(str(error).split())[:200]}") from None
    return b"".join(pieces)


def _split(url: str) -> SplitResult | None:
    """A URL's parts; None for what cannot be one, such as half an IPv6 address, a port of letters."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_http(parts: SplitResult | None) -> bool:
    return parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)


def _redirected(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
    except ValueError:  # as `_split`
        target = ""
    parts = _split(target)
    if not _is_http(parts):
        raise TransportError(f"{url} redirects to {location[:200]!a}, which is no URL")
    if parts is not None and parts.scheme != urlsplit(url).scheme and parts.scheme != "https":
        raise TransportError(f"{url} redirects to {target[:200]!a}, which is less safe")
    return target
