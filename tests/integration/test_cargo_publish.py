"""What cargo publishes, and what it unpacks, against our reading of the same tarballs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import TarballBuilder, honest_crate
from tests.support.registries.own import Registry, cargo, running_registry

from carnet.cargo.crate import CrateFile, read_crate
from carnet.cargo.index_line import compare_line, line_from_crate, line_from_publish
from carnet.tuf.paths import index_prefix

pytestmark = pytest.mark.cargo

SOURCES = {
    "plain": "",
    "real-name": "[features]\na = []\nb = []\nc = []\n",
    "maybe": "[features]\nextra = []\n",
    "builder": "",
    "tester": "",
    "windows-only": "",
}

# Each is a `Cargo.toml` below [package]; `{local}` and `{other}` are registries in cargo's configuration.
FIXTURES = {
    "bare": "",
    "requirements": """
[dependencies]
plain = ">=1, <2"
real-name = "1.0"
maybe = "=1.0.0"
builder = "*"
tester = ">= 1.0.0-alpha.1 , < 1.5"
windows-only = "1.*"
[dev-dependencies]
maybe = "~1.0"
""",
    "renamed": """
[dependencies]
alias = { package = "real-name", version = "1", features = ["b", "a"], default-features = false }
same = { package = "real-name", version = "1.0", optional = true }
plain = { package = "plain", version = "1" }
[build-dependencies]
alias2 = { package = "plain", version = "1" }
""",
    "features-of-before": """
[features]
default = ["std"]
std = ["maybe/extra"]
[dependencies]
maybe = { version = "1", optional = true }
""",
    "features-of-now": """
[features]
default = ["std"]
std = ["maybe?/extra"]
named = ["dep:maybe"]
through = ["named"]
alone = []
[dependencies]
maybe = { version = "1", optional = true }
""",
    "targets": """
[target.'cfg(all(unix,not(target_os="macos")))'.dependencies]
plain = "1"
[target."x86_64-pc-windows-msvc".dependencies]
windows-only = "1"
[target.'cfg( windows )'.build-dependencies]
builder = { version = "1", optional = true }
[target.'cfg(any(unix, target_feature = "sse2",))'.dev-dependencies]
tester = "1"
""",
    "kinds": """
[dependencies]
plain = "1"
[build-dependencies]
plain = "1.0.0"
builder = "1"
[dev-dependencies]
plain = { version = "1", features = [] }
tester = { version = "1", default-features = false }
""",
    "path-only": """
[dev-dependencies]
helper = { path = "helper" }
[dependencies]
plain = "1"
""",
    "registries": """
