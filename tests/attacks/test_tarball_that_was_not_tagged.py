"""A packager, and every rebuilder with them, release a tarball that is not what was tagged: the inspection `unpack`.

Everybody who makes or rebuilds the tarball is in on it here, so only the comparison with the tagged source is left.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.support.worlds.release import COMMIT, CRATE, LOCK, MANIFEST, PUBLISHED, HonestRelease, synthetic

from carnet.cargo.original import meaning, read_toml
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, RuleViolation
from carnet.intoto.steps import TagRecord
from carnet.level import Level
from carnet_verifier.provenance.unpack import unpack


@pytest.fixture
def honest() -> HonestRelease:
    release = synthetic()
    assert release.check().findings == ()
    assert release.repackaged({}).check().level is Level.REPRODUCED  # packaging the same files again changes nothing
    return release


def test_a_changed_file_is_found(honest: HonestRelease) -> None:
    with pytest.raises(RuleViolation, match=r"the tarball is not what was tagged: src/lib.rs is not the ") as caught:
        honest.repackaged({"src/lib.rs": b"pub fn hello() { steal() }\n"}).check()
    assert "commit the file" in caught.value.hint


def test_an_added_file_is_found(honest: HonestRelease) -> None:
    with pytest.raises(RuleViolation, match=r"build.rs is in the tarball and not in the tag's listing"):
        honest.repackaged({"build.rs": b"fn main() {}\n"}).check()


def test_a_dropped_file_is_found(honest: HonestRelease) -> None:
    with pytest.raises(RuleViolation, match=r"src/lib.rs is in the tag's listing and not in the tarball"):
        honest.repackaged({"src/lib.rs": None}).check()


def test_a_file_of_the_repository_outside_the_listing_is_found(honest: HonestRelease) -> None:
    with pytest.raises(RuleViolation, match="not in the tag's listing"):
        honest.repackaged({".github/workflows/ci.yml": b"on: push\n"}).check()


def test_an_executable_bit_that_was_not_tagged_is_found(honest: HonestRelease) -> None:
    with pytest.raises(RuleViolation, match=r"src/lib.rs is executable"):
        honest.repackaged({}, executable=["run.sh", "src/lib.rs"]).check()
    lost = honest.repackaged({}, executable=[]).check()
    assert any("lost its executable bit" in finding.text for finding in lost.findings)


def test_another_original_manifest_is_found(honest: HonestRelease) -> None:
    with pytest.raises(RuleViolation, match=r"Cargo.toml.orig is not the tagged Cargo.toml"):
        honest.repackaged({"Cargo.toml.orig": MANIFEST + b"# more\n"}).check()


def swapped(old: bytes, new: bytes) -> bytes:
    assert old in PUBLISHED
    return PUBLISHED.replace(old, new)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (PUBLISHED + b'\n[dependencies.evil]\nversion = "1"\n', "another dependencies"),
        (swapped(b'version = "0.4"', b'version = ">=0.4"'), "another dependencies"),
        (swapped(b"default-features = false", b"default-features = true"), "another dependencies"),
        (swapped(b"default-features = false", b'default-features = false\nfeatures = ["std"]'), "another dependencies"),
        (swapped(b"default-features = false", b"default-features = false\noptional = true"), "another dependencies"),
        (swapped(b"default-features = false", b'default-features = false\npackage = "evil"'), "another dependencies"),
        (
            swapped(b"default-features = false", b'default-features = false\nregistry-index = "https://evil.test"'),
            "another dependencies",
        ),
        (PUBLISHED.replace(b"[dependencies.log]", b"[target.'cfg(unix)'.dependencies.log]"), "another dependencies"),
        (PUBLISHED.replace(b"[dependencies.log]", b"[build-dependencies.log]"), "another dependencies"),
        (swapped(b'loud = ["log/std"]', b"loud = []"), "another features"),
        (swapped(b'loud = ["log/std"]', b'loud = ["log/std"]\ndefault = ["loud"]'), "another features"),
        (swapped(b"build = false", b'build = "src/lib.rs"'), "another build"),
        (swapped(b"build = false", b'build = false\nlinks = "z"'), "another links"),
        (swapped(b'edition = "2021"', b'edition = "2018"'), "another edition"),
        (swapped(b'path = "src/lib.rs"', b'path = "README.md"'), "another library path"),
        (swapped(b'path = "src/lib.rs"', b'path = "src/lib.rs"\nproc-macro = true'), "another proc-macro"),
        (swapped(b'path = "src/lib.rs"', b'path = "src/lib.rs"\ncrate-type = ["cdylib"]'), "another crate-type"),
        (swapped(b'name = "demo_lib"', b'name = "other"'), "another library name"),
    ],
)
def test_a_manifest_that_means_something_else_is_found(honest: HonestRelease, manifest: bytes, said: str) -> None:
    with pytest.raises(RuleViolation, match=said) as caught:
        honest.repackaged({"Cargo.toml": manifest}).check()
    assert caught.value.hint


LOG = b'version = "0.4"\ndefault-features = false\n'
EVIL_LOG = LOG + b'package = "evil"\n'


def test_a_platform_without_a_name_hides_no_dependency(honest: HonestRelease) -> None:
    """cargo takes such a platform and never builds for it; the entry that it hides is what everybody builds."""
    for genuine in (EVIL_LOG, b""):
        manifest = PUBLISHED.replace(
            b"[dependencies.log]\n" + LOG, b"[dependencies.log]\n" + genuine if genuine else b""
        )
        with pytest.raises(RuleViolation, match=r"platform without a name"):
            honest.repackaged({"Cargo.toml": manifest + b"[target.''.dependencies.log]\n" + LOG}).check()


@pytest.mark.parametrize(
    ("head", "again"),
    [
        (b"[build-dependencies.log]\n", b"[build_dependencies.log]\n"),
        (b"[dev-dependencies.log]\n", b"[dev_dependencies.log]\n"),
        (b"[target.'cfg(unix)'.dependencies.log]\n", b"[target.'cfg( unix )'.dependencies.log]\n"),
    ],
)
def test_a_dependency_that_stands_twice_hides_none_of_the_two(head: bytes, again: bytes) -> None:
    """cargo and the index line go by the first entry, or by both: whoever compares must not see the last one alone."""

    def dependencies(text: bytes) -> object:
        return meaning(read_toml(b'[package]\nname = "demo-lib"\n' + text, "it"), ()).facts["dependencies"]

    tagged = dependencies(head + LOG)
    assert dependencies(again + LOG) == tagged  # each spelling alone means the same
    assert dependencies(head + EVIL_LOG + again + LOG) != tagged
    assert dependencies(head + LOG + again + EVIL_LOG) != tagged


@pytest.mark.parametrize(
    "manifest",
    [
        PUBLISHED.replace(b"autobins = false\n", b""),
        PUBLISHED.replace(b'[lib]\nname = "demo_lib"\npath = "src/lib.rs"\n', b""),
        PUBLISHED.replace(b"[dependencies.log]", b"# a comment\n[dependencies.log]\nfeatures = []"),
    ],
)
def test_a_manifest_that_means_the_same_is_let_through(honest: HonestRelease, manifest: bytes) -> None:
    assert honest.repackaged({"Cargo.toml": manifest}).check().findings == ()


def test_other_differences_of_the_manifest_are_shown(honest: HonestRelease) -> None:
    found = honest.repackaged({"Cargo.toml": swapped(b'license = "MIT"', b'license = "GPL-3.0"')}).check()
    assert [finding.text for finding in found.findings] == ["package.license differs from the tagged manifest's"]
    more = honest.repackaged({"Cargo.toml": PUBLISHED + b'\n[[bin]]\nname = "x"\npath = "run.sh"\n'}).check()
    assert [finding.text for finding in more.findings] == ["target bin 'x' is not in the tagged manifest"]


def test_the_manifest_of_another_crate_is_found(honest: HonestRelease) -> None:
    with pytest.raises(CarnetError):
        honest.repackaged({"Cargo.toml": swapped(b'version = "0.1.0"', b'version = "0.1.1"')}).check()


@pytest.mark.parametrize(
    "info",
    [
        {"git": {"sha1": "f" * 40}, "path_in_vcs": ""},
        {"git": {"sha1": COMMIT}, "path_in_vcs": "elsewhere"},
        {"path_in_vcs": ""},
        {"git": {"sha1": 3}},
    ],
)
def test_another_commit_is_found(honest: HonestRelease, info: object) -> None:
    with pytest.raises(RuleViolation, match=r"\.cargo_vcs_info\.json names"):
        honest.repackaged({".cargo_vcs_info.json": json.dumps(info).encode()}).check()


def test_a_dirty_package_is_shown(honest: HonestRelease) -> None:
    info = {"git": {"sha1": COMMIT, "dirty": True}, "path_in_vcs": ""}
    found = honest.repackaged({".cargo_vcs_info.json": json.dumps(info).encode()}).check()
    assert any("uncommitted" in finding.text for finding in found.findings)


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        (LOCK.replace("5e5032e2", "00000000"), "another checksum for log"),
        (LOCK.replace("0.4.29", "0.4.28"), "Cargo.lock has log 0.4.28"),
        (LOCK.replace("rust-lang/crates.io-index", "evil/index"), "Cargo.lock has log 0.4.29"),
        (LOCK + '\n[[package]]\nname = "evil"\nversion = "1.0.0"\n', "Cargo.lock has evil 1.0.0"),
    ],
)
def test_another_lock_is_found(honest: HonestRelease, lock: str, said: str) -> None:
    with pytest.raises(RuleViolation, match=said):
        honest.repackaged({"Cargo.lock": lock.encode()}).check()


def test_a_lock_that_takes_a_sibling_from_the_registry_is_shown() -> None:
    """cargo has no choice: a sibling of the workspace is a registry crate for everybody else."""
    honest = synthetic()
    sibling = '\n[[package]]\nname = "sibling"\nversion = "0.1.0"\n'
    tagged = TagRecord.from_link(honest.link("tag"), CRATE)
    lock = LOCK.replace('dependencies = ["log"]', 'dependencies = ["log", "sibling"]') + sibling
    tag = replace(tagged, lock=lock)
    source = 'source = "registry+https://github.com/rust-lang/crates.io-index"\nchecksum = "00"\n'
    more = f'{sibling}{source}\n[[package]]\nname = "deeper"\nversion = "1.0.0"\n{source}'
    crate = honest.repackaged({"Cargo.lock": LOCK.encode() + more.encode()}).crate
    findings = unpack(crate, tag)
    assert len(findings) == 2
    assert "sibling 0.1.0 is part of the workspace" in findings[0]
    assert "deeper 1.0.0 is not in the tagged lock" in findings[1]
    elsewhere = honest.repackaged({"Cargo.lock": (LOCK + more.replace("rust-lang", "evil")).encode()}).crate
    with pytest.raises(RuleViolation, match=r"Cargo.lock has deeper 1.0.0"):
        unpack(elsewhere, tag)


def test_a_lock_with_less_in_it_is_let_through(honest: HonestRelease) -> None:
    less = LOCK[: LOCK.index("dependencies")]
    assert honest.repackaged({"Cargo.lock": less.encode()}).check().findings == ()


def test_a_generated_file_is_let_through_only_when_the_owners_name_it(honest: HonestRelease) -> None:
    generated = honest.repackaged({"src/generated.rs": b"// made while packaging\n"})
    with pytest.raises(RuleViolation, match=r"src/generated.rs is in the tarball and not in the tag's listing"):
        generated.check()
    allowed = replace(generated, terms=replace(generated.terms, generated=frozenset(("src/generated.rs",))))
    found = allowed.check()
    assert [finding.text for finding in found.findings] == [
        "src/generated.rs is generated, as the owners allow; no commit vouches for it"
    ]


def test_a_workspace_manifest_that_was_not_tagged_is_found() -> None:
    own = b'[package]\nname = "demo-lib"\nversion.workspace = true\nreadme.workspace = true\nedition = "2021"\n'
    root = '[workspace]\nmembers = ["lib"]\n[workspace.package]\nversion = "0.1.0"\nreadme = "README.md"\n'
    sources = {"Cargo.toml": root.encode(), "lib/Cargo.toml": own, "lib/src/lib.rs": b"", "README.md": b"# demo\n"}
    files = {
        "Cargo.toml": b'[package]\nname = "demo-lib"\nversion = "0.1.0"\nedition = "2021"\nreadme = "README.md"\n',
        "Cargo.toml.orig": own,
        "README.md": b"# demo\n",
        "src/lib.rs": b"",
    }
    from tests.support.worlds.release import tarball

    from carnet.cargo.crate import read_crate

    crate = read_crate(tarball(CRATE, files))
    tag = TagRecord(
        files={path: sha256_hex(data) for path, data in sources.items()},
        executable=frozenset(),
        commit=COMMIT,
        listing=tuple(sorted(files)),
        lock=LOCK,
        toolchain="cargo 1.95.0\n",
        path_in_vcs="lib",
        manifests={"Cargo.toml": root},
    )
    assert unpack(crate, tag) == ()
    with pytest.raises(RuleViolation, match="the tag does not carry"):
        unpack(crate, replace(tag, manifests={}))
    forged = replace(tag, manifests={"Cargo.toml": root.replace("0.1.0", "9.9.9")})
    with pytest.raises(RuleViolation, match=r"copy of 'Cargo.toml' is not the tagged file"):
        TagRecord.from_link(forged.link(CRATE), CRATE)
    # a readme from outside the package's folder must be the file that the manifest names
    other = read_crate(tarball(CRATE, {**files, "README.md": b"# another\n"}))
    with pytest.raises(RuleViolation, match=r"README.md is not the tagged README.md"):
        unpack(other, tag)
