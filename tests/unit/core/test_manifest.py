"""Manifests as cargo writes them into tarballs, new and very old."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.cargo.manifest import Dependency, Manifest, read_manifest
from carnet.cargo.original import read_toml
from carnet.errors import CarnetError, FormatError

PACKAGE = '[package]\nname = "demo"\nversion = "0.1.0"\n'


def read(text: str) -> Manifest:
    return read_manifest((PACKAGE + text).encode())


def test_every_field_of_a_dependency() -> None:
    manifest = read("""
        [dependencies]
        plain = "1.0"
        [dependencies.renamed]
        version = ">=1,<2"
        package = "real-name"
        features = ["a", "b"]
        optional = true
        default-features = false
        registry-index = "sparse+https://registry.example.test/index/"
        [build-dependencies]
        cc = { version = "1" }
        [dev-dependencies]
        any = {}
        [target.'cfg(target_os="linux")'.dependencies]
        libc = "0.2"
        [target.x86_64-pc-windows-msvc.dev-dependencies]
        winapi = "0.3.*"
    """)
    assert set(manifest.dependencies) == {
        Dependency("plain", "^1.0"),
        Dependency(
            "renamed", ">=1, <2", features=("a", "b"), optional=True, default_features=False,
            registry="sparse+https://registry.example.test/index/", package="real-name",
        ),
        Dependency("cc", "^1", kind="build"),
        Dependency("any", "*", kind="dev"),
        Dependency("libc", "^0.2", target='cfg(target_os = "linux")'),
        Dependency("winapi", "0.3.*", kind="dev", target="x86_64-pc-windows-msvc"),
    }  # fmt: skip
    assert [dep.crate for dep in manifest.dependencies if dep.name == "renamed"] == ["real-name"]


def test_package_fields_and_features() -> None:
    manifest = read_manifest(
        (
            PACKAGE + 'links = "z"\nrust-version = "1.70"\n[features]\ndefault = ["std"]\nstd = []\n'
            "[dependencies]\na = { version = '1', default-features = true }\n"
        ).encode()
    )
    assert str(manifest.id) == "demo@0.1.0"
    assert (manifest.links, manifest.rust_version) == ("z", "1.70")
    assert manifest.features == {"default": ("std",), "std": ()}
    assert manifest.document["package"]["name"] == "demo"


def test_old_spellings() -> None:
    old = read("""
        [dev_dependencies]
        a = { version = "1", default_features = false }
        [build_dependencies]
        b = "not a requirement"
    """)
    assert set(old.dependencies) == {
        Dependency("a", "^1", kind="dev", default_features=False),
        Dependency("b", "not a requirement", kind="build"),
    }
    assert str(read_manifest(PACKAGE.replace("package", "project").encode()).id) == "demo@0.1.0"
    assert str(read_manifest(PACKAGE.replace("0.1.0", " 0.1.0 ").encode()).id) == "demo@0.1.0"


def test_toml_1_1_is_read() -> None:
    assert read('[dependencies]\na = {\n version = "1",\n}\n').dependencies == (Dependency("a", "^1"),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[dependencies]\na = 1", "must be a table"),
        ("[dependencies]\na = true", "must be a table"),
        ("[dependencies]\na = { workspace = true }", "inherited from a workspace"),
        ("[dependencies]\na = { version = 1 }", "must be a string"),
        ("[dependencies]\na = { version = '1', features = 'x' }", "list of strings"),
        ("[dependencies]\na = { version = '1', features = [1] }", "list of strings"),
        ("[dependencies]\na = { version = '1', optional = 'yes' }", "true or false"),
        ("[dependencies]\na = '1'\na = '2'", "not TOML"),
        ("[target]\nx = 1", "must be a table"),
        ("[features]\nx = 1", "list of strings"),
        ("links = 1", "must be a string"),
        ("x = " + "[" * 5000, "TOML|deep"),
        ("x = " + "9" * 5000, "not TOML"),
    ],
)
def test_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(FormatError, match=words) as refusal:
        read(text)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no package name"),
        (b"[workspace]", "no package name"),
        (b'[package]\nname = "demo"', "no package name"),
        (b'[package]\nname = "../demo"\nversion = "0.1.0"', "not a crate name"),
        (b'[package]\nname = "demo"\nversion = "0.1"', "not a semantic version"),
        (b'[package]\nname = "demo"\nversion = {workspace = true}', "must be a string"),
        (b"dependencies = []\n" + PACKAGE.encode(), "must be a table"),
        (b"\xff", "not UTF-8"),
        (b"#" * (1024 * 1024 + 1), "larger than"),
    ],
)
def test_what_is_no_published_manifest(data: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        read_manifest(data)


@given(st.text(max_size=60))
def test_any_text_gives_our_errors_only(text: str) -> None:
    try:
        read(text)
    except CarnetError as refusal:
        words = str(refusal)
    else:
        words = "read"
    assert words.isprintable()


def test_a_byte_order_mark_is_read_as_cargo_reads_it() -> None:
    marked = b"\xef\xbb\xbf" + PACKAGE.encode()
    assert read_manifest(marked) == read_manifest(PACKAGE.encode())
    assert read_toml(marked, "Cargo.toml.orig") == read_toml(PACKAGE.encode(), "Cargo.toml.orig")
    with pytest.raises(FormatError):
        read_manifest(b"\xef\xbb\xbf" + marked)
