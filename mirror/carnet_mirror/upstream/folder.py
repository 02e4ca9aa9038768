"""An upstream that is a folder, in the form of cargo's local registries: carried on a disk, where there is no network.

::

    PATH/index/se/rd/serde     its index lines
    PATH/serde-1.0.220.crate   a tarball

It is believed no more than one that answers over HTTP: lines and tarballs are read strictly, held against each other
and against the lock. Nothing outside of the folder is read, whatever links lie in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateName
from carnet.durable import read_file
from carnet.errors import ConfigError, StorageError, UnfitFile
from carnet.tuf.paths import index_prefix
from carnet_mirror.upstream.packages import UpstreamCrate, UpstreamIndex
from carnet_mirror.upstream.sparse import MAX_INDEX, MAX_TARBALL

_EMPTY = "the folder's index file of the crate is empty"


@dataclass(frozen=True)
class FolderUpstream:
    """A local registry, as `cargo local-registry` and `carnet vendor --local-registry` write one.

    Args:
        path: The folder.

    Raises:
        ConfigError: It is none.
    """

    path: Path

    def __post_init__(self) -> None:
        if not (self.path / "index").is_dir():
            raise ConfigError(
                f"{self.path} is no local registry: it has no folder index",
                hint="name a folder with index/ and .crate files, or the URL of a sparse index: sparse+https://host/index/",
            )

    @property
    def name(self) -> str:
        """How the mirror remembers it."""
        return f"local-registry+{self.path.resolve().as_uri()}"

    def fetch(
        self, packages: Sequence[LockedPackage], scratch: Path, progress: Callable[[int], None]
    ) -> list[UpstreamCrate]:
        """See `Upstream.fetch`."""
        index = self.index(list(dict.fromkeys(package.id.name for package in packages)), scratch)
        found = []
        for number, package in enumerate(packages):
            found.append(self._fetch_one(package, index[package.id.name], scratch / f"{number}.crate"))
            progress(1)
        return found

    def index(self, names: Sequence[CrateName], scratch: Path) -> dict[CrateName, UpstreamIndex]:
        """See `IndexedUpstream.index`: what has no file is not there."""
        return {name: self._index_of(name) for name in names}

    def _index_of(self, name: CrateName) -> UpstreamIndex:
        try:
            data = read_within(
                self.path, f"index/{index_prefix(name)}/{name.text.lower()}", "the index file", MAX_INDEX
            )
        except FileNotFoundError:
            return UpstreamIndex((), "the folder has no index file of the crate", absent=True)
        except UnfitFile as error:
            return UpstreamIndex((), str(error))
        return UpstreamIndex(tuple(line for line in data.split(b"\n") if line.strip()), _EMPTY)

    def _fetch_one(self, package: LockedPackage, said: UpstreamIndex, path: Path) -> UpstreamCrate:
        file = f"{package.id.stem}.crate"
        try:
            path.write_bytes(read_within(self.path, file, "the tarball", MAX_TARBALL))
        except FileNotFoundError:
            return UpstreamCrate(package, None, f"the folder has no {file}", True, said.chunks, said.silence)
        except UnfitFile as error:
            return UpstreamCrate(package, None, str(error), False, said.chunks, said.silence)
        except OSError as error:
            raise StorageError(
                f"cannot write {path}: {error.strerror}", hint="make room where temporary files go, or set TMPDIR"
            ) from None
        return UpstreamCrate(package, path, index=said.chunks, silence=said.silence)


def read_within(folder: Path, file: str, what: str, most: int) -> bytes:
    """One file of a folder that somebody else has written.

    Args:
        folder: The folder; it may be named by way of a link.
        file: The path below it.
        what: What it is, for the message.
        most: Bytes that it may have.

    Raises:
        FileNotFoundError: It is not there.
        UnfitFile: It is no regular file, too large, or a link that leads out of the folder.
        StorageError: It cannot be read.
    """
    path = folder / file
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):  # it may be a loop of links
        raise UnfitFile(f"{path} is a link that leads out of the folder", hint="put a file there")
    return read_file(path, what, max_bytes=most)
