"""Where the metadata files that were trusted last are kept: in memory, or in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from carnet import durable
from carnet.tuf import paths
from carnet.tuf.roles import Snapshot


class MetadataStore(Protocol):
    """Where the files that were trusted last are kept, by role.

    Attributes:
        proofs: Digests that stand for verified signatures; see `carnet_verifier.tuf.workflow.TrustedRoles`.
    """

    proofs: set[bytes]

    def read(self, role: str) -> bytes | None:
        """The file, or None when there is none that can be read."""
        ...

    def keep(self, role: str, data: bytes) -> None:
        """Replace a file, durably: it is a memory that protects against going back."""
        ...

    def cache(self, files: Mapping[str, bytes]) -> None:
        """Replace files of delegated roles, without waiting for the disk: they can be fetched again."""
        ...

    def flush(self) -> None:
        """What was cached and proved so far is there for the next run."""
        ...


class MemoryStore:
    """Keeps files for the life of the process."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self.proofs: set[bytes] = set()

    def read(self, role: str) -> bytes | None:
        """See `MetadataStore.read`."""
        return self._files.get(role)

    def keep(self, role: str, data: bytes) -> None:
        """See `MetadataStore.keep`."""
        self._files[role] = data

    def cache(self, files: Mapping[str, bytes]) -> None:
        """See `MetadataStore.cache`."""
        self._files.update(files)

    def flush(self) -> None:
        """See `MetadataStore.flush`."""


class MetadataDirectory:
    """Keeps files in a folder, as `<role>.json` without a version, byte for byte as they came."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.proofs: set[bytes] = set()

    def read(self, role: str) -> bytes | None:
        """See `MetadataStore.read`."""
        try:
            return durable.read_file(self._file(role), "trusted metadata", max_bytes=Snapshot.MAX_BYTES)
        except FileNotFoundError:
            return None

    def keep(self, role: str, data: bytes) -> None:
        """See `MetadataStore.keep`."""
        durable.write_file(self._file(role), data, mode=0o600)

    def cache(self, files: Mapping[str, bytes]) -> None:
        """See `MetadataStore.cache`."""
        for role, data in files.items():
            durable.write_file(self._file(role), data, mode=0o600)

    def flush(self) -> None:
        """See `MetadataStore.flush`; nothing is put off here."""

    def _file(self, role: str) -> Path:
        return self._path / f"{paths.role_file(role)}.json"
