"""Whoever can write to cargo's cache, to unpacked sources or to a vendor folder: each changed file is found there.

Plain cargo looks at none of it again, or only at what a list beside the files asks it to.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import TarballBuilder, honest_crate
from tests.support.machines.cargo import Machine
from tests.support.machines.command import Ran, carnet
from tests.support.machines.on_disk import CHECKSUMS, CRATES_IO, cached, set_environment, unpacked, vendored
from tests.support.registries.signed import SignedRegistry

from carnet.cargo.crate import read_crate


def crate(name: str) -> bytes:
    """A tarball with everything that cargo treats in a way of its own."""
    return (
        TarballBuilder(name, "1.0.0")
        .manifest()
        .file("src/lib.rs", "pub fn n() {}\n")
        .file("build.sh", "#!/bin/sh\n", executable=True)
        .file(".gitignore", "target\n")
        .file("Cargo.toml.orig", "# as it was written\n")
        .file(".cargo_vcs_info.json", "{}\n")
        .build()
    )


def numbered(number: int) -> bytes:
    return crate(f"case{number}")


LEAF = crate("leaf")
BRANCH = honest_crate("branch", "0.2.0", extra='[dependencies]\nleaf = "1"\n')
EVIL = "pub fn n() { evil() }\n"
FOREIGN = honest_crate("corp-only", "1.0.0")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    registry = SignedRegistry()
    registry.add(LEAF, BRANCH, *map(numbered, range(len(IN_A_TREE))))
    with registry.serving():
        one = Machine(tmp_path_factory.mktemp("machine"))
        with pytest.MonkeyPatch.context() as patch:
            set_environment(patch, one)
            (one.path / "root.json").write_bytes(registry.root)
            ran = carnet("trust", "add", registry.url, "--root", one.path / "root.json")
            assert ran.status == 0, ran
        yield one


@pytest.fixture
def here(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A CARGO_HOME and a vendor folder with both crates, in a folder with their lock."""
    old = os.umask(0o022)
    set_environment(monkeypatch, machine)
    for data in (LEAF, BRANCH):
        cached(tmp_path / "home", data)
        vendored(tmp_path / "vendor", data)
    packages = "".join(
        f'\n[[package]]\nname = "{read.id.name}"\nversion = "{read.id.version}"\n'
        f'source = "registry+https://github.com/rust-lang/crates.io-index"\nchecksum = "{read.sha256}"\n'
        for read in map(read_crate, (LEAF, BRANCH))
    )
    (tmp_path / "Cargo.lock").write_text(f"version = 4\n{packages}")
    yield tmp_path
    os.umask(old)


def verify_home(here: Path, *more: object) -> Ran:
    return carnet("verify", "--cargo-home", here / "home", *more)


def verify_vendor(here: Path, *more: object) -> Ran:
    return carnet("verify", "--vendor", here / "vendor", *more)


def source(here: Path, stem: str = "leaf-1.0.0") -> Path:
    return here / "home/registry/src" / CRATES_IO / stem


def tarball(here: Path) -> Path:
    return here / "home/registry/cache" / CRATES_IO / "leaf-1.0.0.crate"


def test_what_cargo_left_is_what_is_signed(here: Path) -> None:
    """The positive control: nothing that cargo itself adds, leaves out or may lack is called a change."""
    for more in ((), (here / "Cargo.lock",)):
        ran = verify_home(here, *more)
        assert ran.status == 0, ran
        assert "2 tarballs in cargo's cache: 2 as signed" in ran.out
        assert "2 unpacked crates: 2 as signed" in ran.out
        ran = verify_vendor(here, *more)
        assert ran.status == 0, ran
        assert "2 vendored crates: 2 as signed" in ran.out
    assert not (here / "vendor/leaf/.gitignore").exists()
    (source(here) / ".cargo-ok").write_text("ok")  # cargo until 1.71
    (here / "vendor/leaf/Cargo.toml.orig").unlink()  # and older ones left that out
    listed = json.loads((here / "vendor/leaf" / CHECKSUMS).read_text())
    del listed["files"]["Cargo.toml.orig"]
    (here / "vendor/leaf" / CHECKSUMS).write_text(json.dumps(listed))
    (here / "vendor/leaf/build.sh").chmod(0o644)  # nor kept they this
    ran = carnet("verify", "--cargo-home", here / "home", "--vendor", here / "vendor")
    assert ran.status == 0, ran


