"""The local registry: what is kept for cargo, and what is compared before it runs."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.crates.archives import TarballBuilder, honest_crate
from tests.support.worlds.admissions import admission_of
from tests.support.worlds.claims import with_dependency

from carnet.cargo.crate import MAX_DEPTH, CrateFile, read_crate
from carnet.cargo.names import CrateId
from carnet.errors import ArchiveRefused, MetadataMismatch
from carnet_verifier.cargo import localregistry
from carnet_verifier.cargo.localregistry import Kept, LocalRegistry, Poisoned, Unfinished

DEMO = honest_crate("demo", "0.1.0", files={"src/bin/tool.rs": b"fn main() {}\n", "README.md": b""})


def unpacked(home: Path, crate: CrateFile, root: str = "-0123456789abcdef") -> Path:
    """A tree as cargo unpacks it."""
    tree = home / "registry" / "src" / root / crate.id.stem
    for entry in crate.entries:
        path = tree / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.data)
    (tree / ".cargo-ok").write_text('{"v":1}')
    return tree


@pytest.fixture
def registry(tmp_path: Path) -> LocalRegistry:
    return LocalRegistry(tmp_path / "registry")


# --- tarballs ---


def test_a_kept_tarball_is_found_again(registry: LocalRegistry) -> None:
    admission = admission_of(DEMO)
    assert registry.open(admission) is None
    registry.keep([(admission, DEMO)])
    kept = registry.open(admission)
    assert kept is not None
    assert kept.id == CrateId.of("demo", "0.1.0")


def test_other_bytes_than_the_admitted_are_never_kept(registry: LocalRegistry) -> None:
    with pytest.raises(MetadataMismatch):
        registry.keep([(admission_of(DEMO), DEMO + b"x")])


def test_a_changed_tarball_is_found(registry: LocalRegistry) -> None:
    admission = admission_of(DEMO)
    registry.keep([(admission, DEMO)])
    path = registry.tarball(admission.crate)
    path.chmod(0o600)
    path.write_bytes(honest_crate("demo", "0.1.0", source="evil"))
    with pytest.raises(Poisoned, match=r"the tarball of demo@0\.1\.0 in cargo's cache was changed"):
        registry.open(admission)


def test_a_tarball_that_is_a_link_is_found(registry: LocalRegistry, tmp_path: Path) -> None:
    admission = admission_of(DEMO)
    (tmp_path / "elsewhere").write_bytes(DEMO)
    registry.tarball(admission.crate).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Poisoned, match="not a plain file"):
        registry.open(admission)


def test_a_line_that_says_more_than_the_kept_manifest(registry: LocalRegistry) -> None:
    """A tarball that was kept under an honest line is held against the line that counts now."""
    admission = admission_of(DEMO)
    registry.keep([(admission, DEMO)])
    assert registry.open(admission) is not None
    with pytest.raises(ArchiveRefused, match="evil"):
        registry.open(admission_of(DEMO, with_dependency))


# --- index ---


def test_index_lines_of_other_versions_stay(registry: LocalRegistry) -> None:
    old, new = admission_of(DEMO), admission_of(honest_crate("demo", "0.2.0"))
    registry.write_index([new])
    registry.write_index([old])
    registry.write_index([old, new])
    text = (registry.path / "index/de/mo/demo").read_bytes()
    assert text == old.line.to_bytes() + b"\n" + new.line.to_bytes() + b"\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"deps":[]', b'"deps":[{"name":"evil","req":"^1","features":[],"optional":false,'
                                  b'"default_features":true,"target":null,"kind":"normal"}]'),
        lambda data: data + data,
        lambda data: data[:-20],
    ],
    ids=["a dependency added", "a line twice", "truncated"],
)  # fmt: skip
def test_a_changed_index_line_is_found(registry: LocalRegistry, change: object) -> None:
    admission = admission_of(DEMO)
    registry.write_index([admission])
    registry.write_index([admission])
    path = registry.path / "index/de/mo/demo"
    data = path.read_bytes()
    changed = change(data)  # type: ignore[operator]
    assert changed != data
    path.write_bytes(changed)
    with pytest.raises(Poisoned):
        registry.write_index([admission])


# --- unpacked trees ---


def test_an_untouched_tree_is_complete(tmp_path: Path) -> None:
    crate = read_crate(DEMO)
    with pytest.raises(Unfinished, match=r"demo@0\.1\.0: cargo's copy"):
        localregistry.compare_sources(tmp_path, {crate.id: Kept.of(crate)})
    unpacked(tmp_path, crate)
    assert localregistry.compare_sources(tmp_path, {crate.id: Kept.of(crate)})
    localregistry.protect(tmp_path, [crate.id])
    assert localregistry.compare_sources(tmp_path, {crate.id: Kept.of(crate)})


def change_file(tree: Path) -> None:
    (tree / "src/lib.rs").write_text("pub fn answer() -> u32 { 43 }\n")


def append_to_file(tree: Path) -> None:
    with (tree / "README.md").open("a") as file:
        file.write("x")


def add_build_script(tree: Path) -> None:
    (tree / "build.rs").write_text("fn main() {}")


def add_nested(tree: Path) -> None:
    (tree / "src/bin/.cargo-ok").write_text('{"v":1}')


def remove_file(tree: Path) -> None:
    (tree / "src/bin/tool.rs").unlink()


def link_to_same_content(tree: Path) -> None:
    copy = tree.parents[3] / "copy.rs"
    copy.write_bytes((tree / "src/lib.rs").read_bytes())
    (tree / "src/lib.rs").unlink()
    (tree / "src/lib.rs").symlink_to(copy)


def link_folder(tree: Path) -> None:
    (tree / "src").rename(tree.parents[3] / "src-elsewhere")
    (tree / "src").symlink_to(tree.parents[3] / "src-elsewhere")


def hard_link(tree: Path) -> None:
    os.link(tree / "src/lib.rs", tree.parents[3] / "other-name.rs")


def fifo(tree: Path) -> None:
    (tree / "src/lib.rs").unlink()
    os.mkfifo(tree / "src/lib.rs")


@pytest.mark.parametrize(
    ("poison", "said"),
    [
        (change_file, "was changed after the crate was admitted"),
        (append_to_file, "was changed after"),
        (add_build_script, "'build.rs' was added"),
        (add_nested, "was added"),
        (remove_file, "'src/bin/tool.rs' was removed"),
        (link_to_same_content, "is a link or device"),
        (link_folder, "is a link or device"),
        (fifo, "is a link or device"),
        (hard_link, "can be written to by another name, a hard link"),
    ],
)
def test_a_poisoned_tree_is_found(tmp_path: Path, poison: object, said: str) -> None:
    crate = read_crate(DEMO)
    tree = unpacked(tmp_path, crate)
    assert localregistry.compare_sources(tmp_path, {crate.id: Kept.of(crate)})
    poison(tree)  # type: ignore[operator]
    with pytest.raises(Poisoned, match=said):
        localregistry.compare_sources(tmp_path, {crate.id: Kept.of(crate)})
    localregistry.protect(tmp_path, [crate.id])
    with pytest.raises(Poisoned, match=said):
        localregistry.compare_sources(tmp_path, {crate.id: Kept.of(crate)})


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_protecting_changes_nothing_outside_of_a_tree(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    """It comes before the comparison, so that each file is read once: what is unpacked there may be anybody's."""
    crate = read_crate(DEMO)
    tree = unpacked(tmp_path, crate)
    outside = tmp_path / "outside"
    outside.write_text("somebody's\n")
    outside.chmod(0o640)
    link(outside, tree / "src/other.rs")
    assert localregistry.protect(tmp_path, [crate.id]) == 1
    assert stat.S_IMODE(outside.stat().st_mode) == 0o640
    assert stat.S_IMODE((tree / "src/lib.rs").stat().st_mode) == 0o444
    with pytest.raises(Poisoned):
        localregistry.compare_sources(tmp_path, {crate.id: Kept.of(crate)})


