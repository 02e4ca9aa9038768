"""The steps of a release, as signer and verifier must agree on them: artifact names, the tree digest, the tag's record.

With P = `<name>-<version>` every artifact path starts with P, so that no link fits another version::

    P/src/<file>        a file of the repository at the tagged commit
    P/tree              the digest of all of them, with their modes (`tree_digest`)
    P/commit            sha256 of the commit id in hex
    P/list              sha256 of what `cargo package --list` printed
    P/lock              sha256 of the Cargo.lock that is used
    P/toolchain         sha256 of what `cargo -V` printed
    P.crate             the tarball
    P/test-report.json  what CI says about the tests

The listing, the lock, the toolchain and the commit id themselves stand in the byproducts of the `tag` link, and each
must hash to its artifact: so a packager gets the lock, and a verifier can recompute the tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.errors import FormatError, RuleViolation
from carnet.intoto.values import Link, check_artifact_path
from carnet.strictjson import Json, JsonObject

TAG, REVIEW, TEST, PACKAGE, REBUILD = "tag", "review", "test", "package", "rebuild"

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")


@dataclass(frozen=True, slots=True)
class ArtifactNames:
    """The artifact paths of one release.

    Attributes:
        crate: Which release.
    """

    crate: CrateId

    @property
    def prefix(self) -> str:
        """P: `<name>-<version>`."""
        return self.crate.stem

    @property
    def tree(self) -> str:
        """Where the digest of the whole source stands."""
        return f"{self.prefix}/tree"

    @property
    def commit(self) -> str:
        """Where the digest of the commit id stands."""
        return f"{self.prefix}/commit"

    @property
    def listing(self) -> str:
        """Where the digest of the package's file list stands."""
        return f"{self.prefix}/list"

    @property
    def lock(self) -> str:
        """Where the digest of Cargo.lock stands."""
        return f"{self.prefix}/lock"

    @property
    def toolchain(self) -> str:
        """Where the digest of cargo's version stands."""
        return f"{self.prefix}/toolchain"

    @property
    def tarball(self) -> str:
        """The `.crate` itself."""
        return f"{self.prefix}.crate"

    @property
    def test_report(self) -> str:
        """What CI says about the tests."""
        return f"{self.prefix}/test-report.json"

    def source(self, file: str) -> str:
        """A file of the repository.

        Raises:
            FormatError: Not a normalised relative path.
        """
        return check_artifact_path(f"{self.prefix}/src/{file}")

    def sources(self, artifacts: Mapping[str, str]) -> dict[str, str]:
        """The files of the repository among a link's artifacts: path in the repository -> sha256."""
        start = f"{self.prefix}/src/"
        return {path[len(start) :]: value for path, value in artifacts.items() if path.startswith(start)}


def tree_digest(files: Mapping[str, str], executable: Iterable[str]) -> str:
    """The digest of a source tree.

    Args:
        files: Path in the repository -> sha256 in hex.
        executable: The paths whose executable bit is set.

    Returns:
        sha256 over lines `<mode> <sha256> <path>` and a newline each, sorted bytewise; mode is 100644 or 100755.
    """
    marked = frozenset(executable)
    lines = sorted(
        f"{'100755' if path in marked else '100644'} {value} {path}\n".encode() for path, value in files.items()
    )
    return sha256_hex(b"".join(lines))