def change(file: Path, text: str = EVIL) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


def link(file: Path) -> None:
    file.rename(file.parent / "away.txt")
    file.symlink_to("away.txt")


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


IN_A_TREE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "changed": (lambda tree: change(tree / "src/lib.rs"), "changed", "'src/lib.rs' is not what the tarball has"),
    "same length": (lambda tree: change(tree / "src/lib.rs", "pub fn m() {}\n"), "changed", "'src/lib.rs'"),
    "longer": (lambda tree: change(tree / "src/lib.rs", "pub fn n() {}\n\n"), "changed", "'src/lib.rs'"),
    "emptied": (lambda tree: change(tree / "src/lib.rs", ""), "changed", "'src/lib.rs'"),
    "manifest": (lambda tree: change(tree / "Cargo.toml.orig"), "changed", "'Cargo.toml.orig' is not"),
    "added build script": (lambda tree: change(tree / "build.rs"), "added", "'build.rs' was added"),
    "added in a new folder": (lambda tree: change(tree / "new/x.rs"), "added", "'new/x.rs'"),
    "missing": (lambda tree: (tree / "src/lib.rs").unlink(), "missing", "'src/lib.rs' is missing"),
    "folder removed": (lambda tree: shutil.rmtree(tree / "src"), "missing", "'src/lib.rs' is missing"),
    "linked": (lambda tree: link(tree / "src/lib.rs"), "link", "'src/lib.rs' is no plain file any more"),
    "linked folder": (lambda tree: link(tree / "src"), "missing", "'src/lib.rs' is missing"),
    "a folder in its place": (lambda tree: folder(tree / "src/lib.rs"), "link", "but a folder"),
    "a pipe in its place": (lambda tree: pipe(tree / "src/lib.rs"), "link", "but a device or pipe"),
    "hard link": (lambda tree: os.link(tree / "src/lib.rs", tree.parent / ".other"), "link", "a hard link"),
    "case twin": (lambda tree: change(tree / "SRC.rs"), "added", "'SRC.rs' was added"),
    "twin of a file": (lambda tree: change(tree / "src/Lib.rs"), "added", "beside 'src/lib.rs', from which it differs"),
    "executable": (lambda tree: (tree / "src/lib.rs").chmod(0o755), "permissions", "was made executable"),
    "open to everybody": (lambda tree: (tree / "src/lib.rs").chmod(0o666), "permissions", "written to by everybody"),
    "open folder": (lambda tree: (tree / "src").chmod(0o777), "permissions", "'src' can be written to by everybody"),
    "set-id": (lambda tree: (tree / "build.sh").chmod(0o4755), "permissions", "runs as its owner or group"),
    "odd name": (lambda tree: change(tree / "\x1b[2J.rs"), "added", r"'\x1b[2J.rs' was added"),
    "nested mark": (lambda tree: change(tree / "src/.cargo-ok"), "added", "'src/.cargo-ok' was added"),
}


@pytest.fixture(scope="module")
def looked_at(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """A crate for each case, unpacked and vendored, each changed in one way: what came of each, by kind and case."""
    folder, old = tmp_path_factory.mktemp("poisoned"), os.umask(0o022)
    try:
        for number, case in enumerate(IN_A_TREE):
            for tree in (cached(folder / "home", numbered(number)), vendored(folder / "vendor", numbered(number))):
                IN_A_TREE[case][0](tree)
        for data in (LEAF, BRANCH):  # the control, which nobody changes
            cached(folder / "home", data)
            vendored(folder / "vendor", data)
    finally:
        os.umask(old)
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, machine)
        look = ("verify", "--cargo-home", folder / "home", "--vendor", folder / "vendor", "--message-format", "json")
        ran = carnet(*look)
    assert ran.status == 1, ran
    *found, summary = [json.loads(line) for line in ran.out.splitlines()]
    cases = {f"case{number}": case for number, case in enumerate(IN_A_TREE)}
    return {(one["kind"], cases.get(one["name"], one["name"])): one for one in found} | {("", ""): summary}


