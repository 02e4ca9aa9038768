"""The comparison after a build: whatever is missing, new or different is a change, and what was built stays marked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.admissions import admission_of

from carnet.cargo.crate import read_crate
from carnet.errors import ConfigError, StorageError
from carnet_gate.comparison.marks import BuiltFromChanged, Marks
from carnet_gate.comparison.state import StateBefore
from carnet_gate.comparison.surroundings import announce, look, tidy
from carnet_verifier.cargo.localregistry import Kept, LocalRegistry, Poisoned, compare_sources, protect, remove_tree

TOOL = honest_crate("tool", "1.0.0", files={"src/deep/data.txt": b"data"})
MARKER = '{"v":1}'


class Prepared:
    """A home as it is before cargo runs: one crate, kept and unpacked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.registry = LocalRegistry(folder / "registry")
        self.crate = read_crate(TOOL)
        self.registry.keep([(admission_of(TOOL), TOOL)])
        self.registry.write_index([admission_of(TOOL)])
        self.root = self.home / "registry/src/-0123456789abcdef"
        self.tree = self.unpack(self.root)
        for name, text in (("config.toml", "[net]\n"), ("credentials.toml", ""), ("source-name", "carnet-0")):
            (self.home / name).write_text(text)
        (self.home / ".package-cache").touch()
        kept = {self.crate.id: Kept.of(self.crate)}
        protect(self.home, kept)
        unpacked = compare_sources(self.home, kept)
        around = look(self.registry, self.home, kept)
        self.state = StateBefore(self.registry, self.home, kept, unpacked, (), around)

    def unpack(self, root: Path) -> Path:
        tree = root / self.crate.id.stem
        for entry in self.crate.entries:
            (tree / entry.path).parent.mkdir(parents=True, exist_ok=True)
            (tree / entry.path).write_bytes(entry.data)
        (tree / ".cargo-ok").write_text(MARKER)
        return tree

    def open(self) -> Path:
        for path in [self.tree, *self.tree.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        return self.tree

    def seal(self) -> None:
        protect(self.home, [self.crate.id])


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return Prepared(tmp_path)


def test_what_was_left_alone_is_as_it_was(prepared: Prepared) -> None:
    for path in prepared.tree.rglob("*"):  # read, as compilers do
        assert path.is_dir() or path.read_bytes() is not None
    (prepared.home / ".package-cache").write_text("locked")  # cargo's own
    (prepared.home / ".global-cache").write_text("used")
    prepared.state.compare_again()


def link(path: Path, to: Path) -> None:
    """Put a link in the place of a file or folder that lies somewhere else from now on."""
    path.rename(to)
    path.symlink_to(to)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


# Each changes something and leaves permissions as they were, but where permissions are what it changes.
TREE: dict[str, Callable[[Path], object]] = {
    "content": lambda tree: (tree / "src/lib.rs").write_text("evil"),
    "added file": lambda tree: (tree / "build.rs").write_text("evil"),
    "added folder": lambda tree: (tree / "src/new").mkdir(),
    "removed file": lambda tree: (tree / "src/deep/data.txt").unlink(),
    "removed folder": lambda tree: remove_tree(tree / "src/deep"),
    "removed tree": remove_tree,
    "no marker": lambda tree: (tree / ".cargo-ok").unlink(),
    "another marker": lambda tree: (tree / ".cargo-ok").write_text('{"v":2}'),
    "a longer marker": lambda tree: (tree / ".cargo-ok").write_text(MARKER + " "),
    "an empty marker": lambda tree: (tree / ".cargo-ok").write_text(""),
    "a second marker": lambda tree: (tree / "src/.cargo-ok").write_text(MARKER),
    "link to the same": lambda tree: link(tree / "src/lib.rs", tree.parents[4] / "lib.rs"),
    "linked tree": lambda tree: link(tree, tree.parents[4] / "tree"),
    "hard link": lambda tree: os.link(tree / "src/lib.rs", tree.parents[4] / "other-name"),
    "pipe": lambda tree: pipe(tree / "src/lib.rs"),
}


@pytest.mark.parametrize("change", TREE)
def test_a_change_of_a_tree_is_found(prepared: Prepared, change: str) -> None:
    tree = prepared.open()
    TREE[change](tree)
    if tree.is_dir():
        prepared.seal()
    with pytest.raises(Poisoned, match="while cargo ran"):
        prepared.state.compare_again()


@pytest.mark.parametrize(("where", "mode"), [("src/lib.rs", 0o555), ("src", 0o755), (".", 0o755)])
def test_changed_permissions_are_found(prepared: Prepared, where: str, mode: int) -> None:
    prepared.state.compare_again()
    path = prepared.tree / where
    before = path.stat().st_mode
    path.chmod(mode)
    with pytest.raises(Poisoned, match="permissions"):
        prepared.state.compare_again()
    path.chmod(before)
    with pytest.raises(Poisoned, match="changed and changed back"):
        prepared.state.compare_again()


def write_and_restore(path: Path) -> None:
    data, before = path.read_bytes(), path.stat()
    path.chmod(0o600)
    path.write_text("evil")
    path.write_bytes(data)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_and_restore(path: Path) -> None:
    """Another file or folder stands in its place for a while."""
    above = path.parent.stat()
    path.parent.chmod(0o700)
    aside = path.with_name("aside")
    path.rename(aside)
    path.write_text("evil")
    path.unlink()
    aside.rename(path)
    path.parent.chmod(above.st_mode)
    os.utime(path.parent, ns=(above.st_atime_ns, above.st_mtime_ns))


def link_and_unlink(path: Path) -> None:
    """By the other name it could be written to."""
    other = path.parents[6] / "other-name"
    os.link(path, other)
    other.unlink()


def add_and_remove(path: Path) -> None:
    path.parent.chmod(0o755)
    path.touch()
    path.unlink()
    path.parent.chmod(0o555)


UNDONE: dict[str, Callable[[Prepared], object]] = {
    "source": lambda box: write_and_restore(box.tree / "src/lib.rs"),
    "marker": lambda box: write_and_restore(box.tree / ".cargo-ok"),
    "another source": lambda box: replace_and_restore(box.tree / "src/lib.rs"),
    "another folder": lambda box: replace_and_restore(box.tree / "src/deep"),
    "another tree": lambda box: replace_and_restore(box.tree),
    "other trees": lambda box: replace_and_restore(box.root),
    "all other trees": lambda box: replace_and_restore(box.root.parent),
    "another name": lambda box: link_and_unlink(box.tree / "src/lib.rs"),
    "an added build script": lambda box: add_and_remove(box.tree / "build.rs"),
    "configuration": lambda box: write_and_restore(box.home / "config.toml"),
    "credentials": lambda box: write_and_restore(box.home / "credentials.toml"),
    "index": lambda box: write_and_restore(box.registry.path / "index/to/ol/tool"),
    "tarball": lambda box: write_and_restore(box.registry.tarball(box.crate.id)),
}


@pytest.mark.parametrize("change", UNDONE)
def test_what_was_changed_and_changed_back_is_found(prepared: Prepared, change: str) -> None:
    """It was compiled from meanwhile; the time of the last change nobody can set."""
    UNDONE[change](prepared)
    with pytest.raises(Poisoned, match="while cargo ran"):
        prepared.state.compare_again()


AROUND: dict[str, Callable[[Prepared], object]] = {
    "config changed": lambda box: (box.home / "config.toml").write_text("[build]\n"),
    "config that wins": lambda box: (box.home / "config").write_text('[source.crates-io]\nreplace-with = "x"\n'),
    "config linked": lambda box: link(box.home / "config.toml", box.folder / "elsewhere"),
    "credentials changed": lambda box: (box.home / "credentials.toml").write_text('[registry]\ntoken = "t"\n'),
    "credentials added": lambda box: (box.home / "credentials").write_text('[registry]\ntoken = "t"\n'),
    "credentials removed": lambda box: (box.home / "credentials.toml").unlink(),
    "mode of credentials": lambda box: (box.home / "credentials.toml").chmod(0o666),
    "another program": lambda box: (box.home / "bin").mkdir(),
    "index line": lambda box: (box.registry.path / "index/to/ol/tool").write_text("{}\n"),
    "index file removed": lambda box: (box.registry.path / "index/to/ol/tool").unlink(),
    "tarball changed": lambda box: box.registry.tarball(box.crate.id).touch(),
    "tarball removed": lambda box: box.registry.tarball(box.crate.id).unlink(),
    "tarball linked": lambda box: os.link(box.registry.tarball(box.crate.id), box.folder / "other-name"),
    "another crate unpacked": lambda box: (box.root / "later-1.0.0").mkdir(),
    "another source": lambda box: box.unpack(box.root.parent / "-fedcba9876543210"),
    "a file among sources": lambda box: (box.root.parent / "file").touch(),
    "all sources linked": lambda box: link(box.home / "registry", box.folder / "elsewhere"),
}


@pytest.mark.parametrize("change", AROUND)
def test_a_change_around_the_trees_is_found(prepared: Prepared, change: str) -> None:
    AROUND[change](prepared)
    with pytest.raises(Poisoned, match="while cargo ran"):
        prepared.state.compare_again()


def test_another_gate_may_prepare_meanwhile_but_not_touch_what_this_run_uses(prepared: Prepared) -> None:
    def prepare() -> None:
        found = look(prepared.registry, prepared.home, [prepared.crate.id])
        (prepared.root / "later-1.0.0").mkdir(exist_ok=True)
        (prepared.home / "config.toml").write_text(os.urandom(4).hex())
        announce(prepared.registry, found, look(prepared.registry, prepared.home, [prepared.crate.id]))

    prepare()
    prepared.state.compare_again()
    prepared.open()
    (prepared.tree / "src/lib.rs").write_text("evil")
    prepared.seal()
    prepare()
    with pytest.raises(Poisoned, match=r"src/lib\.rs"):
        prepared.state.compare_again()


def test_a_gate_that_changed_nothing_says_nothing(prepared: Prepared) -> None:
    found = look(prepared.registry, prepared.home, [prepared.crate.id])
    assert announce(prepared.registry, found, found) is found
    assert not (prepared.folder / "generation").exists()


def test_what_has_no_business_in_the_home_is_refused_and_tidied_away(prepared: Prepared) -> None:
    (prepared.home / "config").write_text('[build]\nrustc-wrapper = "evil"\n')
    (prepared.home / "registry/evil").mkdir()
    with pytest.raises(Poisoned, match="neither by carnet nor by cargo"):
        look(prepared.registry, prepared.home, [])
    for path in list(tidy(prepared.home)):
        remove_tree(path)
    look(prepared.registry, prepared.home, [])
    assert {path.name for path in prepared.home.iterdir()} == {
        *("config.toml", "credentials.toml", "source-name", "registry")
    }
    assert prepared.tree.is_dir()


# --- marks ---


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "project/target"
    (path / "debug").mkdir(parents=True)
    return path


def marks(tmp_path: Path, *outputs: Path) -> Marks:
    return Marks(tmp_path / "carnet/marks", outputs)


def fail(held: Marks, reason: str = "it was changed") -> None:
    with pytest.raises(Poisoned), held.held():
        raise Poisoned(reason)


def test_a_good_run_leaves_no_mark(tmp_path: Path, target: Path) -> None:
    good = marks(tmp_path, target)
    with good.held():
        good.require_none()  # its own, and that of a gate beside it
        marks(tmp_path, target).require_none()
    good.require_none()
    assert list((tmp_path / "carnet/marks").iterdir()) == []


def test_a_mark_stays_until_the_folder_is_gone(tmp_path: Path, target: Path) -> None:
    fail(marks(tmp_path, target), "leaf@1.0.0: 'x' was changed")
    for _ in range(2):
        with pytest.raises(BuiltFromChanged, match=r"is not used: leaf@1\.0\.0: 'x' was changed") as refused:
            marks(tmp_path, target).require_none()
    assert f"remove {target}" in refused.value.hint
    marks(tmp_path, tmp_path / "other/target").require_none()  # which is another folder's
    remove_tree(target / "debug")
    marks(tmp_path, target).require_none()  # emptied
    (target / "debug").mkdir()
    marks(tmp_path, target).require_none()  # and built anew


@pytest.mark.parametrize("way", ["moved", "moved and linked", "copied and linked", "one of two"])
def test_a_mark_follows_the_folder(tmp_path: Path, target: Path, way: str) -> None:
    second, elsewhere = tmp_path / "build", tmp_path / "elsewhere"
    (second / "x").mkdir(parents=True)
    fail(marks(tmp_path, target, second))
    outputs = [elsewhere, second] if way == "one of two" else [elsewhere]
    if way == "copied and linked":
        (elsewhere / "debug").mkdir(parents=True)
        target.rename(tmp_path / "away")
    else:
        target.rename(elsewhere)
    if "linked" in way:
        target.symlink_to(elsewhere)
    marks(tmp_path, tmp_path / "another project's").require_none()
    with pytest.raises(BuiltFromChanged):
        marks(tmp_path, *outputs).require_none()


def test_each_of_two_folders_is_cleaned_for_itself(tmp_path: Path, target: Path) -> None:
    build = tmp_path / "build"
    (build / "x").mkdir(parents=True)
    both = marks(tmp_path, target, build)
    fail(both)
    remove_tree(target)
    with pytest.raises(BuiltFromChanged, match=f"in {build} is not used"):
        both.require_none()
    (target / "debug").mkdir(parents=True)
    marks(tmp_path, target).require_none()  # a new one
    remove_tree(build)
    both.require_none()
    (build / "x").mkdir(parents=True)
    both.require_none()


def test_a_folder_that_is_moved_away_and_comes_back(tmp_path: Path, target: Path) -> None:
    """A new one in its place is another one; the old one is not forgotten for it."""
    away = tmp_path / "away"
    fail(marks(tmp_path, target))
    target.rename(away)
    marks(tmp_path, target).require_none()
    (target / "debug").mkdir(parents=True)
    marks(tmp_path, target).require_none()
    for path in (away, target):
        if path == target:
            remove_tree(target)
            away.rename(target)
        with pytest.raises(BuiltFromChanged):
            marks(tmp_path, path).require_none()


def test_a_new_folder_is_not_the_one_whose_number_it_got(tmp_path: Path, target: Path) -> None:
    moved = tmp_path / "moved"
    fail(marks(tmp_path, target))
    target.rename(moved)
    with pytest.raises(BuiltFromChanged):
        marks(tmp_path, moved).require_none()
    remove_tree(moved)
    for _ in range(20):  # one of these has its number, on most file systems
        (moved / "debug").mkdir(parents=True)
        marks(tmp_path, moved).require_none()
        remove_tree(moved)


KILLED = """
import os, signal, sys
from pathlib import Path
from carnet_gate.comparison.marks import Marks
with Marks(Path(sys.argv[1]), [Path(sys.argv[2])]).held():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_that_was_killed_leaves_a_mark(tmp_path: Path, target: Path) -> None:
    (tmp_path / "carnet").mkdir()
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "carnet/marks", target], check=False)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(BuiltFromChanged, match="was ended before its sources were compared"):
        marks(tmp_path, target).require_none()


def test_an_interrupted_run_leaves_a_mark(tmp_path: Path, target: Path) -> None:
    with pytest.raises(KeyboardInterrupt), marks(tmp_path, target).held():
        raise KeyboardInterrupt
    with pytest.raises(BuiltFromChanged):
        marks(tmp_path, target).require_none()


@pytest.mark.parametrize("text", ["", "{}", '{"folders":[{"path":"zz","identity":null}],"reason":null}', "[" * 5000])
def test_a_damaged_mark_is_no_absence_of_one(tmp_path: Path, target: Path, text: str) -> None:
    damaged = marks(tmp_path, target)
    (tmp_path / "carnet/marks" / f"{'0' * 32}.json").write_text(text)
    with pytest.raises(StorageError, match="is damaged"):
        damaged.require_none()


def test_a_folder_of_marks_that_others_can_write_to_is_refused(tmp_path: Path, target: Path) -> None:
    marks(tmp_path, target)
    (tmp_path / "carnet/marks").chmod(0o777)
    with pytest.raises(ConfigError, match="somebody else"):
        marks(tmp_path, target)
