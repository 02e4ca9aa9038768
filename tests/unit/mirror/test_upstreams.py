"""Where crates come from: what an operator names, and that each name comes from one registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.command import carnet
from tests.support.registries.mirror_process import CARNET, MirrorDirectory, make_mirror, quiet
from tests.support.registries.sparse import sparse_registry
from tests.unit.mirror.test_whole_index import Dump, line

from carnet.cargo.asked import AskedFor
from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import line_from_crate
from carnet.cargo.lockfile import CRATES_IO, LockedPackage
from carnet.cargo.names import CrateId, CrateName
from carnet.errors import ConfigError, TransportError
from carnet_cli.commands.registry.mirror import whole_index
from carnet_cli.commands.registry.mirror.upstreams import Sources
from carnet_cli.config.mirror_file import read_mirror_file
from carnet_mirror.export import export
from carnet_mirror.pull.settings import UpstreamSettings
from carnet_mirror.sync.closure import close
from carnet_mirror.sync.sync import sync
from carnet_mirror.upstream.cargo import CargoUpstream
from carnet_mirror.upstream.folder import FolderUpstream
from carnet_mirror.upstream.packages import UpstreamCrate, UpstreamIndex
from carnet_mirror.upstream.routed import FromThere, RoutedUpstream
from carnet_mirror.upstream.sparse import SparseUpstream
from carnet_mirror.upstream.stopping import never
from carnet_verifier.policy.policy import Pattern


@dataclass
class Registry:
    """An upstream in memory, which remembers what it was asked for."""

    name: str
    tarballs: Sequence[bytes] = ()
    down: bool = False
    asked: list[str] = field(default_factory=list)

    def _found(self, names: Sequence[CrateName]) -> dict[CrateName, list[bytes]]:
        self.asked += map(str, names)
        if self.down:
            raise TransportError(f"{self.name} is down")
        return {name: [data for data in self.tarballs if read_crate(data).id.name == name] for name in names}

    def index(self, names: Sequence[CrateName], scratch: Path) -> dict[CrateName, UpstreamIndex]:
        found = self._found(names)
        return {name: UpstreamIndex(_lines(data), "none here", absent=not data) for name, data in found.items()}

    def fetch(
        self, packages: Sequence[LockedPackage], scratch: Path, progress: Callable[[int], None]
    ) -> list[UpstreamCrate]:
        found = self._found([package.id.name for package in packages])
        given = []
        for package in packages:
            data = [one for one in found[package.id.name] if read_crate(one).id == package.id]
            path = scratch / f"{package.id.stem}.crate"
            path.write_bytes(data[0] if data else b"")
            given.append(
                UpstreamCrate(package, path if data else None, "none here", not data, _lines(found[package.id.name]))
            )
        return given


def _lines(tarballs: Sequence[bytes]) -> tuple[bytes, ...]:
    return tuple(line_from_crate(read_crate(data), pubtime=None).to_bytes() for data in tarballs)


def _package(name: str) -> LockedPackage:
    return LockedPackage(CrateId.of(name, "0.1.0"), CRATES_IO, None)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> MirrorDirectory:
    return make_mirror(tmp_path_factory.mktemp("mirror") / "mirror")


def _routed(public: Registry, *rules: tuple[Registry, str]) -> RoutedUpstream:
    return RoutedUpstream(
        public, tuple(FromThere(registry.name, (Pattern(pattern),), registry) for registry, pattern in rules)
    )


def test_a_name_comes_from_where_its_rule_says_and_from_nowhere_else(mirror: MirrorDirectory, tmp_path: Path) -> None:
    """Whoever publishes `acme-new` in the public registry is asked for nothing, whether the own one has it or not."""
    public = Registry("public", [honest_crate("plain"), honest_crate("acme-new"), honest_crate("acme-one", "9.0.0")])
    own = Registry("own", [honest_crate("acme-one")])
    upstream = _routed(public, (own, "acme-*"))
    packages = [_package(name) for name in ("acme-new", "acme-one", "plain")]
    with mirror.open(write=True) as store:
        report = sync(store, mirror.signer, upstream, packages, now=mirror.now, progress=quiet)
        stored = [store.crates.version(crate) for crate in report.added]
    assert [str(crate) for crate in report.added] == ["acme-one@0.1.0", "plain@0.1.0"]
    assert [one.upstream for one in stored if one is not None] == ["own", "public"]
    assert [str(one.crate) for one in report.refused] == ["acme-new@0.1.0"]
    assert (public.asked, sorted(own.asked)) == (["plain"], ["acme-new", "acme-one"])
    index = upstream.index([CrateName("acme_one"), CrateName("plain")], tmp_path)
    assert public.asked == ["plain", "plain"], "another spelling is the same name"
    assert index[CrateName("acme_one")].absent


def test_a_whole_index_lists_no_name_that_a_rule_is_about(
    mirror: MirrorDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever publishes `house-new` elsewhere would be listed with their checksum, and then the house is refused."""
    (mirror.path / "mirror.toml").write_text('[upstreams.house]\nfrom = "house"\ncrates = ["house-*"]\n')
    dump = Dump(tmp_path / "index")
    for name in ("leaf", "house-new", "house_new"):
        dump.put(name, line(name))
    monkeypatch.setattr(whole_index, "online", lambda *_: nullcontext(mirror.signer))
    monkeypatch.setattr(whole_index, "OnlineSettings", SimpleNamespace(of=lambda _: None))
    for _ in range(2):
        done = carnet("mirror", "sync", mirror.path, "--whole-index", dump.folder)
        assert done.status == 0, done.err
        with mirror.open() as store:
            names = {str(one.id.name) for one in store.crates.all_versions()}
        assert "leaf" in names
        assert not names & {"house-new", "house_new"}
    for more in (["--history"], ["--upstream-root", tmp_path / "root.json"]):
        assert carnet("mirror", "sync", mirror.path, "--whole-index", dump.folder, *more).status == 2