def test_permissions_that_were_opened_are_found_where_they_had_been_taken_away(tmp_path: Path) -> None:
    crate = read_crate(DEMO)
    tree, kept = unpacked(tmp_path, crate), Kept.of(crate)
    localregistry.protect(tmp_path, [crate.id])
    assert localregistry.compare_tree(tree, kept, protected=True)
    (tree / "src/lib.rs").chmod(0o644)
    assert localregistry.compare_tree(tree, kept), "before cargo ran they may be as cargo leaves them"
    with pytest.raises(Poisoned, match=r"permissions of 'src/lib\.rs' were changed"):
        localregistry.compare_tree(tree, kept, protected=True)


def test_every_folder_of_unpacked_crates_is_compared(tmp_path: Path) -> None:
    crate = read_crate(DEMO)
    unpacked(tmp_path, crate)
    change_file(unpacked(tmp_path, crate, root="-fedcba9876543210"))
    with pytest.raises(Poisoned):
        localregistry.compare_sources(tmp_path, {crate.id: Kept.of(crate)})


def test_a_folder_that_was_complete_before_cargo_ran_is_complete_after_it(tmp_path: Path) -> None:
    """Another one that is complete says nothing of it: cargo may have compiled from either."""
    crate = read_crate(DEMO)
    kept = {crate.id: Kept.of(crate)}
    unpacked(tmp_path, crate)
    tree = unpacked(tmp_path, crate, root="-fedcba9876543210")
    localregistry.protect(tmp_path, [crate.id])
    before = localregistry.compare_sources(tmp_path, kept)
    localregistry.remove_tree(tree)
    tree.parent.mkdir(exist_ok=True)
    assert localregistry.compare_sources(tmp_path, kept)
    with pytest.raises(Unfinished, match=r"demo@0\.1\.0: cargo's copy"):
        localregistry.compare_sources(tmp_path, kept, before=before)


