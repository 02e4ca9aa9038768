"""Read what a commit holds, from git's objects alone, with a repository in mind whose author means harm.

Only `git rev-parse` and `git cat-file --batch` are run, as `carnet.git.objects` runs git. The work tree is never looked
at, and every object is hashed again: what is recorded is what the commit id stands for, even when the store lies.
"""

from __future__ import annotations

import os
import posixpath
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from carnet.digests import sha256_hex
from carnet.errors import ConfigError, FormatError, SigningError, StorageError
from carnet.git.limits import GitLimits
from carnet.git.objects import COMMIT, GitObjects, git_command, git_environment, tree_entries, tree_of
from carnet.intoto.values import MAX_ARTIFACT_PATH, MAX_ARTIFACTS, check_artifact_path
from carnet_signer.steps.clones import without_a_revision, without_an_object
from carnet_signer.steps.symlinks import below, ends

MAX_SOURCE = 1024 * 1024 * 1024
"""Bytes of all files of a commit together."""
_MAX_LINK = 4096
"""Bytes of a symbolic link: no system follows a longer one."""

_MAX_DEPTH = 100
_LONG = 200
"""Letters of a path that count as another entry: each is copied and compared wherever the path goes."""
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
"""Names that nothing is to be said of: nearly all."""
_LINK = 64
"""Bytes of a symbolic link that count as an entry, beside the two of each: it is followed, and stands for others."""
_RENAME = "`git mv` it to a name that every system takes, or `git rm` it, and release the commit after that"