def test_a_registry_that_is_down_is_no_reason_to_ask_another_one(tmp_path: Path) -> None:
    public = Registry("public", [honest_crate("acme-one"), honest_crate("plain")])
    own = Registry("own", down=True)
    upstream = _routed(public, (own, "acme-*"))
    own_crate, plain = upstream.fetch([_package("acme-one"), _package("plain")], tmp_path, lambda _: None)
    assert (own_crate.tarball, own_crate.has_none, plain.tarball is not None) == (None, False, True)
    index = upstream.index([CrateName("acme-one"), CrateName("plain")], tmp_path)
    assert (index[CrateName("acme-one")].absent, bool(index[CrateName("plain")].chunks)) == (False, True)
    with pytest.raises(TransportError, match="own is down"):
        upstream.index([CrateName("acme-one")], tmp_path)


def test_a_name_of_two_rules_comes_from_neither(tmp_path: Path) -> None:
    public, own, other = (Registry(name, [honest_crate("acme-one")]) for name in ("public", "own", "other"))
    upstream = _routed(public, (own, "acme-*"), (other, "*-one"))
    (found,) = upstream.fetch([_package("acme-one")], tmp_path, lambda _: None)
    assert (found.tarball, found.has_none) == (None, True)
    assert "own and other" in found.reason
    assert "own and other" in upstream.index([CrateName("acme-one")], tmp_path)[CrateName("acme-one")].silence
    assert public.asked + own.asked + other.asked == []


@pytest.mark.cargo
def test_a_registry_that_demands_credentials_is_read_by_ones_own_cargo(mirror: MirrorDirectory, tmp_path: Path) -> None:
    """With its providers; what a crate of it depends on is looked for nowhere by that."""
    with sparse_registry() as registry:
        registry.token = "secret"
        registry.add(honest_crate("house-one", extra='[dependencies]\nserde = "1"\n'))
        home = tmp_path / "home"
        home.mkdir()
        (home / "config.toml").write_text(
            f'[registries.house]\nindex = "{registry.index_url}"\n'
            '[registry]\nglobal-credential-providers = ["cargo:token"]\n'
        )
        upstream = CargoUpstream("cargo", home, dict(os.environ), registry="house")
        names = [CrateName("house-one"), CrateName("house-none")]
        (tmp_path / "refused").mkdir()
        with pytest.raises(TransportError, match="could not fetch anything from house"):
            upstream.fetch([_package("house-one"), _package("a"), _package("b")], tmp_path / "refused", lambda _: None)
        (home / "credentials.toml").write_text('[registries.house]\ntoken = "secret"\n')
        index = upstream.index(names, tmp_path)
        assert [bool(index[name].chunks) for name in names] == [True, False]
        packages = [_package("house-one"), _package("house-none")]
        with mirror.open(write=True) as store:
            report = sync(store, mirror.signer, upstream, packages, now=mirror.now, progress=quiet)
            closed = close(store, upstream, [AskedFor.parse("house-one")])
    assert [str(crate) for crate in report.added] == ["house-one@0.1.0"]
    assert [str(one.crate) for one in report.refused] == ["house-none@0.1.0"]
    assert [str(one.asked) for one in closed.missing] == ["serde@^1"], "it is not there, and was not fetched elsewhere"
    assert not [path for path in registry.requests if path.startswith("/dl/serde")]


# --- what an operator writes ---


