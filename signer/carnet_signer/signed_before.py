"""What a signer has signed: the newest version of each role of one repository, so that none is signed twice.

A view that is held back, or a folder of long ago, looks like the present to somebody without a memory, and two
different files of one version with enough signatures let whoever has both choose who sees which. A JSON file in the
signer's own home, one for each repository, written durably before a signature leaves::

    {"_type": "carnet-signed", "version": 1, "roles": {"crate.serde": {"version": 7, "sha256": "…"}}}

The digest is that of the `signed` part in its canonical form: what signatures are over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carnet import durable, strictjson
from carnet.digests import sha256_hex
from carnet.errors import FormatError, SigningError, StorageError
from carnet.lock import locked
from carnet.strictjson import JsonObject
from carnet.tuf.roles import RoleFile

_MAX_FILE = 64_000_000


@dataclass(frozen=True, slots=True)
class SignedVersion:
    """The newest file of a role that was signed.

    Attributes:
        version: Its version.
        sha256: Of what the signature is over, in hex.
    """

    version: int
    sha256: str

    @classmethod
    def of(cls, file: RoleFile[Any]) -> SignedVersion:
        """What is remembered of a file."""
        return cls(file.signed.version, sha256_hex(file.message))


class SignedBefore:
    """What was signed of one repository.

    Args:
        path: The file, in a folder of the signer's own; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self, files: Mapping[str, RoleFile[Any]], *, again: bool = False) -> None:
        """Refuse to sign what contradicts what was signed before.

        Args:
            files: By role, what is to be signed.
            again: Whether another content of a version that was signed before is meant: what was signed is given up.

        Raises:
            SigningError: A role has a lower version than one that was signed, or the same one with other content.
            StorageError: The file is damaged, or the disk failed.
        """
        self._checked(files, again)

    def remember(self, files: Mapping[str, RoleFile[Any]], *, again: bool = False) -> None:
        """Check once more, and remember these files durably: only then may their signatures leave.

        Raises:
            SigningError: See `check`.
            StorageError: See `check`; or another process held the file's lock for long.
        """
        durable.private_folder(self._path.parent)
        busy = StorageError(f"another carnet process signs, and holds {self._path.parent / 'lock'}", hint="wait for it")
        with locked(self._path.parent / "lock", timeout=60, busy=busy):
            roles = self._checked(files, again) | {role: SignedVersion.of(file) for role, file in files.items()}
            value: JsonObject = {
                "_type": "carnet-signed",
                "version": 1,
                "roles": {role: {"version": one.version, "sha256": one.sha256} for role, one in sorted(roles.items())},
            }
            durable.write_file(self._path, strictjson.encode(value) + b"\n", mode=0o600)

    def _checked(self, files: Mapping[str, RoleFile[Any]], again: bool) -> dict[str, SignedVersion]:
        roles = self._read()
        for role, file in sorted(files.items()):
            before, now = roles.get(role), SignedVersion.of(file)
            if before is None or before == now or now.version > before.version:
                continue
            if now.version < before.version:
                raise SigningError(
                    f"you have signed version {before.version} of {role}, and this is version {now.version}",
                    hint="make the folder anew from what is published now; if the registry itself was set back, ask "
                    f"its operator, and take {role} out of {self._path}",
                )
            if not again:
                raise SigningError(
                    f"you have signed another version {now.version} of {role}: its sha256 is {before.sha256}, and "
                    f"that of this one {now.sha256}",
                    hint="with enough signatures both could be published: find out who has the other one; if it was "
                    "given up, and nobody will submit it, --sign-again",
                )
        return roles

    def _read(self) -> dict[str, SignedVersion]:
        try:
            data = durable.read_file(self._path, "the memory of what you signed", max_bytes=_MAX_FILE)
        except FileNotFoundError:
            return {}
        try:
            match strictjson.parse_object(data, "it", max_bytes=_MAX_FILE):
                case {"_type": "carnet-signed", "version": 1, "roles": dict(roles)}:
                    return {role: _signed(one) for role, one in roles.items()}
            raise FormatError("it is of another form")
        except FormatError as error:
            raise StorageError(
                f"{self._path} is damaged: {error}",
                hint="restore it from a copy; without it nothing keeps you from signing one version twice",
            ) from None


def _signed(value: Any) -> SignedVersion:
    match value:
        case {"version": int(version), "sha256": str(sha256)} if not isinstance(version, bool):
            return SignedVersion(version, sha256)
    raise FormatError("a role in it has no version and sha256")
