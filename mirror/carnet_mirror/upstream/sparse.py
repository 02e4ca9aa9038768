"""Crates from a sparse index that is read directly, without cargo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

from carnet import strictjson
from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateId, CrateName
from carnet.errors import ConfigError, FormatError, StorageError, TransportError
from carnet.tuf.paths import index_prefix, url_path
from carnet_mirror.upstream.download import LIMITS, Downloads, is_http, split
from carnet_mirror.upstream.packages import UpstreamCrate, UpstreamIndex, beginning
from carnet_mirror.upstream.stopping import Stopped, ending, never
from carnet_verifier.net.http1 import Limits
from carnet_verifier.net.patience import Patience
from carnet_verifier.net.route import DIRECT, Network

MAX_INDEX = 64 * 1024 * 1024
MAX_TARBALL = 64 * 1024 * 1024
_MAX_CONFIG = 64 * 1024
_CONNECTIONS = 8
_GZIP = b"\x1f\x8b"
_HAS_NONE = frozenset((403, 404, 410, 451))
"""Statuses by which an upstream says that it does not give a file: the public registry's storage says 403."""
_MARKERS = ("{crate}", "{version}", "{prefix}", "{lowerprefix}", "{sha256-checksum}")


@dataclass(frozen=True, slots=True)
class SparseUpstream:
    """A sparse index.

    Attributes:
        url: As cargo writes it: `sparse+https://host/index/`.
        limits: What one answer may cost.
        patience: How often it is asked again.
        network: How it is reached, and as whom.
        remembered: Where index files are kept that were asked for by `index`, so that `fetch` does not ask again; None
            where they are not.
        stopped: Whether nobody waits for it any more.
    """

    url: str
    limits: Limits = field(default=LIMITS, repr=False)
    patience: Patience = field(default=Patience(), repr=False)
    network: Network = field(default=DIRECT, repr=False)
    remembered: dict[CrateName, tuple[bytes, ...]] | None = field(default=None, repr=False, compare=False)
    stopped: Stopped = field(default=never, repr=False, compare=False)

    def __post_init__(self) -> None:
        base = self.url.removeprefix("sparse+")
        if base == self.url or not is_http(split(base)) or not base.endswith("/"):
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
        base = self.url.removeprefix("sparse+")
        with Downloads(self.limits, self.patience, network=self.network, known=base) as downloads:
            template = _configured(downloads, urljoin(base, "config.json"))

            def one(numbered: tuple[int, LockedPackage]) -> UpstreamCrate:
                number, package = numbered
                try:
                    known = (self.remembered or {}).get(package.id.name)
                    return _fetch_one(downloads, base, template, package, scratch / f"{number}.crate", known)
                finally:
                    progress(1)

            with ending(self.stopped, downloads.abort), ThreadPoolExecutor(_CONNECTIONS) as workers:
                return list(workers.map(one, enumerate(packages)))

    def index(self, names: Sequence[CrateName], scratch: Path) -> dict[CrateName, UpstreamIndex]:
        """See `IndexedUpstream.index`."""
        base = self.url.removeprefix("sparse+")
        with Downloads(self.limits, self.patience, network=self.network, known=base) as downloads:

            def one(name: CrateName) -> UpstreamIndex:
                try:
                    lines = _index_lines(downloads, base, name)
                except TransportError as error:
                    return UpstreamIndex((), str(error), error.absent)
                if self.remembered is not None:
                    self.remembered[name] = lines
                return UpstreamIndex(lines, "the upstream's index file of the crate is empty")

            with ending(self.stopped, downloads.abort), ThreadPoolExecutor(_CONNECTIONS) as workers:
                return dict(zip(names, workers.map(one, names), strict=True))


def _index_lines(downloads: Downloads, base: str, name: CrateName) -> tuple[bytes, ...]:
    data = downloads.get(urljoin(base, f"{index_prefix(name)}/{name.text.lower()}"), MAX_INDEX)
    return tuple(line for line in data.split(b"\n") if line.strip())


def _fetch_one(
    downloads: Downloads,
    base: str,
    template: str,
    package: LockedPackage,
    path: Path,
    known: tuple[bytes, ...] | None = None,
) -> UpstreamCrate:
    name = package.id.name
    silence = "the upstream's index file of the crate is empty"
    try:
        index = _index_lines(downloads, base, name) if known is None else known
    except TransportError as error:
        return UpstreamCrate(package, None, str(error), has_none=error.absent, silence=str(error))
    try:
        tarball = downloads.get(fill_template(template, package.id, package.checksum or ""), MAX_TARBALL)
    except TransportError as error:
        return UpstreamCrate(package, None, str(error), error.status in _HAS_NONE, index, silence)
    if not tarball.startswith(_GZIP):
        reason = f"what the upstream sent is no tarball: {beginning(tarball)}"
        return UpstreamCrate(package, None, reason, index=index, silence=silence)
    try:
        path.write_bytes(tarball)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}", hint="make room where temporary files go, or set TMPDIR"
        ) from None
    return UpstreamCrate(package, path, index=index, silence=silence)


def _configured(downloads: Downloads, url: str) -> str:
    """Where tarballs are; an upstream that says it in no way that can be read has said nothing at all."""
    try:
        return _download_template(downloads.get(url, _MAX_CONFIG))
    except FormatError as error:
        raise TransportError(
            f"{url}: {error}", hint="is it an index's address? a proxy or a login page may have answered in its place"
        ) from None


def _download_template(config: bytes) -> str:
    value = strictjson.parse_object(config, "the upstream's config.json", max_bytes=_MAX_CONFIG)
    template = value.get("dl")
    if value.get("auth-required") is True:
        raise ConfigError(
            "this upstream demands credentials", hint="leave --upstream out: your own cargo has the credentials"
        )
    if not isinstance(template, str) or not is_http(split(template)):
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
