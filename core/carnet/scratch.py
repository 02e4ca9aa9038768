"""A temporary folder, or an error that says that none can be made."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carnet.errors import StorageError


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder of our own, absolute and without links in its path; it is gone when the block ends.

    Raises:
        StorageError: There is no place for temporary files that can be written to.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="carnet-")
    except OSError as problem:
        raise StorageError(
            f"no temporary folder can be made: {(problem.strerror or str(problem)).lower()}",
            hint="set TMPDIR to a folder that you may write to",
        ) from None
    with made as folder:
        yield Path(folder).resolve()
