"""Publications: in a plain folder, and in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from carnet import durable
from carnet.errors import StorageError
from carnet.tuf import paths
from carnet_signer.metadata.publication import Publication
from carnet_signer.metadata.published_state import metadata_path

TIMESTAMP = metadata_path(paths.TIMESTAMP, None)


@dataclass(frozen=True)
class FolderPublication:
    """Files below one folder; implements `carnet_signer.metadata.publication.Publication`.

    What is staged or sealed lies where it will be served from: no name that is visible leads to it.
    """

    folder: Path

    def read(self, path: str) -> bytes | None:
        try:
            return (self.folder / path).read_bytes()
        except FileNotFoundError:
            return None

    def stage(self, files: Mapping[str, bytes]) -> None:
        folders: dict[Path, dict[str, bytes]] = {}
        for path, data in new_files(self, files).items():
            place = self.folder / path
            folders.setdefault(place.parent, {})[place.name] = data
        for folder, content in folders.items():
            durable.make_folder(folder)
            durable.write_files(folder, content)

    def seal(self, version: int, snapshot: bytes) -> None:
        self.stage({metadata_path(paths.SNAPSHOT, version): snapshot})

    def reveal(self, timestamp: bytes, new_root: tuple[int, bytes] | None = None) -> None:
        for path, data in one_after_another(self, timestamp, new_root):
            durable.make_folder((self.folder / path).parent)
            durable.write_file(self.folder / path, data)


@dataclass
class MemoryPublication:
    """Files in a dictionary.

    Attributes:
        files: What is visible.
        staged: What is not yet.
        log: The paths in the order in which they were written.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    staged: dict[str, bytes] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def read(self, path: str) -> bytes | None:
        return self.staged.get(path, self.files.get(path))

    def stage(self, files: Mapping[str, bytes]) -> None:
        self.log += files
        self.staged |= new_files(self, files)

    def seal(self, version: int, snapshot: bytes) -> None:
        self.stage({metadata_path(paths.SNAPSHOT, version): snapshot})

    def reveal(self, timestamp: bytes, new_root: tuple[int, bytes] | None = None) -> None:
        files = dict(one_after_another(self, timestamp, new_root))
        self.log += files
        self.files |= self.staged | files
        self.staged.clear()


def new_files(publication: Publication, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those of some files that are not there yet.

    Raises:
        StorageError: One of them would change what is there.
    """
    found = {}
    for path, data in files.items():
        there = publication.read(path)
        if there is None:
            found[path] = data
        elif there != data:
            raise StorageError(f"{path} is published already, with other bytes")
    return found


def one_after_another(
    publication: Publication, timestamp: bytes, new_root: tuple[int, bytes] | None
) -> Iterator[tuple[str, bytes]]:
    """What to reveal where it cannot be revealed at once, in the order that leaves a valid state after each.

    Raises:
        StorageError: The root would change what is there.
    """
    root = {} if new_root is None else {metadata_path(paths.ROOT, new_root[0]): new_root[1]}
    root = new_files(publication, root)
    last = [*root.items()]
    if publication.read(TIMESTAMP) is None:
        yield from last
        last = []
    yield TIMESTAMP, timestamp
    yield from last
