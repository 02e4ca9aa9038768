"""A vendor folder as `cargo vendor` writes it: folder names, what it leaves out, and `.cargo-checksum.json`.

cargo compares the files of a vendored crate with `.cargo-checksum.json`, which lies beside them: it looks at no file
that has no entry there, and at none at all where `files` is empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from carnet import strictjson
from carnet.cargo.names import CrateId
from carnet.durable import read_file
from carnet.errors import CarnetError, FormatError
from carnet.value import value
from carnet_verifier.cargo.differences import Difference, TreeLayout

CHECKSUMS = ".cargo-checksum.json"
MARK = ".carnet-vendor.json"
"""What `carnet vendor` leaves in a folder that it wrote, to know it again."""
_MAX = 64 * 1024 * 1024
_LEFT_OUT = frozenset((".gitattributes", ".gitignore", ".git", ".cargo-ok"))
"""Files that cargo does not vendor, wherever they stand: a project's own git would read them (cargo 1.95)."""
_ONCE_LEFT_OUT = (".orig", ".rej")
"""Endings that older cargos left out as well."""


@value
class Checksums:
    """What `.cargo-checksum.json` says.

    Attributes:
        package: The sha256 of the tarball; None of a package from git.
        files: Path to sha256, in hex.
    """

    package: str | None
    files: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> Checksums:
        """Read that of a vendored crate.

        Raises:
            FormatError: It is not there, or not of that form.
            CarnetError: It cannot be read.
        """
        try:
            return cls.from_bytes(read_file(folder / CHECKSUMS, "the list of checksums", max_bytes=_MAX))
        except FileNotFoundError:
            raise FormatError(f"{CHECKSUMS!a} is missing") from None

    @classmethod
    def from_bytes(cls, data: bytes) -> Checksums:
        """Read one.

        Raises:
            FormatError: It is not of that form.
        """
        said = strictjson.parse_object(data, CHECKSUMS, max_bytes=_MAX)
        package, files = said.get("package"), said.get("files")
        if not isinstance(package, str | None) or not isinstance(files, dict):
            raise FormatError(f"{CHECKSUMS!a} has no `files`, or no digest of the package")
        digests = {path: digest for path, digest in files.items() if isinstance(digest, str)}
        if len(digests) != len(files):
            raise FormatError(f"{CHECKSUMS!a} has something else than digests")
        return cls(package, digests)

    def to_bytes(self) -> bytes:
        """As cargo writes it, byte for byte."""
        return strictjson.encode({"files": dict(self.files), "package": self.package})


def is_left_out(path: str) -> bool:
    """Whether `cargo vendor` of today leaves a file of a tarball out."""
    return path.rpartition("/")[2] in _LEFT_OUT


def says_git(folder: Path) -> bool:
    """Whether a vendored crate says of itself that it comes from git; cargo then asks for no checksum of a lock."""
    try:
        return Checksums.read(folder).package is None
    except CarnetError:
        return False


def _need_not_be_there(path: str) -> bool:
    return is_left_out(path) or path.endswith(_ONCE_LEFT_OUT) or path == CHECKSUMS


LAYOUT = TreeLayout(frozenset((CHECKSUMS,)), _need_not_be_there, keeps_executable=False)
"""Older cargos did not keep it that a file is executable."""


def checksum_differences(
    folder: Path, crate: CrateId, sha256: str, files: Mapping[str, tuple[int, bytes, bool]]
) -> Iterator[Difference]:
    """Find what is wrong with `.cargo-checksum.json`, by which cargo checks a vendored crate.

    Args:
        folder: That of the crate.
        crate: Which one, for messages.
        sha256: Of its tarball.
        files: Path to length, sha256, and whether it is executable (`Kept.files`).
    """
    try:
        said = Checksums.read(folder)
    except CarnetError as error:
        yield Difference(CHECKSUMS, "changed", f"{crate}: {error}: {folder}")
        return
    if said.package != sha256:
        named = "names no tarball" if said.package is None else f"names the tarball {said.package[:80]!a}"
        yield Difference(CHECKSUMS, "changed", f"{crate}: {CHECKSUMS!a} {named}, signed is {sha256}: {folder}")
    if files and not said.files:
        yield Difference(
            CHECKSUMS, "unchecked", f"{crate}: {CHECKSUMS!a} lists no file, so cargo checks none of them: {folder}"
        )
        return
    for path, (_, digest, _) in sorted(files.items()):
        listed = said.files.get(path)
        if listed is None and not _need_not_be_there(path):
            yield Difference(
                path,
                "unchecked",
                f"{crate}: {path!a} was taken out of {CHECKSUMS!a}: cargo does not check it: {folder}",
            )
        elif listed is not None and listed != digest.hex():
            yield Difference(path, "changed", f"{crate}: the digest of {path!a} in {CHECKSUMS!a} is another: {folder}")
    for path in sorted(said.files.keys() - files.keys()):
        yield Difference(path, "added", f"{crate}: {path[:200]!a} was added to {CHECKSUMS!a}: {folder}")


def folder_names(crates: list[CrateId], *, versioned: bool = False) -> dict[CrateId, str]:
    """What `cargo vendor` calls the folders of crates: the newest version of each name has no version in it.

    Args:
        crates: All of them.
        versioned: Whether every folder has its version.
    """
    newest: dict[str, CrateId] = {}
    for crate in crates:
        other = newest.get(str(crate.name))
        if other is None or other.version < crate.version:
            newest[str(crate.name)] = crate
    return {crate: crate.stem if versioned or newest[str(crate.name)] != crate else str(crate.name) for crate in crates}
