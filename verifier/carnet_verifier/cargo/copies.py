"""Copies of crates that lie on a machine, as cargo would take them: found, not yet looked at.

::

    <CARGO_HOME>/registry/cache/<registry>/<name>-<version>.crate    a tarball
    <CARGO_HOME>/registry/src/<registry>/<name>-<version>/           sources that cargo unpacked from it
    <CARGO_HOME>/git/checkouts/<repository>/<commit>/                a checkout of a package from git
    <vendor folder>/<any name>/Cargo.toml                            a vendored crate, whatever its folder is called

cargo calls the folder of a registry by its host and a number of its own: `index.HOST-1949cf8c6b5b557f`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from carnet import stricttoml
from carnet.cargo.names import CrateId
from carnet.durable import read_file
from carnet.errors import CarnetError, ConfigError, FormatError, StorageError
from carnet.value import value
from carnet_verifier.cargo.local_index import FOLDER, index_strays
from carnet_verifier.cargo.vendored import MARK

MANIFEST = "Cargo.toml"
_MAX_MANIFEST = 10_000_000
_TARBALL = ".crate"
_CRATES_IO_BY_GIT = "github.com-1ecc6299db9ec823"
"""What older cargos call the index of crates-io that is a git repository."""
_CARGOS = frozenset(("CACHEDIR.TAG",))


@value
class Copy:
    """One copy.

    Attributes:
        kind: `tarball`, `sources`, `checkout` or `vendored`.
        path: Where it lies.
        place: The folder of the registry or git repository that cargo took it from; empty in a vendor folder.
        crate: Which crate it calls itself; None of a checkout, and where it does not say.
        problem: Why it does not say; empty otherwise.
    """

    kind: str
    path: Path
    place: str
    crate: CrateId | None
    problem: str = ""


@value
class OnDisk:
    """What was found.

    Attributes:
        copies: In the order of their paths.
        strays: What lies among them, and cargo does not take for a crate.
    """

    copies: tuple[Copy, ...]
    strays: tuple[Path, ...]


def in_cargo_home(home: Path) -> OnDisk:
    """Find what lies in a CARGO_HOME.

    Args:
        home: The folder. It and the folders above the copies may be reached by links, as cargo follows them.

    Raises:
        ConfigError: There is no such folder.
        StorageError: A folder in it cannot be looked into.
    """
    if not home.is_dir():
        raise ConfigError(f"{home} is no folder", hint="name a CARGO_HOME, such as ~/.cargo")
    copies: list[Copy] = []
    strays: list[Path] = []
    for kind, parent in (("tarball", home / "registry" / "cache"), ("sources", home / "registry" / "src")):
        for registry in _folders(parent, strays):
            for entry in _entries(registry):
                is_one = entry.name.endswith(_TARBALL) if kind == "tarball" else not _is_plain(entry)
                crate = crate_of_stem(entry.name.removesuffix(_TARBALL) if kind == "tarball" else entry.name)
                if is_one and crate is not None:
                    copies.append(Copy(kind, Path(entry.path), registry.name, crate))
                elif entry.name not in _CARGOS:
                    strays.append(Path(entry.path))
    for repository in _folders(home / "git" / "checkouts", strays):
        for entry in _entries(repository):
            copies.append(Copy("checkout", Path(entry.path), repository.name, None))
    return OnDisk(tuple(copies), tuple(strays))


def in_vendor_folder(folder: Path) -> OnDisk:
    """Find the crates of a vendor folder or a local registry.

    A vendored crate is the one that its manifest says, which is how cargo knows it.

    Args:
        folder: The folder.

    Raises:
        ConfigError: There is no such folder.
        StorageError: It cannot be looked into.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder", hint="name the folder that `cargo vendor` or `carnet vendor` wrote")
    copies: list[Copy] = []
    strays: list[Path] = []
    tarballs: list[CrateId] = []
    for entry in _entries(folder):
        path = Path(entry.path)
        if entry.name == MARK:
            continue
        crate = crate_of_stem(entry.name.removesuffix(_TARBALL)) if entry.name.endswith(_TARBALL) else None
        if crate is not None:  # a local registry
            copies.append(Copy("tarball", path, "", crate))
            tarballs.append(crate)
            continue
        if entry.name.startswith(".") or not os.path.exists(path / MANIFEST):  # noqa: PTH110  -- a name with NUL is none
            strays.append(path)
            continue
        try:
            copies.append(Copy("vendored", path, "", _crate_of(path / MANIFEST)))
        except CarnetError as error:
            copies.append(Copy("vendored", path, "", None, str(error)))
    if tarballs and folder / FOLDER in strays:
        strays.remove(folder / FOLDER)
        strays += index_strays(folder, tarballs)
    return OnDisk(tuple(copies), tuple(strays))


def is_crates_io(place: str, mirror: str) -> bool:
    """Whether a registry's folder is that of crates-io, or of what stands in for it: the mirror, a local registry.

    Args:
        place: The folder's name.
        mirror: The URL of the trusted mirror.
    """
    host = place.rpartition("-")[0]
    return (
        place == _CRATES_IO_BY_GIT
        or host.removeprefix("index.") in ("", "crates.io")
        or host == urlsplit(mirror).hostname
    )


def crate_of_stem(stem: str) -> CrateId | None:
    """Read `<name>-<version>`, where names have no dot, and so the version begins behind the last `-` before one."""
    name, dash, _ = stem.partition(".")[0].rpartition("-")
    if not dash:
        return None
    try:
        return CrateId.of(name, stem[len(name) + 1 :])
    except FormatError:
        return None


def _crate_of(manifest: Path) -> CrateId:
    """Which crate a manifest says that it is of.

    Raises:
        CarnetError: It does not say.
    """
    data = read_file(manifest, "the manifest", max_bytes=_MAX_MANIFEST)
    package = stricttoml.parse(data, str(manifest), max_bytes=_MAX_MANIFEST).get("package")
    package = package if isinstance(package, dict) else {}
    name, version = package.get("name"), package.get("version", "0.0.0")
    if not isinstance(name, str) or not isinstance(version, str):
        raise FormatError(f"{manifest} does not say of which crate it is")
    return CrateId.of(name, version)


def _folders(parent: Path, strays: list[Path]) -> Iterator[Path]:
    for entry in _entries(parent):
        if entry.is_dir():
            yield Path(entry.path)
        elif entry.name not in _CARGOS:
            strays.append(Path(entry.path))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be looked into: {(error.strerror or 'failed').lower()}",
            hint="run it as the user whose folder this is",
        ) from None


def _is_plain(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode)
    return False
