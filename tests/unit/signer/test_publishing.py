"""What is tagged may be published: real repositories, real cargo, told before anybody signs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.support.worlds.release import git, make_repository

from carnet.cargo.names import CrateId
from carnet.errors import Unpublishable
from carnet.publishable.checks import Destination
from carnet_signer.steps.packaging import find_toolchain
from carnet_signer.steps.record import Recorded, record_package, record_rebuild, record_tag

pytestmark = pytest.mark.cargo

MANIFEST = (
    '[package]\nname = "demo-lib"\nversion = "0.1.0"\nedition = "2021"\ndescription = "a demo"\nlicense = "MIT"\n'
)
LIBRARY = {"Cargo.toml": MANIFEST.encode(), "src/lib.rs": b"pub fn one() -> u8 { 1 }\n"}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12\n"
toolchain = functools.cache(find_toolchain)


def tagged(repository: Path, folder: str = "", to: Destination | None = None) -> Recorded:
    return record_tag(repository, "HEAD", folder, toolchain(), destination=lambda _: to or Destination())


def refused(repository: Path, folder: str = "", to: Destination | None = None) -> Unpublishable:
    with pytest.raises(Unpublishable) as caught:
        tagged(repository, folder=folder, to=to)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return caught.value


def manifest(more: str) -> dict[str, bytes]:
    return {"Cargo.toml": (MANIFEST + more).encode()}


# files, how the error begins, what it says to do
REFUSED: dict[str, tuple[Mapping[str, bytes], str, str]] = {
    "not for publishing": (
        manifest("publish = false\n"),
        "demo-lib@0.1.0 cannot be published: Cargo.toml: package.publish is false",
        "take `publish` out",
    ),
    "a pointer": (
        {".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n", "data/x.bin": POINTER},
        "the package cannot be published: data/x.bin is what git-lfs keeps in git in the place of the file",
        "git lfs untrack",
    ),
    "two cases of a name": (
        {"src/Data.rs": b"", "src/data.rs": b""},
        "the package cannot be published: 'src/data.rs' and 'src/Data.rs' are one path",
        "rename",
    ),
    "a file that cargo makes": (
        {"Cargo.toml.orig": b""},
        "cargo package failed: error: invalid inclusion of reserved file name Cargo.toml.orig",
        "rename yours",
    ),
    "a licence that is not there": (
        {"Cargo.toml": MANIFEST.replace('license = "MIT"', 'license-file = "LICENCE"').encode()},
        "cargo package failed: error: license-file `LICENCE` does not appear to exist",
        "add the file",
    ),
    "a feature of nothing": (
        manifest('[features]\na = ["b"]\n'),
        "cargo locate-project failed: error: failed to parse manifest at `Cargo.toml`",
        "correct the feature",
    ),
    "a name that is a device": (
        {"Cargo.toml": MANIFEST.replace("demo-lib", "nul").encode()},
        "the package: crate name 'nul' is reserved: it names a device on Windows",
        "another name",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_may_not_be_published_is_not_tagged(tmp_path: Path, case: str) -> None:
    files, said, to_do = REFUSED[case]
    error = refused(make_repository(tmp_path / "r", {**LIBRARY, **files}))
    assert str(error).startswith(said)
    assert to_do in error.hint


def test_a_member_is_judged_with_what_it_inherits_and_by_its_own_files(tmp_path: Path) -> None:
    """`publish.workspace = true`; a pointer beside the member, or one that it leaves out, harms nobody."""
    workspace = b'[workspace]\nmembers = ["lib"]\nresolver = "2"\n[workspace.package]\npublish = %s\n'
    own = f'{MANIFEST}publish.workspace = true\nexclude = ["data"]\n'.encode()
    files = {"lib/Cargo.toml": own, "lib/src/lib.rs": b"", "lib/data/x": POINTER, "big.bin": POINTER}
    repository = make_repository(tmp_path / "r", {**files, "Cargo.toml": workspace % b'["corp"]'})
    assert "Cargo.toml: workspace.package.publish allows corp only" in str(refused(repository, "lib"))
    assert tagged(repository, folder="lib", to=Destination("corp"))
    git(repository, "rm", "--quiet", "big.bin")
    (repository / "Cargo.toml").write_bytes(workspace % b"false")
    git(repository, "commit", "--quiet", "--all", "-m", "private")
    assert "workspace.package.publish is false" in str(refused(repository, "lib", Destination("corp")))


def test_a_version_that_is_published_but_for_its_build_metadata(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", LIBRARY)
    there = Destination(published=(CrateId.of("demo-lib", "0.1.0+b.5"),))
    assert "differs from 0.1.0+b.5" in str(refused(repository, to=there))
    there = Destination(published=(CrateId.of("demo_lib", "0.0.9"),))
    assert "published as demo_lib" in str(refused(repository, to=there))
    assert tagged(repository, to=Destination(published=(CrateId.of("demo-lib", "0.0.9"),)))


def test_submodules_have_to_be_here_when_they_would_be_packaged(tmp_path: Path) -> None:
    inner = make_repository(tmp_path / "inner", {"x.c": b"int x;\n", "x.bin": POINTER})
    outer = make_repository(tmp_path / "outer", LIBRARY)
    git(outer, "submodule", "--quiet", "add", str(inner), "vendor/lib")
    git(outer, "commit", "--quiet", "-m", "vendor it")
    git(tmp_path, "clone", "--quiet", "--no-recurse-submodules", str(outer), "absent")
    error = refused(tmp_path / "absent")
    assert "submodule vendor/lib is absent" in str(error)
    assert "git submodule update --init --recursive vendor/lib" in error.hint
    assert "vendor/lib/x.bin is what git-lfs keeps" in str(refused(outer)), "a pointer in a submodule is one too"
    (outer / "Cargo.toml").write_text(f'{MANIFEST}exclude = ["vendor/lib"]\n')
    git(outer, "commit", "--quiet", "--all", "-m", "leave it out")
    git(tmp_path, "clone", "--quiet", "--no-recurse-submodules", str(outer), "left out")
    (note,) = tagged(tmp_path / "left out").link.byproducts["notes"]
    assert "submodule vendor/lib is absent" in note


def test_what_a_filter_would_change_is_told_to_whoever_signs(tmp_path: Path) -> None:
    """The bytes are the commit's own here: git-lfs, or whatever it is, changes them in a checkout only."""
    attributes = b"*.bin filter=lfs\n*.key filter=crypt\n*.rs -filter\n"
    files = {**LIBRARY, ".gitattributes": attributes, "a/x.bin": b"1", "b/x.bin": b"2", "s.key": b"3"}
    repository = make_repository(tmp_path / "r", files)
    recorded = tagged(repository)
    assert recorded.remarks == (
        "s.key: git's filter crypt changes it in a checkout; what is packaged is what is committed",
        "a/x.bin and 1 more: git's filter lfs changes it in a checkout; what is packaged is what is committed",
    )
    assert recorded.link.byproducts["notes"] == [], "the bytes are right: nobody after the tagger has to hear of it"


def test_whoever_packages_does_not_rely_on_the_tagger(tmp_path: Path) -> None:
    """A tagger who looked away, or said another registry, is not the only one who looks."""
    repository = make_repository(tmp_path / "r", {**LIBRARY, **manifest('publish = ["corp"]\n')})
    recorded = tagged(repository, to=Destination("corp"))
    link, crate = recorded.link, recorded.crate
    with pytest.raises(Unpublishable, match=r"demo-lib@0\.1\.0 .*allows corp only"):
        record_package(repository, link, crate, toolchain())
    made = record_package(repository, link, crate, toolchain(), destination=lambda _: Destination("corp"))
    assert record_rebuild(repository, link, crate, toolchain()).files == made.files
