"""What names and requirements need: newest versions, features, platforms, and nothing that is claimed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import MirrorDirectory, make_mirror, quiet
from tests.support.registries.sparse import SparseRegistry, sparse_registry
from tests.support.worlds.claims import NAME, World

from carnet.cargo.asked import AskedFor
from carnet.cargo.names import CrateName
from carnet.errors import FormatError, VerificationError
from carnet_mirror.sync.closure import Closed, close
from carnet_mirror.sync.sync import sync
from carnet_mirror.upstream.cargo import CargoUpstream
from carnet_mirror.upstream.packages import IndexedUpstream, UpstreamCrate, UpstreamIndex
from carnet_mirror.upstream.sparse import SparseUpstream


@dataclass
class Named:
    """An upstream that remembers which names its index was asked for."""

    url: str
    asked: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return "named"

    def index(self, names: Sequence[CrateName], scratch: Path) -> dict[CrateName, UpstreamIndex]:
        self.asked += map(str, names)
        return SparseUpstream(self.url).index(names, scratch)

    def fetch(self, *_: object) -> list[UpstreamCrate]:
        raise NotImplementedError


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> MirrorDirectory:
    return make_mirror(tmp_path_factory.mktemp("closure") / "mirror")


@pytest.fixture(scope="module")
def registry() -> Iterator[SparseRegistry]:
    with sparse_registry() as running:
        for version in ("1.0.0", "1.4.0", "2.0.0"):
            running.add(honest_crate("leaf", version))
        running.add(honest_crate("leaf", "1.9.0"), yanked=True)
        running.add(honest_crate("only-windows"))
        running.add(honest_crate("only-tests"))
        running.add(honest_crate("asked-for", extra='[dependencies]\nleaf = "=1.0.0"\n'))
        running.add(honest_crate("unasked"))
        optional = (
            'asked-for = { version = "0.1", optional = true }\nunasked = { version = "0.1", optional = true }\n'
            '[features]\ndefault = []\nmore = ["dep:asked-for"]\nwhole = ["dep:unasked"]\n'
        )
        running.add(honest_crate("middle", extra=f"[dependencies]\n{optional}"))
        deps = (
            '[dependencies]\nmiddle = { version = "0.1", features = ["more"] }\nleaf = "1"\n'
            '[target."cfg(windows)".dependencies]\nonly-windows = "0.1"\n[dev-dependencies]\nonly-tests = "0.1"\n'
        )
        running.add(honest_crate("top", extra=deps))
        yield running


@pytest.fixture(params=[pytest.param("cargo", marks=pytest.mark.cargo), "sparse"])
def upstream(request: pytest.FixtureRequest, registry: SparseRegistry, tmp_path: Path) -> IndexedUpstream:
    if request.param == "sparse":
        return SparseUpstream(registry.index_url)
    return CargoUpstream("cargo", registry.cargo_home(tmp_path / "user-home"), dict(os.environ))


def closed(mirror: MirrorDirectory, upstream: IndexedUpstream, *asked: str, most: int = 100) -> Closed:
    with mirror.open() as store:
        return close(store, upstream, [AskedFor.parse(text) for text in asked], most=most)


def stems(found: Closed) -> list[str]:
    return [package.id.stem for package in found.packages]


def test_all_that_is_depended_on_comes_with_it(mirror: MirrorDirectory, upstream: IndexedUpstream) -> None:
    found = closed(mirror, upstream, "top", "nobody-has-it@1", "leaf@7")
    expected = ["asked-for-0.1.0", "leaf-1.0.0", "leaf-1.4.0", "middle-0.1.0", "only-windows-0.1.0", "top-0.1.0"]
    assert stems(found) == expected
    assert [(str(one.asked), one.by, one.decided) for one in found.missing] == [
        ("nobody-has-it@^1", None, True),
        ("leaf@^7", None, True),
    ]


def test_what_is_named_comes_with_every_feature(mirror: MirrorDirectory, registry: SparseRegistry) -> None:
    found = closed(mirror, SparseUpstream(registry.index_url), "middle@0.1")
    assert stems(found) == ["asked-for-0.1.0", "leaf-1.0.0", "middle-0.1.0", "unasked-0.1.0"]


def test_a_requirement_says_which(mirror: MirrorDirectory, registry: SparseRegistry) -> None:
    upstream = SparseUpstream(registry.index_url)
    assert stems(closed(mirror, upstream, "leaf")) == ["leaf-2.0.0"]
    assert stems(closed(mirror, upstream, "leaf@>=1, <1.4")) == ["leaf-1.0.0"]
    yanked = closed(mirror, upstream, "leaf@=1.9.0")
    assert yanked.packages == ()
    assert "were yanked" in yanked.missing[0].reason


def test_it_ends(mirror: MirrorDirectory, registry: SparseRegistry) -> None:
    with pytest.raises(VerificationError, match="more than 3 versions"):
        closed(mirror, SparseUpstream(registry.index_url), "top", most=3)


def test_an_upstream_that_is_down_has_said_nothing(mirror: MirrorDirectory) -> None:
    @dataclass
    class Down(Named):
        def index(self, names: Sequence[CrateName], scratch: Path) -> dict[CrateName, UpstreamIndex]:
            return {name: UpstreamIndex((), "it is down") for name in names}

    found = closed(mirror, Down("http://127.0.0.1:1"), "leaf@1")
    assert [(str(one.asked), one.reason, one.decided) for one in found.missing] == [("leaf@^1", "it is down", False)]


def test_a_claimed_crate_is_not_looked_for_upstream_whoever_depends_on_it(tmp_path: Path) -> None:
    """Dependency confusion: the positive control is `other`, which nobody claimed."""
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), "1.0.0"))
    world.claim()
    with sparse_registry() as upstream:
        upstream.add(honest_crate(str(NAME), "1.9.0"))
        upstream.add(honest_crate("other", "1.0.0"))
        upstream.add(honest_crate("top", extra=f'[dependencies]\n{NAME} = "1"\nother = "1"\n'))
        named = Named(upstream.index_url)
        found = close(world.store, named, [AskedFor.parse("top"), AskedFor.parse(f"{NAME}@9")])
        assert stems(found) == ["other-1.0.0", "top-0.1.0"]
        assert sorted(named.asked) == ["other", "top"]
        assert [str(one.asked) for one in found.missing] == [f"{NAME}@^9"]
        report = sync(
            world.store,
            world.online,
            SparseUpstream(upstream.index_url),
            found.packages,
            now=world.now,
            progress=quiet,
        )
        assert [str(crate) for crate in report.added] == ["other@1.0.0", "top@0.1.0"]
        assert not any(str(NAME) in path for path in upstream.requests)
    world.store.close()


@pytest.mark.parametrize(
    "text", ["--git=x", "-Z", "a b", "../x", "serde@", "serde@--locked", "serde@1;id", "serde@1\n"]
)
def test_what_is_neither_name_nor_requirement_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        AskedFor.parse(text)


def test_it_is_written_as_a_shell_takes_it() -> None:
    assert AskedFor.parse("serde@1").typed == "'serde@^1'"
    assert AskedFor.parse("serde@=1.0.2").typed == "serde@=1.0.2"
    assert AskedFor.parse("serde").typed == "serde"
