"""What a signer has signed: the newest version of each role, so that no repository is shown two, or an older one.

A view that is held back, or a folder of long ago, looks like the present to somebody without a memory, and two
different files of one version with enough signatures let whoever has both choose who sees which. And a signature does
not say which repository it is for: a role's first version for a new one, by the keys of an old one, is an old version
there. JSON files in the signer's own home, written durably before a signature leaves. One for each repository::

    {"_type": "carnet-signed", "version": 1, "roles": {"crate.serde": {"version": 7, "sha256": "…"}}}

and one for each key, in `keys/`, named by the sha256 of the key's material, with what it signed in whichever
repository. `apart` is a repository where the signer once said that lower versions than elsewhere are meant::

    {"_type": "carnet-signed-by-key", "version": 1,
     "roles": {"crate.serde": {"<repository>": {"version": 7, "sha256": "…", "apart": false}}}}

The digest is that of the `signed` part in its canonical form: what signatures are over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from carnet import durable, strictjson
from carnet.digests import sha256_hex
from carnet.errors import FormatError, SigningError, StorageError
from carnet.lock import locked
from carnet.strictjson import Json, JsonObject
from carnet.tuf.keys import PublicKey
from carnet.tuf.roles import RoleFile

_MAX_FILE = 64_000_000
_UNKNOWN = "unknown"
T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """The newest file of a role that a key signed in one repository, and whether it stands apart from the others."""

    signed: SignedVersion
    apart: bool


class SignedBefore:
    """What was signed of one repository by this user, and of all of them with one key.

    Args:
        folder: Of the signer's own; it need not exist.
        repository: The repository's id; None when it is not known: then no version is lower in it than elsewhere.
        key: The key that is to sign.
    """

    def __init__(self, folder: Path, repository: str | None, key: PublicKey) -> None:
        self._folder, self._repository, self._key = folder, repository or _UNKNOWN, key
        self._path = folder / f"{self._repository}.json"
        self._key_path = folder / "keys" / f"{sha256_hex(key.material)}.json"

    def check(self, files: Mapping[str, RoleFile[Any]], *, again: bool = False) -> None:
        """Refuse to sign what contradicts what was signed before.

        Args:
            files: By role, what is to be signed.
            again: Whether what contradicts it is meant: another content of a version that was signed before, which is
                given up; or a version that is not above those that the key signed in other repositories.

        Raises:
            SigningError: A role has a lower version than one that was signed, or the same one with other content.
            StorageError: A file is damaged, or the disk failed.
        """
        self._checked(files, again)
        self._checked_elsewhere(files, again)

    def remember(self, files: Mapping[str, RoleFile[Any]], *, again: bool = False) -> None:
        """Check once more, and remember these files durably: only then may their signatures leave.

        Raises:
            SigningError: See `check`.
            StorageError: See `check`; or another process held the file's lock for long.
        """
        for folder in (self._folder, self._key_path.parent):
            durable.private_folder(folder)
        busy = StorageError(f"another carnet process signs, and holds {self._folder / 'lock'}", hint="wait for it")
        with locked(self._folder / "lock", timeout=60, busy=busy):
            roles, elsewhere = self._checked(files, again), self._checked_elsewhere(files, again)
            roles |= {role: SignedVersion.of(file) for role, file in files.items()}
            by_key: JsonObject = {
                "_type": "carnet-signed-by-key",
                "version": 1,
                "roles": {
                    role: {where: {**_written(one.signed), "apart": one.apart} for where, one in sorted(found.items())}
                    for role, found in sorted(elsewhere.items())
                },
            }
            value: JsonObject = {
                "_type": "carnet-signed",
                "version": 1,
                "roles": {role: _written(one) for role, one in sorted(roles.items())},
            }
            durable.write_file(self._key_path, strictjson.encode(by_key) + b"\n", mode=0o600)
            durable.write_file(self._path, strictjson.encode(value) + b"\n", mode=0o600)

    def _checked(self, files: Mapping[str, RoleFile[Any]], again: bool) -> dict[str, SignedVersion]:
        roles = _read(self._path, "carnet-signed", _signed)
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

    def _checked_elsewhere(self, files: Mapping[str, RoleFile[Any]], again: bool) -> dict[str, dict[str, _Elsewhere]]:
        """What the key signed in whichever repository, with these files."""
        roles = _read(self._key_path, "carnet-signed-by-key", _elsewhere)
        for role, file in sorted(files.items()):
            now, found = SignedVersion.of(file), roles.setdefault(role, {})
            here = found.get(self._repository)
            apart = here is not None and here.apart and self._repository != _UNKNOWN
            above = [
                one.signed.version
                for where, one in found.items()
                if where != self._repository and one.signed != now and one.signed.version >= now.version
            ]
            if above and not (apart or again):
                raise SigningError(
                    f"key {self._key.keyid} has signed version {max(above)} of {role} in another repository, and this "
                    f"is version {now.version}",
                    hint="a signature does not say which repository it is for, so this one could be shown there in "
                    "place of what is newer: a new registry wants new keys (`carnet key generate`); if this one shall "
                    "share yours all the same, --sign-again",
                )
            found[self._repository] = _Elsewhere(now, apart or bool(above))
        return roles


def _read(path: Path, kind: str, read: Callable[[Json], T]) -> dict[str, T]:
    """What a file says of each role; nothing when there is none."""
    try:
        data = durable.read_file(path, "the memory of what you signed", max_bytes=_MAX_FILE)
    except FileNotFoundError:
        return {}
    try:
        match strictjson.parse_object(data, "it", max_bytes=_MAX_FILE):
            case {"_type": str(found), "version": 1, "roles": dict(roles)} if found == kind:
                return {role: read(one) for role, one in roles.items()}
        raise FormatError("it is of another form")
    except FormatError as error:
        raise StorageError(
            f"{path} is damaged: {error}",
            hint="restore it from a copy; without it nothing keeps you from signing one version twice",
        ) from None


def _signed(value: Json) -> SignedVersion:
    match value:
        case {"version": int(version), "sha256": str(sha256)} if not isinstance(version, bool):
            return SignedVersion(version, sha256)
    raise FormatError("a role in it has no version and sha256")


def _elsewhere(value: Json) -> dict[str, _Elsewhere]:
    match value:
        case dict(found):
            return {where: _Elsewhere(_signed(one), _apart(one)) for where, one in found.items()}
    raise FormatError("a role in it has no repositories")


def _apart(value: Json) -> bool:
    match value:
        case {"apart": bool(apart)}:
            return apart
    raise FormatError("a role in it does not say whether it stands apart")


def _written(one: SignedVersion) -> JsonObject:
    return {"version": one.version, "sha256": one.sha256}
