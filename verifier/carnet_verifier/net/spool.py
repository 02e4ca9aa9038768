"""An answer's body while it waits to be read: in memory when it is small, on the disk when it is not."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from carnet.errors import TransportError

IN_MEMORY = 1024 * 1024
"""Bytes of one body in memory; whoever answers sixteen requests at once with all that they allow for fills the disk."""


class Spool:
    """Takes a body piece by piece, and gives it back as often as it is asked for.

    What is on the disk has no name there, and is gone with this object.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._file: int | None = None
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def on_disk(self) -> bool:
        """Whether it was too large for memory."""
        return self._file is not None

    def begin(self, size: int) -> bytes:
        """Its first bytes, so many at most."""
        return bytes(self._data[:size]) if self._file is None else os.pread(self._file, size, 0)

    def write(self, data: bytes) -> None:
        """Take one piece.

        Raises:
            TransportError: The disk does not take it.
        """
        self._length += len(data)
        self._data += data
        if self._length > IN_MEMORY:
            try:
                self._spill()
            except OSError as error:
                raise TransportError(
                    f"a large answer cannot be kept while it arrives: {(error.strerror or str(error)).lower()}",
                    hint="set TMPDIR to a folder with room for it",
                ) from None

    def _spill(self) -> None:
        if self._file is None:
            import tempfile  # few runs fetch anything large

            self._file, path = tempfile.mkstemp(prefix="carnet-")
            weakref.finalize(self, os.close, self._file)
            Path(path).unlink()
        rest = memoryview(bytes(self._data))
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._data.clear()

    def read(self) -> bytes:
        """All of it.

        Raises:
            TransportError: The disk does not give it back.
        """
        if self._file is None:
            return bytes(self._data)
        try:
            data = bytearray()
            while len(data) < self._length:
                piece = os.pread(self._file, self._length - len(data), len(data))
                if not piece:
                    raise TransportError("a large answer that was kept on the disk is shorter than it was")
                data += piece
        except OSError as error:
            raise TransportError(f"a large answer cannot be read back: {error.strerror}") from None
        return bytes(data)
