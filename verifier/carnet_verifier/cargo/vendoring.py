"""Writing a folder of admitted crates: as `cargo vendor` writes one, or as a local registry.

::

    carnet vendor DIR                    DIR/<crate>/...       DIR/<crate>/.cargo-checksum.json
    carnet vendor DIR --local-registry   DIR/<name>-<version>.crate       DIR/index/<prefix>/<name>
    both                                 DIR/.carnet-vendor.json          which of it is carnet's; nothing trusts it

A folder that is there is compared first, file by file. What is as it should be the new folder shares with the old one
until that is gone; the rest is written anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from carnet import strictjson
from carnet.cargo.crate import CrateFile, read_crate
from carnet.cargo.index_line import compare_line
from carnet.digests import sha256_hex, sha256_raw
from carnet.durable import as_storage_error, read_file
from carnet.errors import CarnetError, ConfigError, MetadataMismatch
from carnet.tuf import paths
from carnet.value import field, value
from carnet_verifier.admit import AT_ONCE
from carnet_verifier.cargo.differences import Difference, TreeLayout, file_differences, tree_differences
from carnet_verifier.cargo.localregistry import LocalRegistry
from carnet_verifier.cargo.vendored import CHECKSUMS, MARK, Checksums, folder_names, is_left_out
from carnet_verifier.cargo.whole_folder import recover, replacing
from carnet_verifier.outcomes import Admission
from carnet_verifier.tarballs import fetch_crates
from carnet_verifier.tuf.repository import TrustedRepository

INDEX = "index"
"""The part of a local registry that is no crate."""

_MAX_MARK = 10_000_000
Files = Mapping[str, tuple[int, bytes, bool]]
"""Path to length, sha256, and whether it is executable."""


@value
class Part:
    """A part of the folder, which is there as it should be, or is written anew.

    Attributes:
        name: Its name in the folder.
        what: What it is, for messages: a crate, or the index.
        files: What it holds; a single file has the empty path.
        content: Reads it: path, bytes, whether it is executable.
    """

    name: str
    what: str
    files: Files
    content: Callable[[], Iterator[tuple[str, bytes, bool]]] = field(repr=False)


@value
class Written:
    """What became of a folder.

    Attributes:
        new: The parts that were written: those that were not there, or were other crates.
        mended: The same of parts that somebody had changed since carnet wrote them, and what was changed.
        removed: The parts that are not there any more.
        kept: How many parts are as they were.
        again: The parts in which something was mended.
    """

    new: tuple[str, ...]
    mended: tuple[Difference, ...]
    removed: tuple[str, ...]
    kept: int
    again: tuple[str, ...] = ()

    @property
    def is_unchanged(self) -> bool:
        """Whether nothing was written."""
        return not self.new and not self.mended and not self.removed


# --- what it is to hold ---


def keep_tarballs(
    registry: LocalRegistry,
    repository: TrustedRepository,
    admissions: Iterable[Admission],
    count: Callable[[int], None] = lambda units: None,
) -> None:
    """Keep the tarballs of admitted crates at one path, so that none is fetched twice.

    Args:
        registry: Where; locked by the caller.
        repository: Where those come from that are not kept yet.
        admissions: Which.
        count: Is told that so many more are there.

    Raises:
        Poisoned: What is kept was changed.
        MetadataMismatch: The repository serves other bytes than were admitted.
        TransportError: Nothing was decided.
    """
    missing = []
    for admission in admissions:
        if registry.read(admission.crate, admission.sha256) is None:
            missing.append(admission)
        else:
            count(1)
    for start in range(0, len(missing), AT_ONCE):
        batch = missing[start : start + AT_ONCE]
        fetched = fetch_crates(repository, [admission.attributed for admission in batch])
        for admission, crate in zip(batch, fetched, strict=True):
            registry.keep([(admission, crate.data)])
            count(1)


def vendored_parts(registry: LocalRegistry, admissions: Sequence[Admission], *, versioned: bool = False) -> list[Part]:
    """What a vendor folder holds: each crate as `cargo vendor` writes it.

    Args:
        registry: Where the tarballs are kept.
        admissions: The crates.
        versioned: Whether every folder has the version in its name.

    Raises:
        CarnetError: A tarball is not there, or is not the admitted one.
    """
    names = folder_names([admission.crate for admission in admissions], versioned=versioned)
    return [_vendored(registry, admission, names[admission.crate]) for admission in admissions]


def _vendored(registry: LocalRegistry, admission: Admission, name: str) -> Part:
    crate = _read(registry, admission)
    files = {
        entry.path: (len(entry.data), sha256_raw(entry.data), entry.executable)
        for entry in crate.entries
        if not _is_out(entry.path)
    }
    checksums = Checksums(admission.sha256, {path: digest.hex() for path, (_, digest, _) in files.items()}).to_bytes()
    files[CHECKSUMS] = len(checksums), sha256_raw(checksums), False

    def content() -> Iterator[tuple[str, bytes, bool]]:
        for entry in _read(registry, admission).entries:  # again: the contents of all would not fit into memory
            if not _is_out(entry.path):
                yield entry.path, entry.data, entry.executable
        yield CHECKSUMS, checksums, False

    return Part(name, str(admission.crate), files, content)


def _is_out(path: str) -> bool:
    return is_left_out(path) or path == CHECKSUMS


def local_registry_parts(registry: LocalRegistry, admissions: Sequence[Admission]) -> list[Part]:
    """What a local registry holds: the tarballs, and an index of the signed lines.

    Args:
        registry: Where the tarballs are kept.
        admissions: The crates.

    Raises:
        CarnetError: A tarball is not there, or is not the admitted one.
    """
    parts = []
    lines: dict[str, list[Admission]] = {}
    for admission in admissions:
        _read(registry, admission)
        data = _data(registry, admission)

        def content(admission: Admission = admission) -> Iterator[tuple[str, bytes, bool]]:
            yield "", _data(registry, admission), False

        files = {"": (len(data), sha256_raw(data), False)}
        parts.append(Part(f"{admission.crate.stem}.crate", str(admission.crate), files, content))
        lines.setdefault(paths.index_path(admission.crate.name).removeprefix("index/"), []).append(admission)
    index = {
        path: b"".join(
            admission.line.to_bytes() + b"\n" for admission in sorted(some, key=lambda one: one.crate.version)
        )
        for path, some in lines.items()
    }
    index_files = {path: (len(data), sha256_raw(data), False) for path, data in index.items()}
    parts.append(Part(INDEX, "the index", index_files, lambda: ((path, data, False) for path, data in index.items())))
    return parts


def _read(registry: LocalRegistry, admission: Admission) -> CrateFile:
    crate = read_crate(_data(registry, admission), admission.crate)
    compare_line(admission.line, crate, let_in=admission.attributed.let_in)
    return crate


def _data(registry: LocalRegistry, admission: Admission) -> bytes:
    data = registry.read(admission.crate, admission.sha256)
    if data is None or sha256_hex(data) != admission.sha256:
        raise MetadataMismatch(
            f"the tarball of {admission.crate} is not kept any more", hint="somebody removed it meanwhile: try again"
        )
    return data


# --- the folder ---


def write_vendor_folder(target: Path, kind: str, parts: Sequence[Part]) -> Written:
    """Make a folder hold exactly these parts: at once, or not at all.

    Args:
        target: The folder. One that carnet did not write is refused, unless it is empty.
        kind: `directory` or `local-registry`.
        parts: What it is to hold.

    Raises:
        ConfigError: Something else stands there, or something of somebody else's is in it.
        StorageError: The disk failed; the folder is as it was.
    """
    recover(target)
    before = _parts_before(target)
    mended: list[Difference] = []
    kept: list[Part] = []
    new: list[str] = []
    again: list[str] = []
    for part in parts:
        if part.name not in before:
            new.append(part.name)
            continue
        differences = list(_differences(target, part))
        if not differences:
            kept.append(part)
        elif before[part.name] == _digest(part):
            mended += differences
            again.append(part.name)
        else:
            new.append(part.name)
    wanted = {part.name for part in parts}
    removed = tuple(sorted(before.keys() - wanted))
    written = Written(tuple(new), tuple(mended), removed, len(kept), tuple(again))
    mark = strictjson.encode({"carnet": kind, "parts": {part.name: _digest(part) for part in parts}}) + b"\n"
    if written.is_unchanged and _read_mark(target) == mark:
        return written
    as_they_were = {part.name for part in kept}
    with replacing(target) as folder, as_storage_error(target):
        for part in parts:
            if part.name in as_they_were:
                _link(target / part.name, folder / part.name, part.files)
            else:
                _write(folder / part.name, part.content())
        (folder / MARK).write_bytes(mark)
    return written


def _parts_before(target: Path) -> Mapping[str, str]:
    """The parts that carnet wrote there, each with the digest of what it wrote.

    Raises:
        ConfigError: The folder is somebody else's.
    """
    with as_storage_error(target):
        if not os.path.lexists(target):
            return {}
        if target.is_symlink() or not target.is_dir():
            raise ConfigError(f"{target} is no folder", hint="name another one, or remove it")
        there = set(os.listdir(target))  # noqa: PTH208  -- names alone
    if not there:
        return {}
    mark = _read_mark(target)
    if mark is None:
        raise ConfigError(
            f"{target} was not written by carnet, which would replace it",
            hint="name another folder, or remove that one; `carnet verify --vendor DIR` compares one of cargo's",
        )
    try:
        parts = strictjson.parse_object(mark, MARK, max_bytes=_MAX_MARK).get("parts")
    except CarnetError:
        parts = None
    if not isinstance(parts, dict):
        raise ConfigError(f"{target / MARK} is not what carnet writes", hint=f"name another folder, or remove {target}")
    foreign = sorted(there - parts.keys() - {MARK})
    if foreign:
        raise ConfigError(
            f"{target} holds {foreign[0]!a}, which carnet did not write and would remove",
            hint="move it out of there, or name another folder",
        )
    return {name: str(digest) for name, digest in parts.items() if name in there}


def _read_mark(target: Path) -> bytes | None:
    try:
        if (target / MARK).is_symlink():
            return None
        return read_file(target / MARK, "carnet's mark", max_bytes=_MAX_MARK)
    except (FileNotFoundError, CarnetError):
        return None


def _digest(part: Part) -> str:
    """What tells one content of a part from another."""
    return sha256_hex(repr(sorted(part.files.items())).encode())


def _differences(target: Path, part: Part) -> Iterator[Difference]:
    if "" in part.files:
        return file_differences(target, part.name, part.files[""], part.what)
    return tree_differences(target / part.name, part.what, part.files, TreeLayout())


def _link(old: Path, new: Path, files: Files) -> None:
    """Give files that are as they should be another name, until the folder that they are in now is gone."""
    for path in sorted(files):
        place = new / path if path else new
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(old / path if path else old, place, follow_symlinks=False)
        except OSError:  # a file system without links, or a file that has too many
            shutil.copy2(old / path if path else old, place, follow_symlinks=False)


def _write(place: Path, content: Iterator[tuple[str, bytes, bool]]) -> None:
    for path, data, executable in content:
        file = place / path if path else place
        file.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(file, flags, 0o755 if executable else 0o644), "wb") as opened:
            opened.write(data)
