"""The files of a package that is to be published: names, stand-ins that git keeps for a file, what is absent."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator

from carnet.cargo.crate import check_paths
from carnet.cargo.original import Table
from carnet.errors import ArchiveRefused
from carnet.publishable.objection import Objection

_POINTERS = (
    (
        "git-lfs",
        re.compile(
            rb"version https?://(?:git-lfs\.github\.com/spec|hawser\.github\.com/spec|git-media\.io/v)/[^\r\n]*\r?\n"
            rb"(?:[^\r\n]*\r?\n)*?oid sha256:[0-9a-f]{64}"
        ),
        "commit the file itself (`git lfs untrack`, `git add --renormalize`)",
    ),
    (
        "git-annex",
        re.compile(rb"(?:\.\./)*(?:\.git)?/annex/objects/[^\n]"),
        "commit the file itself (`git annex unannex`)",
    ),
    ("git-crypt", re.compile(rb"\0GITCRYPT\0"), "commit it in the clear, if it may be public"),
)
"""Who keeps a file elsewhere, how the bytes begin that stand for it in git, and how the file itself gets there."""
_LONGEST_POINTER = 1024
"""Bytes that are looked at: git-lfs takes nothing longer for a pointer."""


def file_objections(files: list[str], read: Callable[[str], bytes | None]) -> Iterator[Objection]:
    """What is wrong with the files that cargo would package (`carnet.publishable.checks.check_files`)."""
    try:
        check_paths(files)
    except ArchiveRefused as error:
        yield Objection(str(error), error.hint)
    yield from pointer_objections(files, read)


def pointer_objections(files: Iterable[str], read: Callable[[str], bytes | None]) -> Iterator[Objection]:
    """Files that are not themselves: what git-lfs and its like keep in git for them."""
    for path in files:
        head = (read(path) or b"")[:_LONGEST_POINTER]
        for keeper, pattern, advice in _POINTERS:
            if pattern.match(head) is not None:
                yield Objection(
                    f"{path[:200]} is what {keeper} keeps in git in the place of the file, not the file",
                    f"{advice}, or leave it out with `exclude` in Cargo.toml",
                )


def submodule_objections(absent: Iterable[str], folder: str, package: Table) -> Iterator[Objection]:
    """What is wrong with submodules that are absent (`carnet.publishable.checks.check_submodules`)."""
    for path in absent:
        inside = posixpath.relpath(path, folder or ".")
        if not inside.startswith("../") and _packaged(inside, package):
            yield Objection(
                f"submodule {path} is absent, and its files would be missing from the package",
                f"fetch it with `git submodule update --init --recursive {path}`, or leave it out with "
                f'`exclude = ["{inside}"]` in Cargo.toml',
            )


def _packaged(folder: str, package: Table) -> bool:
    """Whether cargo might package files of a folder that is not here; without them, nobody knows which it has."""
    include, exclude = package.get("include"), package.get("exclude")
    if isinstance(include, list) and include:  # cargo reads `exclude` only where there is none
        return any(_may_name(str(pattern), folder) for pattern in include if not str(pattern).startswith("!"))
    patterns = exclude if isinstance(exclude, list) else []
    return not any(_covers(str(pattern), folder) for pattern in patterns)


def _may_name(pattern: str, folder: str) -> bool:
    """Whether a pattern of `include` may name something below a folder: as far as it is spelled out, it leads there."""
    if "/" not in pattern.rstrip("/"):  # such a name counts at every depth
        return pattern.startswith("*") or pattern.rstrip("/") in folder.split("/")
    plain = re.split(r"[*?\[]", pattern.removeprefix("/"), maxsplit=1)[0]
    return f"{folder}/".startswith(plain) or plain.startswith(f"{folder}/")


def _covers(pattern: str, folder: str) -> bool:
    """Whether a pattern of `exclude` names a folder, one above it, or everything in one of them."""
    plain = re.sub(r"/\*\*?\Z", "", pattern).rstrip("/")
    if "/" not in plain:
        return plain in folder.split("/")
    return f"{folder}/".startswith(f"{plain.removeprefix('/')}/")