def test_a_file_that_went_since_it_was_listed_is_a_change(tmp_path: Path) -> None:
    with pytest.raises(Poisoned, match="cannot be read: No such file"):
        localregistry._read(str(tmp_path / "gone"), 1)


@pytest.mark.parametrize("marker", [None, "", "ok", "{}"])
def test_a_tree_that_cargo_would_unpack_over_is_removed(tmp_path: Path, marker: str | None) -> None:
    crate = read_crate(DEMO)
    tree = unpacked(tmp_path, crate)
    add_build_script(tree)
    (tree / ".cargo-ok").unlink()
    if marker is not None:
        (tree / ".cargo-ok").write_text(marker)
    with pytest.raises(Unfinished):
        localregistry.compare_sources(tmp_path, {crate.id: Kept.of(crate)})
    localregistry.remove_unfinished(tmp_path, [crate.id])
    assert not tree.exists()


def test_a_marker_inside_the_tarball_is_not_expected(tmp_path: Path) -> None:
    """cargo never unpacks a file of that name."""
    crate = TarballBuilder().manifest().file("src/lib.rs").file("src/.cargo-ok", "x").read()
    unpacked(tmp_path, crate)
    assert localregistry.compare_sources(tmp_path, {crate.id: Kept.of(crate)})


@pytest.mark.parametrize("part", ["registry", "registry/src", "registry/src/-0123456789abcdef"])
def test_a_linked_folder_is_found(tmp_path: Path, part: str) -> None:
    crate = read_crate(DEMO)
    home = tmp_path / "home"
    unpacked(home, crate)
    assert localregistry.compare_sources(home, {crate.id: Kept.of(crate)})
    (home / part).rename(tmp_path / "elsewhere")
    (home / part).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Poisoned):
        localregistry.compare_sources(home, {crate.id: Kept.of(crate)})


def test_cleaning_removes_what_was_asked_for(tmp_path: Path, registry: LocalRegistry) -> None:
    crate, other = read_crate(DEMO), read_crate(honest_crate("other", "1.0.0"))
    trees = []
    for one, data in ((crate, DEMO), (other, honest_crate("other", "1.0.0"))):
        registry.keep([(admission_of(data), data)])
        trees.append(unpacked(tmp_path, one))
    localregistry.protect(tmp_path, [crate.id, other.id])
    assert registry.clean([crate.id], [tmp_path]) == 2
    assert [tree.exists() for tree in trees] == [False, True]
    assert registry.clean(None, [tmp_path]) == 2
    assert not trees[1].exists()


@pytest.mark.parametrize("levels", [200, 1200])
def test_folders_in_folders_without_end_are_found(tmp_path: Path, levels: int) -> None:
    """Whoever writes where cargo unpacks has them for nothing: they neither end carnet nor use up its open files."""
    crate = read_crate(DEMO)
    tree = unpacked(tmp_path, crate)
    folder = os.open(tree, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("added", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
    os.close(folder)
    assert localregistry.protect(tmp_path, [crate.id]) == 1
    with pytest.raises(Poisoned):
        localregistry.compare_sources(tmp_path, {crate.id: Kept.of(crate)})
    tree.chmod(0o700)
    while (tree / "d/d").exists():  # what removes the folders of tests cannot go so deep
        for folder_above in (tree / "d", tree / "d/d"):
            folder_above.chmod(0o700)
        (tree / "d/d").rename(tree / "e")
        (tree / "d").rmdir()
        (tree / "e").rename(tree / "d")


def test_protecting_goes_as_deep_as_a_tarball_does() -> None:
    assert localregistry._DEEPEST == MAX_DEPTH
