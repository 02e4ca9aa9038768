"""Read what a commit holds, from git's objects alone, with a repository in mind whose author means harm.

Only `git rev-parse` and `git cat-file --batch` are run, with every configuration file but the repository's own switched
off, no transport allowed, and nothing in the environment. Neither runs hooks, filters, text conversion or the file
system monitor, whatever the repository's configuration says. The work tree is never looked at, and every object is
hashed again: what is recorded is what the commit id stands for, even when the object store lies.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

from carnet.digests import sha256_hex
from carnet.errors import ConfigError, FormatError, SigningError
from carnet.intoto.values import MAX_ARTIFACTS, check_artifact_path

MAX_SOURCE = 1024 * 1024 * 1024
"""Bytes of all files of a commit together."""
MAX_ENTRIES = 200_000
"""Files, folders, links and submodules of a commit together: one folder may stand in a thousand places."""
_MAX_TREE = 16 * 1024 * 1024
"""Bytes of a tree or commit object."""
_MAX_LINK = 4096
"""Bytes of a symbolic link: no system follows a longer one."""

_MODE = re.compile(rb"[0-7]{5,6}\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_MAX_HOPS = 40
_OPTIONS = (
    *("-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"),
    *("-c", "protocol.allow=never", "-c", "core.sshCommand=false", "-c", "core.gitProxy=false"),
    *("-c", "core.alternateRefsCommand=false", "-c", "core.pager=cat", "-c", "credential.helper="),
)


def _environment() -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LITERAL_PATHSPECS": "1",
    }


def git_command(*arguments: str, git_dir: Path | None = None) -> list[str]:
    """A git command line on which nothing that a repository configures can run."""
    where = () if git_dir is None else (f"--git-dir={git_dir}",)
    return [shutil.which("git") or "git", "--no-pager", *_OPTIONS, *where, *arguments]


def run_git(
    *arguments: str, git_dir: Path | None = None, cwd: Path | None = None, more: Mapping[str, str] | None = None
) -> str:
    """Run a harmless git command and return what it prints.

    Raises:
        ConfigError: git is missing.
        SigningError: The command failed.
    """
    try:
        done = subprocess.run(
            git_command(*arguments, git_dir=git_dir),
            cwd=cwd,
            env={**_environment(), **(more or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=120,
        )
    except OSError:  # not there, or the PATH has folders that only others may read
        raise ConfigError("git is not installed", hint="install git; carnet reads commits through it") from None
    except subprocess.TimeoutExpired:
        raise SigningError(f"git {arguments[0]} did not end within two minutes") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [""]
        raise SigningError(f"git {arguments[0]} failed: {said[-1][:200]}")
    return done.stdout.decode(errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a commit.

    Attributes:
        data: Its bytes, from the blob.
        executable: git's mode 100755.
    """

    data: bytes = field(repr=False)
    executable: bool


@dataclass(frozen=True, slots=True)
class SourceTree:
    """Everything that a commit holds.

    Attributes:
        commit: Its id in hex.
        files: Regular files by path, those of submodules included.
        links: Symbolic links, path -> target, only those that stay inside the repository.
        gitlinks: Submodules, path -> commit id, whether their objects were there or not.
        notes: What a person should know.
        stores: The git directories that hold the objects: of the repository (path empty), and of its submodules.
    """

    commit: str
    files: Mapping[str, SourceFile]
    links: Mapping[str, str]
    gitlinks: Mapping[str, str]
    notes: tuple[str, ...]
    stores: Mapping[str, Path]

    def resolved(self) -> dict[str, SourceFile]:
        """All files with symbolic links resolved: a link to a folder stands for every file below it."""
        found = dict(self.files)
        below = _folders(self.files)
        for path in self.links:
            self._expand(path, path, found, below, 0)
        return dict(sorted(found.items()))

    def _expand(
        self, name: str, path: str, found: dict[str, SourceFile], below: Mapping[str, tuple[str, ...]], depth: int
    ) -> None:
        target = _follow(path, self.links)
        if target is None or depth > 8 or len(found) > MAX_ARTIFACTS:
            return
        if target in self.files:
            found[name] = self.files[target]
            return
        if f"{path}/".startswith(f"{target}/") or target == "":
            return  # a folder that contains the link itself has no end
        for file in below.get(target, ()):
            found[name + file[len(target) :]] = self.files[file]
        for link in self.links:
            if link.startswith(f"{target}/") and not f"{path}/".startswith(f"{link}/"):
                self._expand(name + link[len(target) :], link, found, below, depth + 1)

    def digests(self) -> tuple[dict[str, str], frozenset[str]]:
        """Path -> sha256 of every file with links resolved, and the paths that are executable."""
        files = self.resolved()
        return (
            {path: sha256_hex(file.data) for path, file in files.items()},
            frozenset(path for path, file in files.items() if file.executable),
        )


