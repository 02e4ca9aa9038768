"""Packages from git: a checkout is what its commit has, by the commit's id alone, or it is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import zlib
from collections.abc import Callable
from copy import copy
from pathlib import Path

import pytest

from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateId
from carnet.errors import CarnetError, FormatError, StorageError
from carnet_verifier.cargo.checkouts import compare_checkouts, read_checkouts
from carnet_verifier.cargo.compared import compare_checkout
from carnet_verifier.cargo.copies import in_cargo_home
from carnet_verifier.cargo.localregistry import Poisoned, remove_tree

SETTINGS = ("user.name=n", "user.email=e@example", "protocol.file.allow=always", "init.defaultBranch=main")


def git(folder: Path, *arguments: str) -> str:
    flags = [part for setting in SETTINGS for part in ("-c", setting)]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", *flags, *arguments], cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def repository(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


class Fetched:
    """A home in which cargo checked a package out: with a submodule, a link and a program."""

    def __init__(self, folder: Path) -> None:
        sub = repository(folder / "sub", {"inner/s.rs": b"pub fn s() {}\n"})
        files = {"Cargo.toml": b"[package]\n", "src/lib.rs": b"pub fn n() {}\n", "dos.bat": b"a\nb\n", "x.sh": b"#!\n"}
        origin = repository(folder / "dep", files)
        (origin / "link.rs").symlink_to("src/lib.rs")
        (origin / "x.sh").chmod(0o755)
        (origin / ".gitattributes").write_text("*.bat text eol=crlf\n")
        git(origin, "submodule", "--quiet", "add", str(sub), "third")
        git(origin, "add", ".")
        git(origin, "commit", "-qm", "second")
        self.commit = git(origin, "rev-parse", "HEAD")
        self.home = folder / "home"
        self.tree = self.home / "git/checkouts/dep-0123456789abcdef" / self.commit[:7]
        self.tree.parent.mkdir(parents=True)
        git(folder, "clone", "-q", "--no-hardlinks", str(origin), str(self.tree))
        (self.tree / "third").rmdir()
        git(self.tree, "clone", "-q", "--no-hardlinks", str(sub), "third")  # as cargo does: with a `.git` of its own
        for place in (self.tree, self.tree / "third"):
            (place / ".cargo-ok").touch()
        self.packages = [package(self.commit)]


def package(commit: str) -> LockedPackage:
    return LockedPackage(CrateId.of("dep", "0.1.0"), f"git+https://example.com/dep?branch=main#{commit}", None)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Fetched:
    return Fetched(tmp_path_factory.mktemp("fetched"))


@pytest.fixture
def fetched(original: Fetched, tmp_path: Path) -> Fetched:
    mine = copy(original)
    mine.home = tmp_path / "home"
    mine.tree = mine.home / original.tree.relative_to(original.home)
    shutil.copytree(original.home, mine.home, symlinks=True)
    return mine


def test_what_was_checked_out_is_what_the_commit_has(fetched: Fetched) -> None:
    assert b"\r\n" in (fetched.tree / "dos.bat").read_bytes()
    (found,) = read_checkouts(fetched.home, fetched.packages)
    assert found.path == fetched.tree
    assert {"src/lib.rs", "link.rs", "third/inner/s.rs", "dos.bat"} < set(found.entries)
    compare_checkouts(fetched.home, [found])
    assert read_checkouts(fetched.home, []) == ()


@pytest.mark.parametrize("where", ["src/lib.rs", "third/inner/s.rs"])
def test_what_was_changed_and_changed_back_is_found(fetched: Fetched, where: str) -> None:
    found = read_checkouts(fetched.home, fetched.packages)
    path = fetched.tree / where
    data, before = path.read_bytes(), path.stat()
    path.write_text("evil")
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(Poisoned, match="changed and changed back"):
        compare_checkouts(fetched.home, found)


def link(path: Path, away: Path, target: str) -> None:
    path.rename(away)
    path.symlink_to(target)


def evil(path: Path) -> None:
    path.write_text("evil")


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda tree: evil(tree / "src/lib.rs"),
    "content of a submodule": lambda tree: evil(tree / "third/inner/s.rs"),
    "added file": lambda tree: evil(tree / "build.rs"),
    "added to a submodule": lambda tree: evil(tree / "third/build.rs"),
    "added marker": lambda tree: evil(tree / "src/.cargo-ok"),
    "added folder": lambda tree: (tree / "new").mkdir(),
    "removed file": lambda tree: (tree / "src/lib.rs").unlink(),
    "removed submodule": lambda tree: remove_tree(tree / "third"),
    "removed tree": remove_tree,
    "another link": lambda tree: link(tree / "link.rs", tree.parent / "x", "/tmp/evil.rs"),
    "a link for a file": lambda tree: link(tree / "src/lib.rs", tree.parent / "x", "../../x"),
    "a link for the tree": lambda tree: link(tree, tree.parent / "x", "x"),
    "a link above the tree": lambda tree: link(tree.parent, tree.parent.parent / "x", "x"),
    "a link above all trees": lambda tree: link(tree.parent.parent, tree.parents[2] / "x", "x"),
    "executable": lambda tree: (tree / "src/lib.rs").chmod(0o755),
    "not executable": lambda tree: (tree / "x.sh").chmod(0o644),
    "hard link": lambda tree: os.link(tree / "src/lib.rs", tree.parent / "other-name"),
    "some line ends": lambda tree: (tree / "dos.bat").write_bytes(b"a\r\nb\n\r"),
    "no marker": lambda tree: (tree / ".cargo-ok").unlink(),
    "marker of a submodule": lambda tree: (tree / "third/.cargo-ok").unlink(),
    "a link for git's own": lambda tree: link(tree / ".git", tree.parents[4] / "git", "x"),
    "another marker": lambda tree: evil(tree / ".cargo-ok"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found_afterwards(fetched: Fetched, change: str) -> None:
    checkouts = read_checkouts(fetched.home, fetched.packages)
    CHANGES[change](fetched.tree)
    with pytest.raises(Poisoned):
        compare_checkouts(fetched.home, checkouts)


# A submodule may be absent, and a mark says what cargo likes.
@pytest.mark.parametrize("change", sorted(CHANGES.keys() - {"removed submodule", "another marker"}))
def test_a_change_is_found_beforehand(fetched: Fetched, change: str) -> None:
    CHANGES[change](fetched.tree)
    with pytest.raises(Poisoned):
        read_checkouts(fetched.home, fetched.packages)


def test_another_commit_under_the_name_of_the_pinned_one(fetched: Fetched) -> None:
    (fetched.tree / "src/lib.rs").write_text("evil")
    git(fetched.tree, "commit", "-qam", "evil")
    with pytest.raises(Poisoned, match=r"'src/lib\.rs' is not what the commit"):
        read_checkouts(fetched.home, fetched.packages)


def test_a_store_that_lies_is_not_believed(fetched: Fetched) -> None:
    """The commit's object is replaced by another one, under its name."""
    (fetched.tree / "src/lib.rs").write_text("evil")
    git(fetched.tree, "commit", "-qam", "evil")
    forged = git(fetched.tree, "cat-file", "commit", "HEAD").encode() + b"\n"
    objects = fetched.tree / ".git/objects"
    packed = next((objects / "pack").glob("*.pack"), None)
    assert packed is None
    target = objects / fetched.commit[:2] / fetched.commit[2:]
    target.chmod(0o644)
    target.write_bytes(zlib.compress(b"commit %d\0" % len(forged) + forged))
    with pytest.raises(StorageError, match=r"does not hash to its id|is not in the repository"):
        read_checkouts(fetched.home, fetched.packages)