@pytest.mark.parametrize("case", IN_A_TREE)
@pytest.mark.parametrize("kind", ["sources", "vendored"])
def test_each_change_in_a_crates_folder_is_found(
    looked_at: dict[tuple[str, str], dict[str, Any]], kind: str, case: str
) -> None:
    _, change_of, said = IN_A_TREE[case]
    changed = looked_at[kind, case]
    assert changed["state"] == "changed"
    assert [one for one in changed["differences"] if one["change"] == change_of and said in one["message"]], changed
    assert looked_at[kind, "leaf"]["state"] == looked_at[kind, "branch"]["state"] == "good"


def test_nothing_else_is_called_changed(looked_at: dict[tuple[str, str], dict[str, Any]]) -> None:
    summary = looked_at["", ""] | {"repository": "", "snapshot": 0, "strays": []}
    assert summary == {
        "reason": "copies",
        "good": len(IN_A_TREE) + 6,  # the tarball of each, and the control
        "changed": 2 * len(IN_A_TREE),
        "undecided": 0,
        "unfinished": 0,
        "not_in_lock": None,
        "strays": [],
        "repository": "",
        "snapshot": 0,
    }


IN_THE_LIST: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "entry removed": (lambda said: said["files"].pop("src/lib.rs"), "'src/lib.rs' was taken out"),
    "all entries removed": (lambda said: said["files"].clear(), "lists no file, so cargo checks none"),
    "another digest": (lambda said: said["files"].update({"src/lib.rs": "00" * 32}), "the digest of 'src/lib.rs'"),
    "entry added": (
        lambda said: said["files"].update({"../x": "00" * 32}),
        "'../x' was added to '.cargo-checksum.json'",
    ),
    "another tarball": (lambda said: said.update(package="00" * 32), "names the tarball '0000"),
    "no files": (lambda said: said.pop("files"), "has no `files`"),
}


@pytest.mark.parametrize("case", IN_THE_LIST)
def test_a_list_that_cargo_is_to_believe_is_compared_as_well(here: Path, case: str) -> None:
    poison, said = IN_THE_LIST[case]
    file = here / "vendor/leaf" / CHECKSUMS
    listed = json.loads(file.read_text())
    poison(listed)
    file.write_text(json.dumps(listed))
    ran = verify_vendor(here)
    assert ran.status == 1, ran
    assert said in ran.err
    file.unlink()
    assert "'.cargo-checksum.json' is missing" in verify_vendor(here).err


def test_a_changed_source_whose_entry_was_removed_is_told_twice(here: Path) -> None:
    """As an attacker does it: cargo builds that without a word."""
    file = here / "vendor/leaf" / CHECKSUMS
    listed = json.loads(file.read_text())
    del listed["files"]["src/lib.rs"]
    file.write_text(json.dumps(listed))
    change(here / "vendor/leaf/src/lib.rs")
    ran = verify_vendor(here)
    assert ran.status == 1
    assert "'src/lib.rs' is not what the tarball has" in ran.err
    assert "'src/lib.rs' was taken out of '.cargo-checksum.json'" in ran.err


def test_a_second_copy_under_another_folder_name_is_compared(here: Path) -> None:
    """cargo knows a vendored crate by its manifest, and takes the last one that it finds."""
    twin = vendored(here / "vendor", LEAF, "zzz-not-leaf")
    assert verify_vendor(here).status == 0
    change(twin / "src/lib.rs")
    ran = verify_vendor(here, here / "Cargo.lock")
    assert ran.status == 1
    assert "zzz-not-leaf" in ran.err


def test_a_crate_that_says_it_is_from_git_is_not_good_for_that(here: Path) -> None:
    """Of such a package cargo asks for no checksum; what the lock takes from crates-io is compared all the same."""
    file = here / "vendor/leaf" / CHECKSUMS
    file.write_text(json.dumps(json.loads(file.read_text()) | {"package": None}))
    change(here / "vendor/leaf/src/lib.rs")
    ran = verify_vendor(here)
    assert ran.status == 3, ran
    assert "says of itself that it is from git" in ran.err
    ran = verify_vendor(here, here / "Cargo.lock")
    assert ran.status == 1, ran
    assert "'src/lib.rs' is not what the tarball has" in ran.err
    assert "names no tarball" in ran.err


def test_a_crate_of_the_lock_that_is_not_vendored_is_told(here: Path) -> None:
    shutil.rmtree(here / "vendor/leaf")
    assert verify_vendor(here).status == 0
    ran = verify_vendor(here, here / "Cargo.lock")
    assert ran.status == 1
    assert "leaf@1.0.0 is in the lock, and not in " in ran.err


