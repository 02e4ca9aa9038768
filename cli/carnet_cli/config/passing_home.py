"""A copy of a home of carnet that cannot be written, for as long as this process runs.

What a run sees has to count in the run itself: a refresh that goes back within it is refused. So the memory is copied
to where it can be written, and forgotten afterwards. The tarballs and sources that are kept for cargo are not copied.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import stat
import tempfile
from pathlib import Path

from carnet.durable import as_storage_error
from carnet.errors import ConfigError, StorageError
from carnet_verifier.cargo.localregistry import remove_tree

_PLACES = (None, "/dev/shm")  # noqa: S108  -- a folder of our own is made in it; None is where TMPDIR says


@functools.cache
def passing_home(home: Path) -> Path:
    """Copy what is trusted to a folder of our own, which is gone when the process ends.

    Args:
        home: The user's, which cannot be written.

    Raises:
        ConfigError: Others than root and this user can change it.
        StorageError: It cannot be read, or there is no place for temporary files.
    """
    for folder in (home, home / "trust"):
        with as_storage_error(folder):
            status = folder.stat()
        if status.st_mode & 0o022 or status.st_uid not in (0, os.geteuid()):
            raise ConfigError(
                f"{folder} can be written by somebody else",
                hint="it has to be root's or your own, and writable for nobody else; or set CARNET_HOME",
            )
    copy = _new_folder()
    atexit.register(remove_tree, copy)
    for trusted in sorted((home / "trust").iterdir()):
        if trusted.is_dir():
            _copy(trusted, copy / "trust" / trusted.name)
    return copy


def _new_folder() -> Path:
    for place in _PLACES:
        try:
            return Path(tempfile.mkdtemp(prefix="carnet-", dir=place)).resolve()
        except OSError as error:
            problem = error
    raise StorageError(
        f"no temporary folder can be made: {(problem.strerror or str(problem)).lower()}",
        hint="carnet's home cannot be written either; set TMPDIR to a folder that you may write to",
    )


def _copy(trusted: Path, to: Path) -> None:
    """Copy one trust directory. Permissions to write come along, so that what others could change is still refused."""
    with as_storage_error(trusted):
        for folder, _, names in os.walk(trusted, onerror=_raise):
            place = to / Path(folder).relative_to(trusted)
            place.mkdir(parents=True, mode=0o700)
            place.chmod(0o700 | Path(folder).stat().st_mode & 0o022)
            for file in (Path(folder, name) for name in names if name != "lock"):
                mode = file.lstat().st_mode
                if stat.S_ISREG(mode):
                    shutil.copyfile(file, place / file.name)
                    (place / file.name).chmod(0o600 | mode & 0o022)


def _raise(error: OSError) -> None:
    raise error
