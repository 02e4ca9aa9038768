"""Publications: in a plain folder, and in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from carnet import durable


@dataclass(frozen=True)
class FolderPublication:
    """Files below one folder; implements `carnet_signer.metadata.publish.Publication`."""

    folder: Path

    def read(self, path: str) -> bytes | None:
        try:
            return (self.folder / path).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes) -> None:
        durable.make_folder((self.folder / path).parent)
        durable.write_file(self.folder / path, data)

    def write_all(self, files: Mapping[str, bytes]) -> None:
        folders: dict[Path, dict[str, bytes]] = {}
        for path, data in files.items():
            place = self.folder / path
            folders.setdefault(place.parent, {})[place.name] = data
        for folder, content in folders.items():
            durable.make_folder(folder)
            durable.write_files(folder, content)


@dataclass
class MemoryPublication:
    """Files in a dictionary; `log` has the paths in the order in which they were written."""

    files: dict[str, bytes] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def write(self, path: str, data: bytes) -> None:
        self.log.append(path)
        self.files[path] = data

    def write_all(self, files: Mapping[str, bytes]) -> None:
        for path, data in files.items():
            self.write(path, data)
