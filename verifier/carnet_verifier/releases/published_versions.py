"""The versions of a crate that its registry has published, as a new claim adopts them: every tarball is compared.

The signed index has their digests, and only the tarballs themselves have their lengths, which owners sign as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carnet.cargo.crate import CrateLimits
from carnet.cargo.index_line import IndexFile
from carnet.cargo.names import CrateId, CrateName
from carnet.claims.history import History
from carnet.digests import sha256_hex
from carnet.errors import MetadataMismatch, TransportError
from carnet.progress import Progress
from carnet.tuf import paths

_NOT_HERE = frozenset((403, 404, 451))
"""Statuses by which a mirror says that it has no tarball of a version that it lists."""

if TYPE_CHECKING:
    from carnet_verifier.tuf.repository import TrustedRepository
    from carnet_verifier.tuf.view import View


@dataclass(frozen=True)
class PublishedVersions:
    """What a registry has published of a crate; only `read_published_versions` makes one.

    Attributes:
        index: The crate's verified index file.
        lengths: Bytes of each tarball that is there, by its sha256.
        history: What its upstream lists, verified; None when the registry says nothing of that.
    """

    index: IndexFile
    lengths: Mapping[str, int]
    history: History | None


def read_published_versions(view: View, name: CrateName, progress: Progress) -> PublishedVersions | None:
    """Read every version of a crate, and compare every tarball with the signed index.

    Args:
        view: A verified view of the registry.
        name: The crate.
        progress: Is told how far it is, one unit for each version.

    Returns:
        The versions; None when the registry signed that it has no such crate.

    Raises:
        MetadataMismatch: A tarball is not the one in the signed index.
        TransportError: Nothing was decided.
    """
    path = paths.index_path(name)
    target = view.repository.find_targets([path])[path]
    if target is None:
        return None
    index = IndexFile.from_bytes(view.repository.download(target), name)
    lengths: dict[str, int] = {}
    with progress("adopting", len(index.readable)) as count:
        for line in index.readable:
            data = _tarball(view, line.id)
            if data is not None and sha256_hex(data) != line.cksum:
                raise MetadataMismatch(f"the mirror's tarball of {line.id} is not the one in its signed index")
            if data is not None:
                lengths[line.cksum] = len(data)
            count(1)
    return PublishedVersions(index, lengths, read_history(view.repository, name))


def _tarball(view: View, crate: CrateId) -> bytes | None:
    """A version's tarball; None where the mirror lists the version only, and does not have it."""
    try:
        return view.fetcher.get(paths.download_path(crate), max_bytes=CrateLimits().compressed)
    except TransportError as error:
        if error.status in _NOT_HERE:
            return None
        raise


def read_history(repository: TrustedRepository, name: CrateName) -> History | None:
    """What a registry says that its upstream lists of a crate; None when it signed that it says nothing.

    Raises:
        FormatError: It does not parse.
        TransportError: Nothing was decided.
    """
    path = paths.history_path(name)
    target = repository.find_targets([path])[path]
    return None if target is None else History.from_bytes(repository.download(target), name)