def test_the_tables_are_read_strictly(tmp_path: Path) -> None:
    file = tmp_path / "mirror.toml"
    file.write_text(
        '[upstreams.house]\nfrom = "sparse+https://crates.acme.example/index/"\ncrates = ["acme-*"]\n'
        '[upstreams.chain]\nfrom = "https://mirror.example/"\nroot = "chain.json"\n'
        '[upstreams.disk]\nfrom = "vendored"\n'
        '[upstreams.login]\nfrom = "cargo"\nregistry = "house"\n'
        '[pull]\nupstream = "chain"\nallow = ["*"]\n'
    )
    read = read_mirror_file(tmp_path)
    assert read.pull is not None
    assert read.pull.upstream == "chain"
    assert read.upstreams == (
        UpstreamSettings("sparse+https://crates.acme.example/index/", None, "house", (Pattern("acme-*"),)),
        UpstreamSettings("https://mirror.example/", tmp_path / "chain.json", "chain"),
        UpstreamSettings(str(tmp_path / "vendored"), None, "disk"),
        UpstreamSettings("cargo", None, "login", (), "house"),
    )
    for text, says_what in (
        ('[upstreams]\na = "cargo"', "is not a table"),
        ("[upstreams.a]", "does not say where"),
        ('[upstreams.a]\nfrom = "cargo"\nurl = ""', "unknown key 'url'"),
        ('[upstreams.cargo]\nfrom = "cargo"', "no label"),
        ('[upstreams.A]\nfrom = "cargo"', "no label"),
        ('[upstreams.a]\nfrom = "https://h/"\nroot = 1', "root is no file"),
        ('[upstreams.a]\nfrom = "https://h/"\nregistry = "house"', "none of your cargo's"),
        ('[upstreams.a]\nfrom = "cargo"\nregistry = "--config"', "none of your cargo's"),
        ('[upstreams.a]\nfrom = "cargo"\ncrates = ["serde@1.*"]', "has a version"),
        ('[upstreams.a]\nfrom = "cargo"\n[pull]\nupstream = "b"\nallow = ["*"]', r"nor one of \[upstreams\]"),
    ):
        file.write_text(f"{text}\n")
        with pytest.raises(ConfigError, match=says_what) as refused:
            read_mirror_file(tmp_path)
        assert refused.value.hint


def test_each_form_that_is_named_becomes_its_upstream_or_says_what_it_lacks(
    mirror: MirrorDirectory, tmp_path: Path
) -> None:
    (tmp_path / "vendored" / "index").mkdir(parents=True)
    (tmp_path / "export" / "metadata").mkdir(parents=True)
    (tmp_path / "root.json").write_bytes(mirror.root)
    named = (UpstreamSettings("sparse+https://h/index/", None, "house", (Pattern("acme-*"),)),)
    alone, several = (Sources(mirror.path, one, "cargo", 60.0) for one in ((), named))
    assert isinstance(alone.make("cargo")(never), CargoUpstream)
    assert isinstance(alone.make("sparse+https://h/index/")(never), SparseUpstream)
    assert isinstance(alone.make(str(tmp_path / "vendored"))(never), FolderUpstream)
    assert alone.make(str(tmp_path / "export"), tmp_path / "root.json")(never).name.startswith("carnet+file://")
    routed = several.make("cargo")(never)
    assert isinstance(routed, RoutedUpstream), "a rule holds for whatever else is named, too"
    assert [route.label for route in routed.routes] == ["house"]
    assert (several.uses_cargo("cargo"), several.uses_cargo("house")) == (True, False)
    for said, root, why in (
        ("https://h/", None, "it is not said which"),
        (str(tmp_path / "export"), None, "nobody says which root"),
        ("cargo", tmp_path / "root.json", "no mirror of carnet's"),
        ("sparse+https://h/index/", tmp_path / "root.json", "no mirror of carnet's"),
        ("house", tmp_path / "root.json", "says which root"),
        ("https://h/index/", tmp_path / "root.json", "cargo's index"),
    ):
        with pytest.raises(ConfigError, match=why) as refused:
            several.make(said, root)
        assert refused.value.hint


def test_the_command_takes_an_export_with_its_root(tmp_path: Path) -> None:
    above = make_mirror(tmp_path / "above", [honest_crate("leaf")])
    with above.open() as store:
        export(store, tmp_path / "stick", "http://localhost")
    below = make_mirror(tmp_path / "below")
    (tmp_path / "root.json").write_bytes(above.root)
    command = [*CARNET, "mirror", "sync", str(below.path), "leaf", "--dry-run", "--message-format", "json"]
    more = ["--upstream", "stick", "--upstream-root", "root.json"]
    done = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    said = json.loads(done.stdout)
    assert (said["added"], said["taken_down"]) == (["leaf@0.1.0"], [])
    (tmp_path / "root.json").write_bytes(b"{")
    shutil.rmtree(below.path / "upstreams")
    bad = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert bad.returncode == 2, bad.stderr
    first, hint = bad.stderr.splitlines()
    assert first.startswith("error: ")
    assert hint.startswith("hint: ")
    assert not list((below.path / "upstreams").glob("*/trust.json"))