@dataclass(frozen=True, slots=True)
class TagRecord:
    """What a maintainer tagged: the source and everything that packaging needs beside it.

    Attributes:
        files: Path in the repository -> sha256, from git's blobs.
        executable: Paths whose executable bit is set.
        commit: The commit id in hex.
        listing: The files of the package, as `cargo package --list` prints them.
        lock: The Cargo.lock that is used, committed or not.
        toolchain: What `cargo -V` printed.
        path_in_vcs: The package's folder in the repository; empty at its top.
        manifests: Path -> text of manifests that the package inherits from (its workspace's), so that a verifier can
            resolve what the packaged manifest says.
        notes: What a person should know, such as symbolic links that lead outside, or submodules that were absent.
    """

    files: Mapping[str, str]
    executable: frozenset[str]
    commit: str
    listing: tuple[str, ...]
    lock: str
    toolchain: str
    path_in_vcs: str = ""
    manifests: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if _COMMIT.match(self.commit) is None:
            raise FormatError(f"{self.commit[:64]!a} is not a commit id")
        if self.path_in_vcs:
            check_artifact_path(self.path_in_vcs)

    @property
    def listing_text(self) -> str:
        """The listing as cargo prints it."""
        return "".join(f"{line}\n" for line in self.listing)

    def source_path(self, file: str) -> str:
        """Where a file of the package is in the repository."""
        return f"{self.path_in_vcs}/{file}" if self.path_in_vcs else file

    def products(self, crate: CrateId) -> dict[str, str]:
        """The products of the `tag` link."""
        names = ArtifactNames(crate)
        return {
            **{names.source(path): value for path, value in self.files.items()},
            names.tree: tree_digest(self.files, self.executable),
            names.commit: sha256_hex(self.commit.encode()),
            names.listing: sha256_hex(self.listing_text.encode()),
            names.lock: sha256_hex(self.lock.encode()),
            names.toolchain: sha256_hex(self.toolchain.encode()),
        }

    def byproducts(self) -> JsonObject:
        """The byproducts of the `tag` link."""
        return {
            "return-value": 0,
            "commit": self.commit,
            "list": self.listing_text,
            "lock": self.lock,
            "toolchain": self.toolchain,
            "path-in-vcs": self.path_in_vcs,
            "executable": list[Json](sorted(self.executable)),
            "manifests": dict[str, Json](self.manifests),
            "notes": list[Json](self.notes),
        }

    def link(self, crate: CrateId) -> Link:
        """The `tag` link itself."""
        return Link(TAG, {}, self.products(crate), self.byproducts(), ("carnet", "record", "tag"))

    @classmethod
    def from_link(cls, link: Link, crate: CrateId) -> TagRecord:
        """Read a `tag` link back, and recompute all that it claims about itself.

        Raises:
            RuleViolation: A byproduct does not hash to its artifact, the tree is not the digest of the files, an
                executable file or a manifest is not among the files, or a product is missing or unknown.
            FormatError: The byproducts are not those of a tag.
        """
        match link.byproducts:
            case {
                "commit": str(commit),
                "list": str(listing),
                "lock": str(lock),
                "toolchain": str(toolchain),
                "path-in-vcs": str(path_in_vcs),
                "executable": list(executable),
                "manifests": dict(manifests),
                "notes": list(notes),
            }:
                pass
            case _:
                raise FormatError("the byproducts of a tag link lack the commit, list, lock or toolchain")
        files = ArtifactNames(crate).sources(link.products)
        if not all(isinstance(path, str) and path in files for path in executable):
            raise RuleViolation("the tag lists an executable file that is not in its source")
        record = cls(
            files,
            frozenset(str(path) for path in executable),
            commit,
            tuple(listing.split("\n")[:-1]),
            lock,
            toolchain,
            path_in_vcs,
            _manifests(manifests, files),
            tuple(str(note) for note in notes),
        )
        expected = record.products(crate)
        if expected != dict(link.products):
            wrong = sorted(set(expected.items()) ^ set(link.products.items()))[0][0]
            raise RuleViolation(
                f"the tag link does not add up: {wrong} is not what its byproducts and files hash to",
                hint="record the tag again with `carnet record tag`",
            )
        return record


def _manifests(value: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path, text in value.items():
        if not isinstance(text, str) or files.get(path) != sha256_hex(text.encode()):
            raise RuleViolation(f"the tag's copy of {path[:120]!a} is not the tagged file")
        found[path] = text
    return found
