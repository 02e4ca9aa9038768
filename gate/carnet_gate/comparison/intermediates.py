"""Where cargo keeps what only cargo looks at: a folder of the gate's own, from which nothing is used that others built.

cargo compiles nothing again that it finds and that looks fresh. So what plain cargo builds, or whoever restores a
`target` folder, must not lie where the gate's cargo looks; and if both had one folder, each would compile everything
again after the other. What is finished (programs, libraries) stays where the user wants it, and comes from here in each
run, whoever put another one there.

The folder lies in the one that cargo would use, by a name that only carnet's home knows. That home also remembers which
folder it made: another one in its place, such as one out of a cache, or out of a project's archive, is removed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from carnet.digests import sha256_hex
from carnet.durable import as_storage_error, make_folder, private_folder, read_file, write_file
from carnet.errors import FormatError, StorageError
from carnet.strictjson import encode, parse_object
from carnet_gate.comparison.birth import Identity, identity_of
from carnet_gate.home import quoted
from carnet_verifier.cargo.localregistry import remove_tree

_MAX = 10_000
_NAME = re.compile("carnet-[0-9a-f]{16}")


class Intermediates:
    """The gate's own folder in one that cargo would build into.

    Args:
        records: Where carnet's home remembers such folders.
        outputs: What cargo would build into: absolute, without links; they need not be there yet.
        separates: Whether this cargo keeps what is finished elsewhere. If not, that too goes into the folder.

    Attributes:
        path: The folder.
        is_new: Whether nothing was ever built in it.
        outputs: The folders that cargo builds into.
        flags: What cargo is told of it, after whatever the user tells of the same.
        environment: The variables that tell it to a cargo that does not separate.

    Raises:
        StorageError: What is remembered cannot be read.
    """

    def __init__(self, records: Path, outputs: Sequence[Path], *, separates: bool) -> None:
        self._results, self._beside, self._separates = outputs[0], outputs[-1], separates
        self._file = records / f"{sha256_hex(os.fsencode(self._beside))}.json"
        name, made = self._remembered() or (f"carnet-{os.urandom(8).hex()}", None)
        self.is_new = made is None
        self._take(name)

    def _take(self, name: str) -> None:
        self.path = self._beside / name
        self.outputs = (self._results, self.path) if self._separates else (self.path,)
        self.flags = ["--config", f"build.build-dir={quoted(str(self.path))}"] if self._separates else []
        self.environment = {} if self._separates else {"CARGO_TARGET_DIR": str(self.path)}

    def make(self, warn: Callable[[str], None]) -> None:
        """Make the folder, unless the one that was made is still there. No other gate may be at it.

        Args:
            warn: Is told what was removed, and why.

        Raises:
            StorageError: The system refused.
        """
        name, made = self._remembered() or (self.path.name, None)
        self._take(name)  # another gate was faster, perhaps
        found = identity_of(self.path)
        with as_storage_error(self.path):
            if os.path.lexists(self.path):
                if not self.path.is_symlink() and found == made and found is not None and found[2]:
                    return
                warn(f"{self.path} {_why(found)}: it is removed, and everything is compiled anew")
                remove_tree(self.path)
            make_folder(self.path.parent, mode=0o777)  # narrowed by the umask, as cargo makes them
            self.path.mkdir()
        write_file(private_folder(self._file.parent) / self._file.name, _text(name, identity_of(self.path)), mode=0o600)

    def _remembered(self) -> tuple[str, Identity] | None:
        """The folder's name, and what tells the folder that was made from any other; None before one was."""
        try:
            document: Any = parse_object(read_file(self._file, "the record", max_bytes=_MAX), "it", max_bytes=_MAX)
            name, (device, inode, birth) = document["name"], map(int, document["identity"])
            if _NAME.fullmatch(name) is None:
                raise ValueError(name)
            return name, (device, inode, birth)
        except FileNotFoundError:
            return None
        except (FormatError, KeyError, TypeError, ValueError):
            raise StorageError(f"{self._file} is damaged", hint="remove it: everything is compiled anew then") from None


def _why(found: Identity | None) -> str:
    if found is not None and not found[2]:
        return "lies on a file system that does not tell when a folder came into being, so it may be another one"
    return "is not the folder that carnet made (out of a cache, perhaps)"


def _text(name: str, identity: Identity | None) -> bytes:
    if identity is None:
        raise StorageError(f"the folder {name} is gone again", hint="see what removes it while cargo runs")
    return encode({"name": name, "identity": [*identity]})