[dependencies]
plain = "1"
real-name = { version = "1", registry = "local" }
maybe = { version = "1", registry = "other", optional = true }
""",
}


def write_project(folder: Path, name: str, tables: str) -> None:
    (folder / "src").mkdir(parents=True)
    (folder / "src/lib.rs").write_text("pub fn f() {}\n")
    (folder / "build.rs").write_text("fn main() {}\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "deep").mkdir()
    (folder / "deep" / ("long" * 25 + ".txt")).write_text("a name that needs a long header")
    package = f'[package]\nname = "{name}"\nversion = "0.1.0-rc.1+build.2"\nedition = "2021"\n'
    package += f'description = "made by a test"\nlicense = "Apache-2.0"\nrust-version = "1.70"\nlinks = "{name}"\n'
    (folder / "Cargo.toml").write_text(package + tables)
    if "helper" in tables:
        (folder / "helper/src").mkdir(parents=True)
        (folder / "helper/src/lib.rs").touch()
        (folder / "helper/Cargo.toml").write_text('[package]\nname = "helper"\nversion = "0.0.0"\nedition = "2021"\n')


class World:
    """Two registries, a cargo home, and every fixture published once."""

    def __init__(self, root: Path, local: Registry, other: Registry) -> None:
        self.home = root / "home"
        self.local = local
        self.home.mkdir()
        (self.home / "config.toml").write_text(
            f'[registries.local]\nindex = "{local.url}"\ntoken = "secret"\n'
            f'[registries.other]\nindex = "{other.url}"\n'
            '[source.crates-io]\nreplace-with = "mirror"\n'
            f'[source.mirror]\nregistry = "{local.url}"\n'
        )
        for name, tables in SOURCES.items():
            for registry in (local, other):
                registry.add(honest_crate(name, "1.0.0", extra=tables), registry=registry.url)
        for name, tables in FIXTURES.items():
            write_project(root / name, name, tables)
            cargo(self.home, root / name, "publish", "--registry", "local", "--no-verify", "--allow-dirty")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_registry() as local, running_registry() as other:
        yield World(tmp_path_factory.mktemp("publish"), local, other)


def test_the_line_of_a_tarball_is_what_cargo_publishes(world: World) -> None:
    published = {request["name"]: (request, crate) for request, crate in world.local.published}
    assert set(published) == set(FIXTURES)
    for request, data in published.values():
        crate = read_crate(data, strict=True)
        theirs = line_from_publish(request, hashlib.sha256(data).hexdigest(), pubtime=None)
        ours = line_from_crate(crate, pubtime=None, registry=world.local.url)
        assert ours.raw == theirs.raw
        assert ours.identity() == theirs.identity()
        assert compare_line(theirs, crate, registry=world.local.url) == ()


def test_what_was_published_is_worth_comparing(world: World) -> None:
    """The fixtures do show renames, platforms, kinds, registries and both tables of features."""
    lines = {
        request["name"]: line_from_publish(request, "0" * 64, pubtime=None) for request, _ in world.local.published
    }
    deps = [dep for line in lines.values() for dep in line.deps]
    assert {dep.kind for dep in deps} == {"normal", "build", "dev"}
    assert {dep.package for dep in deps} == {None, "real-name", "plain"}
    assert {dep.target for dep in deps} >= {
        None, 'cfg(all(unix, not(target_os = "macos")))', "x86_64-pc-windows-msvc", "cfg(windows)",
    }  # fmt: skip
    assert len({dep.registry for dep in lines["registries"].deps}) == 3
    assert lines["features-of-now"].raw["v"] == 2
    assert set(lines["features-of-now"].raw["features2"]) == {"default", "named", "std", "through"}  # type: ignore[arg-type]
    assert "v" not in lines["features-of-before"].raw
    assert {dep.req for dep in lines["requirements"].deps} == {
        ">=1, <2", "^1.0", "=1.0.0", "*", ">=1.0.0-alpha.1, <1.5", "1.*", "~1.0",
    }  # fmt: skip


def unpacked(folder: Path) -> dict[str, tuple[bool, bytes]]:
    return {
        path.relative_to(folder).as_posix(): (bool(path.stat().st_mode & 0o100), path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".cargo-ok"
    }


def content(crate: CrateFile) -> dict[str, tuple[bool, bytes]]:
    return {entry.path: (entry.executable, entry.data) for entry in crate.entries}


def test_cargo_unpacks_what_we_read(world: World, tmp_path: Path) -> None:
    """Over a local-registry: crates that cargo packaged, and one in every form that our reader lets in."""
    odd = TarballBuilder("odd", "1.0.0").manifest().file("src/lib.rs", "pub fn f() {}\n").directory("empty/")
    odd.file("\xe9/" + "long/" * 30 + "f", "deep", executable=True).file(".cargo-ok", "not unpacked").file("a b", "")
    crates = [crate for _, crate in world.local.published] + [odd.build()]
    names = ["odd", "bare", "kinds", "targets"]
    index = tmp_path / "registry/index"
    for data in (*crates, *(world.local.tarballs[f"{name}/1.0.0"] for name in SOURCES)):
        crate = read_crate(data)
        name = crate.id.name.text
        folder = index / index_prefix(crate.id.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(line_from_crate(crate, pubtime=None).to_bytes() + b"\n")
        (tmp_path / f"registry/{crate.id.stem}.crate").write_bytes(data)
    home, project = tmp_path / "home", tmp_path / "app"
    home.mkdir()
    (home / "config.toml").write_text(
        f'[source.crates-io]\nreplace-with = "here"\n[source.here]\nlocal-registry = "{tmp_path}/registry"\n'
    )
    (project / "src").mkdir(parents=True)
    (project / "src/lib.rs").touch()
    wanted = "".join(f'{name} = "={"1.0.0" if name == "odd" else "0.1.0-rc.1"}"\n' for name in names)
    (project / "Cargo.toml").write_text(
        f'[package]\nname = "app"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n{wanted}'
    )
    cargo(home, project, "fetch", "--offline")
    (sources,) = (home / "registry/src").iterdir()
    for data in crates:
        crate = read_crate(data)
        if crate.id.name.text in names:
            assert unpacked(sources / crate.id.stem) == content(crate)
    cargo(home, project, "check", "--offline")