def test_nothing_of_the_repository_is_run(fetched: Fetched, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    run = f'"touch {ran}"'
    config = fetched.tree / ".git/config"
    config.write_text(
        f"{config.read_text()}[core]\nfsmonitor = {run}\nsshCommand = {run}\npager = {run}\n"
        f'[filter "x"]\nsmudge = {run}\nclean = {run}\n[diff]\nexternal = {run}\n[extensions]\npartialClone = origin\n'
        f'[remote "origin"]\npromisor = true\nurl = "ext::touch {ran}"\n'
    )
    (fetched.tree / ".git/info/attributes").write_text("* filter=x\n")
    for hook in ("post-checkout", "reference-transaction", "pre-auto-gc"):
        (fetched.tree / ".git/hooks" / hook).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (fetched.tree / ".git/hooks" / hook).chmod(0o755)
    read_checkouts(fetched.home, fetched.packages)
    with pytest.raises(CarnetError):
        read_checkouts(fetched.home, [package(fetched.commit[:7] + "0" * 33)])  # absent: nobody is asked for it
    assert not ran.exists()


@pytest.mark.parametrize("commit", ["", "main", "0" * 39, "../" * 14])
def test_a_lock_that_names_no_commit_is_refused(fetched: Fetched, commit: str) -> None:
    with pytest.raises(FormatError, match="names no commit"):
        read_checkouts(fetched.home, [package(commit)])


def test_a_checkout_that_is_not_where_cargo_keeps_it(fetched: Fetched) -> None:
    with pytest.raises(Poisoned, match="no checkout"):
        read_checkouts(fetched.home, [package("0" * 40)])
    (fetched.home / "git").rename(fetched.home / "elsewhere")
    (fetched.home / "git").symlink_to("elsewhere")
    with pytest.raises(Poisoned, match="is not a folder"):
        read_checkouts(fetched.home, fetched.packages)


def test_every_change_in_the_users_own_checkouts_is_found(fetched: Fetched) -> None:
    (copy_found,) = in_cargo_home(fetched.home).copies
    assert copy_found.kind == "checkout"
    good = compare_checkout(copy_found, [fetched.commit])
    assert good is not None
    assert good.state == "good"
    assert compare_checkout(copy_found, ["00" * 20]) is None, "the lock has nothing from it"
    undecided = compare_checkout(copy_found, None)
    assert undecided is not None
    assert undecided.state == "undecided", "without a lock, the folder's name alone says which commit it is"
    evil(fetched.tree / "src/lib.rs")
    evil(fetched.tree / "third/build.rs")
    (fetched.tree / "x.sh").unlink()
    changed = compare_checkout(copy_found, [fetched.commit])
    assert changed is not None
    assert changed.state == "changed"
    assert {one.path for one in changed.differences} == {"src/lib.rs", "third/build.rs", "x.sh"}
    (fetched.tree / ".cargo-ok").unlink()
    unfinished = compare_checkout(copy_found, [fetched.commit])
    assert unfinished is not None
    assert unfinished.state == "unfinished"
    shutil.move(fetched.tree, fetched.home / "away")
    fetched.tree.symlink_to(fetched.home / "away")
    linked = compare_checkout(copy_found, [fetched.commit])
    assert linked is not None
    assert linked.state == "changed"


def test_a_checkout_without_the_commit_is_undecided(fetched: Fetched) -> None:
    other = fetched.tree.rename(fetched.tree.with_name("1234567"))
    (copy_found,) = in_cargo_home(fetched.home).copies
    assert copy_found.path == other
    compared = compare_checkout(copy_found, ["1234567" + "0" * 33])
    assert compared is not None
    assert compared.state == "undecided"
