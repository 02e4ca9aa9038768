"""A ceremony on the disk: a folder of `<N>.<role>.json`, which people copy to one another."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from carnet import durable
from carnet.durable import users_file
from carnet.errors import CarnetError, ConfigError, FormatError, SigningError
from carnet.folder import read_folder
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import RoleFile, Root, Signed, Targets
from carnet_signer.ceremony import claim_files
from carnet_signer.ceremony.ceremony import MAX_FILE, OFFLINE_ROLES, Ceremony
from carnet_signer.ceremony.claim_files import ClaimFiles

_FILE = re.compile(r"([1-9][0-9]{0,9})\.([a-z0-9-]+)\.json\Z")
_KNOWN = frozenset(OFFLINE_ROLES)


def read(folder: Path) -> Ceremony:
    """Read a ceremony's folder, or any folder with published metadata; files of other roles are passed over.

    Raises:
        ConfigError: There is no such folder, no ceremony in it, or a file that does not parse or is not of the version
            that its name says.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}", hint="`carnet root init` makes one")
    with users_file(folder, "ceremony"):
        return _read(folder)


def _read(folder: Path) -> Ceremony:
    files: dict[str, dict[int, RoleFile[Signed]]] = {}
    found = read_folder(folder, max_bytes=MAX_FILE, wanted=_has_a_place, deep=False)
    for name, data in found.items():
        if not _is_role_file(name):
            continue
        number, _, role = name.removesuffix(".json").partition(".")
        try:
            envelope = _parse(role, data, name)
        except FormatError as error:
            raise FormatError(f"{folder}: {error}", hint=error.hint) from None
        if envelope.signed.version != int(number):
            raise FormatError(f"{folder / name} says that it is of version {envelope.signed.version}")
        files.setdefault(role, {})[int(number)] = envelope
    if paths.ROOT not in files:
        raise ConfigError(f"there is no root in {folder}", hint="`carnet root init` makes a ceremony")
    return Ceremony(files, _read_claims(folder, found))


def _read_claims(folder: Path, files: Mapping[str, bytes]) -> ClaimFiles:
    try:
        return ClaimFiles.of({name: files[name] for name in claim_files.newest(files)})
    except FormatError as error:
        raise FormatError(f"{folder}: {error}", hint=error.hint) from None


def remove_superseded(folder: Path) -> None:
    """Take owners' and release keys' files out that a newer one replaces; one that stays harms nothing."""
    listed = [path.name for path in folder.iterdir() if claim_files.is_one(path.name)]
    for name in set(listed) - set(claim_files.newest(listed)):
        with suppress(OSError):
            (folder / name).unlink()


def overlay(ceremony: Ceremony, files: Mapping[str, bytes]) -> Ceremony:
    """The ceremony as it will be when these files, named as in the folder, are written."""
    found = {role: dict(versions) for role, versions in ceremony.files.items()}
    for name, data in files.items():
        match = _FILE.match(name)
        if match is not None and match[2] in _KNOWN:
            found.setdefault(match[2], {})[int(match[1])] = _parse(match[2], data, name)
    return Ceremony(found, ceremony.claims.with_newer(ClaimFiles.of(files)))


def create(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a ceremony's folder, whole or not at all.

    Raises:
        ConfigError: There is something already.
        StorageError: The disk failed.
    """
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise ConfigError(f"{folder} exists already", hint="a ceremony starts in a new folder")
    durable.make_folder(folder.parent)
    beside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    durable.make_folder(beside)
    try:
        durable.write_files(beside, files)
        os.rename(beside, folder)  # noqa: PTH104  -- as everywhere in `carnet.durable`
        durable.sync_folder(folder.parent)
    except (CarnetError, OSError):
        for path in beside.glob("*"):
            path.unlink(missing_ok=True)
        beside.rmdir()
        raise


def finished(folder: Path) -> dict[str, bytes]:
    """The newest file of every offline role, for publishing, once all of them are final.

    Raises:
        SigningError: Signatures are missing.
        FormatError: A file does not parse.
    """
    ceremony = read(folder)
    pending = ceremony.pending()
    if pending:
        raise SigningError(
            f"{len(pending)} files of the ceremony still need signatures, {pending[0]} among them",
            hint=f"`carnet root status {folder}` says whose",
        )
    return {role: ceremony.latest(role).raw for role in OFFLINE_ROLES}


def _has_a_place(name: str) -> bool:
    return _is_role_file(name) or claim_files.is_one(name)


def _is_role_file(name: str) -> bool:
    match = _FILE.match(name)
    return match is not None and match[2] in _KNOWN


def _parse(role: str, data: bytes, name: str) -> RoleFile[Signed]:
    if role == paths.ROOT:
        return parse_role(data, Root, max_bytes=MAX_FILE, what=name)
    return parse_role(data, Targets, max_bytes=MAX_FILE, what=name)