def test_a_manifest_that_cannot_be_read_is_a_change(here: Path) -> None:
    change(here / "vendor/leaf/Cargo.toml", "[package\n")
    assert verify_vendor(here).status == 1


IN_THE_CACHE: dict[str, tuple[Callable[[Path], object], str]] = {
    "another tarball": (
        lambda file: file.write_bytes(honest_crate("leaf", "1.0.0", source=EVIL)),
        "is another: sha256",
    ),
    "cut off": (lambda file: file.write_bytes(LEAF[:-1]), "is another: sha256"),
    "something behind it": (lambda file: file.write_bytes(LEAF + b"\0"), "is another: sha256"),
    "a link": (link, "is no plain file"),
    "a pipe": (pipe, "is no plain file"),
    "open to everybody": (lambda file: file.chmod(0o666), "can be written to by everybody"),
}


@pytest.mark.parametrize("case", IN_THE_CACHE)
def test_a_changed_tarball_is_found_and_the_sources_are_compared_all_the_same(here: Path, case: str) -> None:
    poison, said = IN_THE_CACHE[case]
    poison(tarball(here))
    ran = verify_home(here)
    assert ran.status == 1, ran
    assert f"leaf@1.0.0: the tarball {said}" in ran.err
    assert "2 unpacked crates: 2 as signed" in ran.out  # by the mirror's own copy
    change(source(here) / "src/lib.rs")
    assert "'src/lib.rs' is not what the tarball has" in verify_home(here).err


def test_what_cargo_did_not_finish_is_no_change_and_what_was_laid_into_it_is(here: Path) -> None:
    """Without its mark, cargo unpacks over what lies there, and what the tarball does not have stays."""
    tree = source(here)
    (tree / ".cargo-ok").unlink()
    (tree / "build.sh").unlink()
    change(tree / "src/lib.rs", "pub fn")
    ran = verify_home(here)
    assert ran.status == 0, ran
    assert "1 as signed, 1 unfinished" in ran.out
    (tree / ".cargo-ok").touch()
    assert verify_home(here).status == 0
    change(tree / "build.rs")
    ran = verify_home(here)
    assert ran.status == 1
    assert "'build.rs' was added" in ran.err
    (tree / "build.rs").unlink()
    (tree / ".cargo-ok").write_text("evil")
    assert "'.cargo-ok' is not what cargo writes there" in verify_home(here).err


def test_a_crate_that_is_a_link_is_found(here: Path) -> None:
    for tree, look in ((source(here), verify_home), (here / "vendor/leaf", verify_vendor)):
        tree.rename(here / "away")
        tree.symlink_to(here / "away")
        ran = look(here)
        assert ran.status == 1, ran
        assert "the folder of the crate is no folder, but a link" in ran.err
        shutil.rmtree(here / "away")


def test_what_nobody_vouches_for_is_undecided_and_not_good(here: Path) -> None:
    cached(here / "home", FOREIGN)
    ran = verify_home(here)
    assert ran.status == 3, ran
    assert "undecided: corp_only" in ran.err.replace("corp-only", "corp_only")
    assert "3 unpacked crates: 2 as signed, 1 undecided" in ran.out
    locked = verify_home(here, here / "Cargo.lock")
    assert locked.status == 0, locked
    assert "2 more are not in the lock" in locked.out
    change(source(here) / "src/lib.rs")
    assert verify_home(here).status == 1  # what was changed comes first


def test_registries_side_by_side(here: Path) -> None:
    """Another registry may have a crate of the same name; what is crates-io's is so wherever cargo took it from."""
    home = here / "home"
    cached(home, LEAF, registry="crates.corp.example-0123456789abcdef")
    cached(home, LEAF, registry="github.com-1ecc6299db9ec823")
    assert verify_home(here).status == 0
    change(home / "registry/src/crates.corp.example-0123456789abcdef/leaf-1.0.0/src/lib.rs")
    ran = verify_home(here)
    assert ran.status == 3, ran
    assert "nobody vouches for another registry's" in ran.err
    change(home / "registry/src/github.com-1ecc6299db9ec823/leaf-1.0.0/src/lib.rs")
    assert verify_home(here).status == 1