def run_git(
    *arguments: str, git_dir: Path | None = None, cwd: Path | None = None, more: Mapping[str, str] | None = None
) -> str:
    """Run a harmless git command and return what it prints.

    Raises:
        ConfigError: git is missing.
        SigningError: The command failed.
    """
    try:
        process = subprocess.Popen(
            git_command(*arguments, git_dir=git_dir),
            cwd=cwd,
            env={**git_environment(), **(more or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError:  # not there, or the PATH has folders that only others may read
        raise ConfigError("git is not installed", hint="install git; carnet reads commits through it") from None
    with process:
        limits = GitLimits.of(0) if git_dir is None else GitLimits.of_repository(git_dir)
        limits.hold(process)
        try:
            output, errors = process.communicate(timeout=limits.seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise SigningError(f"git {arguments[0]} did not end within {limits.seconds:.0f} seconds") from None
    if process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise SigningError(f"git {arguments[0]} took more than {limits.processor} seconds of processor time")
    if process.returncode != 0:
        said = errors.decode(errors="replace").strip().splitlines() or [""]
        raise SigningError(f"git {arguments[0]} failed: {said[-1][:200]}")
    return output.decode(errors="surrogateescape")


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
        ends: Where each of these leads in the end: a file, or a folder.
        gitlinks: Submodules, path -> commit id, whether their objects were there or not.
        notes: What a person should know.
        stores: The git directories that hold the objects: of the repository (path empty), and of its submodules.
    """

    commit: str
    files: Mapping[str, SourceFile]
    links: Mapping[str, str]
    ends: Mapping[str, str]
    gitlinks: Mapping[str, str]
    notes: tuple[str, ...]
    stores: Mapping[str, Path]

    def resolved(self) -> dict[str, SourceFile]:
        """All files with symbolic links resolved: a link to a folder stands for every file below it."""
        found, files, links = dict(self.files), sorted(self.files), sorted(self.links)
        for path in self.links:
            self._expand(path, path, found, (files, links), 0)
        return dict(sorted(found.items()))

    def _expand(
        self, name: str, path: str, found: dict[str, SourceFile], paths: tuple[list[str], list[str]], depth: int
    ) -> None:
        target = self.ends[path]
        if depth > 8 or len(found) > MAX_ARTIFACTS or len(name) > MAX_ARTIFACT_PATH:
            return
        if target in self.files:
            found[name] = self.files[target]
            return
        if f"{path}/".startswith(f"{target}/") or target == "":
            return  # a folder that contains the link itself has no end
        files, links = paths
        for file in below(target, files):
            found[name + file[len(target) :]] = self.files[file]
            if len(found) > MAX_ARTIFACTS:
                return
        for link in below(target, links):
            if not f"{path}/".startswith(f"{link}/"):
                self._expand(name + link[len(target) :], link, found, paths, depth + 1)

    def digests(self) -> tuple[dict[str, str], frozenset[str]]:
        """Path -> sha256 of every file with links resolved, and the paths that are executable."""
        files = self.resolved()
        return (
            {path: sha256_hex(file.data) for path, file in files.items()},
            frozenset(path for path, file in files.items() if file.executable),
        )


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
        raise ConfigError(
            f"{revision[:80]!a} is not a revision", hint="name a tag or commit with --revision, such as v1.2.0"
        )
    try:
        # What it stands for is not looked at yet: git would read all of a commit that has no end.
        found = run_git("rev-parse", "--verify", "--quiet", revision, git_dir=git_dir).strip()
    except SigningError:
        raise ConfigError(
            f"the repository has no revision {revision[:80]!a}", hint=without_a_revision(git_dir)
        ) from None
    if COMMIT.match(found) is None:
        raise SigningError("git answered something that is not a commit id")
    try:
        with GitObjects(git_dir) as objects:
            commit = objects.commit_at(found)
    except StorageError as error:
        raise ConfigError(
            f"the repository has no revision {revision[:80]!a}: {error}", hint=without_a_revision(git_dir)
        ) from None
    reader = _Reader()
    try:
        reader.read(git_dir, commit, "")
    except StorageError as error:
        what, hint = without_an_object(git_dir)
        raise SigningError(f"{error}: {what}", hint=error.hint or hint) from None
    return reader.tree(commit)


_Entry = tuple[int, str, str]
"""Mode, name or path, and the object's id."""


@dataclass
class _Reader:
    files: dict[str, SourceFile] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    gitlinks: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    stores: dict[str, Path] = field(default_factory=dict)
    size: int = 0
    folders: dict[str, list[_Entry]] = field(default_factory=dict)
    entries: int = 0

    def read(self, git_dir: Path, commit: str, prefix: str) -> None:
        with GitObjects(git_dir, MAX_SOURCE) as objects:
            self._read_files(objects, self._walk(objects, tree_of(objects.get(commit, b"commit")), prefix))
        self.stores[prefix] = git_dir
        for path, pinned in list(self.gitlinks.items()):
            if path.startswith(f"{prefix}/" if prefix else "") and path != prefix:
                self._submodule(git_dir, prefix, path, pinned)

    def _walk(self, objects: GitObjects, tree: str, prefix: str) -> list[_Entry]:
        """The files and links of a commit, in whatever folder; each level of folders is asked for at once."""
        blobs: list[_Entry] = []
        level = [(prefix, tree)]
        for _ in range(_MAX_DEPTH + 1):
            all_data = objects.get_all([oid for _, oid in level], b"tree")
            folders, level = level, []
            for (folder, its_tree), data in zip(folders, all_data, strict=True):
                for mode, name, oid in self._folder(objects, its_tree, data, folder):
                    path = f"{folder}/{name}" if folder else name
                    if len(path) > _LONG:
                        self._count(objects, len(path) // _LONG)
                        check_artifact_path(path)
                    if mode == 0o040000:
                        level.append((path, oid))
                    elif mode == 0o160000:
                        self.gitlinks[path] = oid
                    elif mode == 0o120000 or mode & 0o170000 == 0o100000:
                        blobs.append((mode, path, oid))
                    else:
                        raise FormatError(f"{path[:120]!a} has the mode {mode:o}, which git does not make")
            if not level:
                return blobs
        raise FormatError(f"the commit's folders are nested deeper than {_MAX_DEPTH} levels")

    def _folder(self, objects: GitObjects, tree: str, data: bytes, where: str) -> Sequence[_Entry]:
        """The entries of one folder: their names are looked at once, in however many places it stands."""
        found = self.folders.get(tree)
        if found is not None:
            self._count(objects, len(found))
            return found
        found = self.folders[tree] = []
        seen: set[str] = set()
        for mode, name, oid in tree_entries(data, objects.width):
            self._count(objects, 1)
            _check_name(name, where)
            if name in seen:
                raise FormatError(f"the commit has {posixpath.join(where, name)[:120]!a} twice")
            seen.add(name)
            found.append((mode, name, oid))
        return found

    def _read_files(self, objects: GitObjects, entries: Sequence[_Entry]) -> None:
        data = objects.get_all([oid for _, _, oid in entries], b"blob")
        for (mode, path, _), blob in zip(entries, data, strict=True):
            self._take(objects, len(blob))
            if mode != 0o120000:
                self.files[path] = SourceFile(blob, bool(mode & 0o100))
                continue
            if len(blob) > _MAX_LINK:
                raise FormatError(f"the symbolic link {path[:120]!a} is longer than {_MAX_LINK} bytes")
            self._count(objects, 1 + len(blob) // _LINK)
            self.links[path] = blob.decode("utf-8", "surrogateescape")

    def _count(self, objects: GitObjects, entries: int) -> None:
        self.entries += entries
        if self.entries > objects.limits.entries:
            raise FormatError(f"the commit has more than {objects.limits.entries} entries")

    def _take(self, objects: GitObjects, size: int) -> None:
        """Count a file."""
        self.size += size
        most = min(MAX_SOURCE, objects.limits.blob)
        if self.size > most or len(self.files) >= MAX_ARTIFACTS:
            raise FormatError(f"the commit has more than {MAX_ARTIFACTS} files or {most} bytes")

    def _submodule(self, git_dir: Path, prefix: str, path: str, pinned: str) -> None:
        """Read a submodule's files where its objects are: in `modules/` of the git directory."""
        for candidate in _module_dirs(git_dir, path[len(prefix) :].lstrip("/")):
            try:
                before = set(self.gitlinks)
                self.read(candidate, pinned, path)
            except StorageError:
                for added in set(self.gitlinks) - before:
                    del self.gitlinks[added]
                continue
            return
        self.notes.append(f"submodule {path} is absent: its files are no part of what was recorded")

    def tree(self, commit: str) -> SourceTree:
        inside: dict[str, str] = {}
        leads: dict[str, str] = {}
        paths = sorted(self.files)
        for path, end in ends(self.links).items():
            if end is not None and (end in self.files or next(below(end, paths), None) is not None):
                inside[path], leads[path] = self.links[path], end
            else:
                self.notes.append(f"symbolic link {path} leads outside or nowhere: left out")
        return SourceTree(commit, self.files, inside, leads, self.gitlinks, tuple(self.notes), self.stores)


def _module_dirs(git_dir: Path, path: str) -> Iterator[Path]:
    """Git directories that could hold a submodule's objects; `modules/<name>`, where name is mostly the path."""
    modules = git_dir / "modules"
    if not modules.is_dir():
        return
    yield modules / path
    for head in sorted(modules.glob("**/HEAD"))[:200]:
        if head.parent != modules / path and (head.parent / "objects").is_dir():
            yield head.parent


def _check_name(name: str, where: str) -> None:
    if _PLAIN.fullmatch(name):
        return
    if name.lower() in (".git", "git~1") or "/" in name:
        raise FormatError(f"the commit has an entry {name[:120]!a}, which git itself refuses")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise FormatError(
            f"the commit has a file name that is not UTF-8: {os.fsencode(posixpath.join(where, name))[:160]!r}",
            hint=_RENAME,
        ) from None
    try:
        check_artifact_path(name)  # that of the folder was looked at before
    except FormatError:
        try:
            check_artifact_path(posixpath.join(where, name))  # says where it is
        except FormatError as error:
            raise FormatError(f"the commit has a file that no package contains: {error}", hint=_RENAME) from None
        raise