def _folders(files: Mapping[str, SourceFile]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for path in files:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            found.setdefault("/".join(parts[:depth]), []).append(path)
    return {folder: tuple(paths) for folder, paths in found.items()}


def _follow(path: str, links: Mapping[str, str]) -> str | None:
    """Where a path leads when every symbolic link on the way is followed; None when it leaves the repository."""
    pending, done = path.split("/"), list[str]()
    hops = 0
    while pending:
        part = pending.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            if not done:
                return None
            done.pop()
            continue
        done.append(part)
        target = links.get("/".join(done))
        if target is not None:
            hops += 1
            if hops > _MAX_HOPS or target.startswith("/"):
                return None
            done.pop()
            pending = target.split("/") + pending
    return "/".join(done)


# --- reading ---


def find_git_dir(repository: Path) -> Path:
    """The git directory of a repository or linked work tree.

    Raises:
        ConfigError: The folder is not inside a git repository.
    """
    if not repository.is_dir():
        raise ConfigError(f"there is no folder {repository}", hint="name the repository with --source")
    try:
        found = run_git("rev-parse", "--absolute-git-dir", cwd=repository).rstrip("\n")
    except SigningError:
        raise ConfigError(f"{repository} is not a git repository", hint="name the repository with --source") from None
    return Path(found)


def object_store(git_dir: Path) -> Path:
    """The folder of a git directory's objects; a linked work tree has those of the repository that it belongs to."""
    common = git_dir / "commondir"
    if common.is_file() and common.stat().st_size < 4096:
        return (git_dir / common.read_text(errors="replace").strip()).resolve() / "objects"
    return git_dir / "objects"


def read_commit(repository: Path, revision: str = "HEAD") -> SourceTree:
    """Read a commit: all files, from blobs, submodules included where their objects are present.

    Args:
        repository: A work tree or a bare repository.
        revision: A tag, branch or commit id.

    Raises:
        ConfigError: Not a repository, or no such revision.
        SigningError: git failed, or an object does not hash to its id.
        FormatError: A path in the commit that has no safe place outside of git.
    """
    git_dir = find_git_dir(repository)
    if revision.startswith("-"):
        raise ConfigError(f"{revision[:80]!a} is not a revision")
    try:
        commit = run_git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", git_dir=git_dir).strip()
    except SigningError:
        raise ConfigError(
            f"the repository has no revision {revision[:80]!a}", hint="name a tag or commit with --revision"
        ) from None
    if _COMMIT.match(commit) is None:
        raise SigningError("git answered something that is not a commit id")
    reader = _Reader()
    reader.read(git_dir, commit, "")
    return reader.tree(commit)


@dataclass
class _Reader:
    files: dict[str, SourceFile] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    gitlinks: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    stores: dict[str, Path] = field(default_factory=dict)
    size: int = 0
    entries: int = 0

    def read(self, git_dir: Path, commit: str, prefix: str) -> None:
        with _objects(git_dir) as objects:
            tree = _tree_of(objects.get(commit, b"commit"))
            self._walk(objects, tree, prefix, 0)
        self.stores[prefix] = git_dir
        for path, pinned in list(self.gitlinks.items()):
            if path.startswith(f"{prefix}/" if prefix else "") and path != prefix:
                self._submodule(git_dir, prefix, path, pinned)

    def _walk(self, objects: _Objects, tree: str, prefix: str, depth: int) -> None:
        if depth > 100:
            raise FormatError("the commit's folders are nested deeper than 100 levels")
        seen: set[str] = set()
        for mode, name, oid in _entries(objects.get(tree, b"tree"), objects.width):
            self.entries += 1
            if self.entries > MAX_ENTRIES:
                raise FormatError(f"the commit has more than {MAX_ENTRIES} entries")
            path = _path(prefix, name)
            if name in seen:
                raise FormatError(f"the commit has {path[:120]!a} twice")
            seen.add(name)
            if mode == 0o040000:
                self._walk(objects, oid, path, depth + 1)
            elif mode == 0o160000:
                self.gitlinks[path] = oid
            elif mode == 0o120000:
                target = objects.get(oid, b"blob")
                if len(target) > _MAX_LINK:
                    raise FormatError(f"the symbolic link {path[:120]!a} is longer than {_MAX_LINK} bytes")
                self.links[path] = target.decode("utf-8", "surrogateescape")
            elif mode & 0o170000 == 0o100000:
                data = objects.get(oid, b"blob")
                self.size += len(data)
                if self.size > MAX_SOURCE or len(self.files) >= MAX_ARTIFACTS:
                    raise FormatError(f"the commit has more than {MAX_ARTIFACTS} files or {MAX_SOURCE} bytes")
                self.files[path] = SourceFile(data, bool(mode & 0o100))
            else:
                raise FormatError(f"{path[:120]!a} has the mode {mode:o}, which git does not make")

    def _submodule(self, git_dir: Path, prefix: str, path: str, pinned: str) -> None:
        """Read a submodule's files where its objects are: in `modules/` of the git directory."""
        for candidate in _module_dirs(git_dir, path[len(prefix) :].lstrip("/")):
            try:
                before = set(self.gitlinks)
                self.read(candidate, pinned, path)
            except SigningError:
                for added in set(self.gitlinks) - before:
                    del self.gitlinks[added]
                continue
            return
        self.notes.append(f"submodule {path} is absent: its files are no part of what was recorded")

    def tree(self, commit: str) -> SourceTree:
        inside: dict[str, str] = {}
        folders = _folders(self.files)
        for path, target in self.links.items():
            end = _follow(path, self.links)
            if end is None or (end not in self.files and end not in folders):
                self.notes.append(f"symbolic link {path} leads outside or nowhere: left out")
            else:
                inside[path] = target
        return SourceTree(commit, self.files, inside, self.gitlinks, tuple(self.notes), self.stores)


def _module_dirs(git_dir: Path, path: str) -> Iterator[Path]:
    """Git directories that could hold a submodule's objects; `modules/<name>`, where name is mostly the path."""
    modules = git_dir / "modules"
    if not modules.is_dir():
        return
    yield modules / path
    for head in sorted(modules.glob("**/HEAD"))[:200]:
        if head.parent != modules / path and (head.parent / "objects").is_dir():
            yield head.parent


def _path(prefix: str, name: str) -> str:
    if name.lower() in (".git", "git~1") or "/" in name:
        raise FormatError(f"the commit has an entry {name[:120]!a}, which git itself refuses")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise FormatError(f"the commit has a file name that is not UTF-8: {name[:120]!a}") from None
    return check_artifact_path(posixpath.join(prefix, name))


def _tree_of(commit: bytes) -> str:
    first = commit.split(b"\n", 1)[0].decode("ascii", "replace")
    if not first.startswith("tree ") or _COMMIT.match(first[5:]) is None:
        raise SigningError("the commit names no tree")
    return first[5:]


def _entries(data: bytes, width: int) -> Iterator[tuple[int, str, str]]:
    """The entries of a raw tree object: mode, name, object id."""
    at = 0
    while at < len(data):
        space = data.find(b" ", at)
        end = data.find(b"\0", space)
        if space < 0 or end < 0 or end + width >= len(data) + 1 or _MODE.match(data[at:space]) is None:
            raise SigningError("a tree object is damaged")
        yield (
            int(data[at:space], 8),
            data[space + 1 : end].decode("utf-8", "surrogateescape"),
            data[end + 1 : end + 1 + width].hex(),
        )
        at = end + 1 + width


@contextmanager
def _objects(git_dir: Path) -> Iterator[_Objects]:
    if not git_dir.is_dir():
        raise SigningError(f"{git_dir} is no git directory")
    with _Objects(git_dir) as objects:
        yield objects


class _Objects:
    """One `git cat-file --batch`, whose answers are hashed again."""

    def __init__(self, git_dir: Path) -> None:
        self._git_dir = git_dir
        self.width = 20

    def __enter__(self) -> _Objects:
        self._process = subprocess.Popen(
            git_command("cat-file", "--batch", git_dir=self._git_dir),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            cwd="/",
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.terminate()
        self._process.wait()

    def get(self, oid: str, kind: bytes) -> bytes:
        """An object's bytes.

        Raises:
            SigningError: It is absent, of another kind, or does not hash to its id.
        """
        self.width = len(oid) // 2
        stdin, stdout = self._streams()
        try:
            stdin.write(oid.encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            raise SigningError(f"git cannot read objects in {self._git_dir}") from None
        header = stdout.readline().split()
        if len(header) != 3 or header[1] != kind:
            raise SigningError(f"object {oid[:12]} is not in the repository, or is no {kind.decode()}")
        if int(header[2]) > (MAX_SOURCE if kind == b"blob" else _MAX_TREE):
            raise FormatError(f"object {oid[:12]} has {int(header[2])} bytes: that is no source")
        data = stdout.read(int(header[2]))
        stdout.read(1)
        hashing = hashlib.sha256 if len(oid) == 64 else hashlib.sha1
        found = hashing(b"%b %d\0" % (kind, len(data)), usedforsecurity=len(oid) == 64)
        found.update(data)
        if found.hexdigest() != oid:
            raise SigningError(f"object {oid[:12]} does not hash to its id: the repository is damaged, or lies")
        return data

    def _streams(self) -> tuple[IO[bytes], IO[bytes]]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise SigningError("git was started without pipes")
        return stdin, stdout