def test_what_cargo_takes_for_no_crate_is_counted(here: Path) -> None:
    for stray in ("registry/cache/notes.txt", f"registry/src/{CRATES_IO}/notes", f"registry/cache/{CRATES_IO}/x.crate"):
        (here / "home" / stray).write_text("x")
    (here / "vendor/.git").mkdir()
    (here / "vendor/left-over").mkdir()
    ran = carnet("verify", "--cargo-home", here / "home", "--vendor", here / "vendor")
    assert ran.status == 0, ran
    assert "5 more files and folders are no crate for cargo" in ran.out
    (here / "empty").mkdir()
    ran = carnet("verify", "--cargo-home", here / "empty", "--vendor", here / "empty")
    assert f"no crate lies in {here / 'empty'} or {here / 'empty'}\n" in ran.out
    (here / "empty/left-over").mkdir()
    ran = carnet("verify", "--vendor", here / "empty")
    assert f"{here / 'empty/left-over'} is no crate for cargo\n" in ran.out


def test_a_lock_with_another_checksum_is_refused_before_anything_is_called_good(here: Path) -> None:
    lock = here / "Cargo.lock"
    lock.write_text(lock.read_text().replace(read_crate(LEAF).sha256, "ab" * 32))
    ran = verify_home(here, lock)
    assert ran.status == 1, ran
    assert "leaf@1.0.0 has checksum abab" in ran.err


def test_wrong_folders_and_targets_are_the_users_to_mend(here: Path) -> None:
    assert carnet("verify", "--cargo-home", here / "nowhere").status == 2
    assert carnet("verify", "--vendor", here / "nowhere").status == 2
    assert verify_home(here, "leaf@1.0.0").status == 2
    assert verify_home(here, here / "leaf.crate").status == 2
    ran = carnet("verify", "--cargo-home", here / "Cargo.lock")
    assert ran.status == 2
    assert "--cargo-home=" in ran.err


def test_without_a_folder_it_is_the_users_own(here: Path, machine: Machine) -> None:
    cached(machine.cargo_home, LEAF)
    ran = carnet("verify", "--cargo-home")
    assert ran.status == 0, ran
    change(machine.cargo_home / "registry/src" / CRATES_IO / "leaf-1.0.0/src/lib.rs")
    assert carnet("verify", "--cargo-home").status == 1


def test_an_unpacked_crate_whose_tarball_is_gone_is_compared_with_the_mirrors(here: Path) -> None:
    tarball(here).unlink()
    assert verify_home(here).status == 0
    change(source(here) / "src/lib.rs")
    assert verify_home(here).status == 1


def test_a_tree_without_end_ends(here: Path) -> None:
    """Deep folders that no path reaches, and many files, are told and not waited for."""
    tree = source(here)
    descriptor = os.open(tree, os.O_RDONLY)
    for _ in range(40):
        os.mkdir("d" * 200, dir_fd=descriptor)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    for number in range(1200):
        (tree / f"added{number}").touch()
    ran = verify_home(here)
    assert ran.status == 1, ran
    assert "there may be more; 1000 are shown" in ran.err
    assert len(ran.err.splitlines()) < 1100


def test_a_vendor_folder_that_calls_itself_carnets_is_believed_nothing(here: Path) -> None:
    """Its mark says what carnet may replace; what the folder holds is compared, whatever the mark says."""
    lock = here / "Cargo.lock"
    assert carnet("vendor", here / "ours", "--lockfile", lock).status == 0
    change(here / "ours/leaf/src/lib.rs")
    (here / "ours/branch/build.rs").write_text("fn main() {}")
    ran = carnet("vendor", here / "ours", "--lockfile", lock)
    assert ran.status == 0, ran
    assert "somebody had changed it: leaf@1.0.0: 'src/lib.rs' is not what the tarball has" in ran.err
    assert "somebody had changed it: branch@0.2.0: 'build.rs' was added" in ran.err
    assert carnet("verify", "--vendor", here / "ours", lock).status == 0


def test_the_helper_unpacks_as_it_says(tmp_path: Path) -> None:
    assert set(unpacked(LEAF, tmp_path)) == {
        ".cargo_vcs_info.json",
        ".gitignore",
        "Cargo.toml",
        "Cargo.toml.orig",
        "build.sh",
        "src/lib.rs",
    }
