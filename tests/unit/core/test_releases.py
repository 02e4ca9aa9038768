"""What a crate role may say: every version in its place, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.worlds.ceremony import NOW

from carnet import strictjson
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.claims.releases import Demands, Differences, Digest, Releases, SignedRelease
from carnet.errors import FormatError
from carnet.intoto.duties import Terms
from carnet.level import Level
from carnet.tuf import paths
from carnet.tuf.roles import Targets
from carnet_signer.metadata import role_files
from carnet_signer.proposals.proposal import draft

NAME = CrateName("Demo-Lib")
ROLE = paths.crate_role(NAME)
OWNER = paths.owner_role(NAME)


def signed_release(version: str, *, bundle: bool = True, name: str = "Demo-Lib", digest: str = "a") -> SignedRelease:
    crate = CrateId.of(name, version)
    return SignedRelease(
        crate, Digest(10, digest * 64), "b" * 64, False, "crates-io", Digest(5, "c" * 64) if bundle else None
    )


def releases(*found: SignedRelease) -> Releases:
    return Releases(NAME, {one.id.version: one for one in found})


def role(targets: Any) -> Targets:
    return draft(ROLE, role_files.targets(1, NOW, listed=targets)).signed


GOOD = releases(signed_release("1.0.0"), signed_release("1.1.0-rc.1", bundle=False))


def test_what_is_written_is_read_back_in_order() -> None:
    found = Releases.of(CrateName("demo_lib"), role(GOOD.to_targets()))
    assert found == GOOD
    assert list(found.versions) == sorted(found.versions)


def test_words_that_carnet_does_not_know_are_kept() -> None:
    targets: Any = GOOD.to_targets()
    targets[paths.crate_path(CrateId(NAME, Version("1.0.0")))]["custom"]["note"] = "hello"
    assert Releases.of(NAME, role(targets)).to_targets() == targets


CRATE = paths.crate_path(CrateId(NAME, Version("1.0.0")))
BUNDLE = paths.bundle_path(CrateId(NAME, Version("1.0.0")))


def _set(path: str, **custom: Any) -> Any:
    def change(targets: Any) -> None:
        targets[path]["custom"].update(custom)

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda targets: targets.pop(BUNDLE), id="a bundle that is named and not listed"),
        pytest.param(_set(CRATE, bundle=None), id="a bundle that is listed and not named"),
        pytest.param(_set(CRATE, bundle=CRATE), id="a bundle that is another file"),
        pytest.param(_set(CRATE, index="short"), id="an index that is no sha256"),
        pytest.param(_set(CRATE, yanked=0), id="a yank that is no truth"),
        pytest.param(_set(CRATE, registry=None), id="no registry"),
        pytest.param(lambda targets: targets[CRATE].pop("custom"), id="no words"),
        pytest.param(
            lambda targets: targets.update({CRATE.replace("1.0.0", "1.0"): targets[CRATE]}), id="a version that is none"
        ),
        pytest.param(
            lambda targets: targets.update({CRATE.replace("Demo-Lib-1", "other-1"): targets[CRATE]}), id="another crate"
        ),
        pytest.param(
            lambda targets: targets.update({CRATE.replace("Demo-Lib-1.0.0", "demo_lib-2.0.0"): _bare(targets[CRATE])}),
            id="two spellings",
        ),
        pytest.param(lambda targets: targets.update({f"{CRATE}.sig": targets[BUNDLE]}), id="a file of no use"),
        pytest.param(
            lambda targets: targets.update({"crates/00/demo_lib/Demo-Lib-3.0.0.crate": _bare(targets[CRATE])}),
            id="another folder",
        ),
    ],
)
def test_what_has_no_place_is_refused(change: Any) -> None:
    targets: Any = strictjson.parse_object(strictjson.canonical(GOOD.to_targets()), "", max_bytes=10**6)
    assert Releases.of(NAME, role(targets)) == GOOD
    change(targets)
    with pytest.raises(FormatError):
        Releases.of(NAME, role(targets))


def _bare(entry: Any) -> Any:
    return {**entry, "custom": {key: value for key, value in entry["custom"].items() if key != "bundle"}}


def test_differences_are_told() -> None:
    before = releases(signed_release("1.0.0"), signed_release("1.1.0"), signed_release("1.2.0"))
    after = releases(
        signed_release("1.0.0", bundle=False), signed_release("1.1.0", digest="d"), signed_release("1.3.0")
    ).with_yank(Version("1.0.0"), yanked=True)
    found = Differences.between(before, after)
    assert [str(one.id.version) for one in found.added] == ["1.3.0"]
    assert [str(one.id.version) for one in found.yanked] == ["1.0.0"]
    assert [str(one.id.version) for one in found.evidence] == ["1.0.0"]
    assert [str(one.version) for one in found.lost] == ["1.1.0", "1.2.0"]
    assert Differences.between(before, before) == Differences((), (), (), (), ())
    back = Differences.between(after, after.with_yank(Version("1.0.0"), yanked=False))
    assert [str(one.id.version) for one in back.unyanked] == ["1.0.0"]


def test_a_version_is_released_once() -> None:
    with pytest.raises(FormatError, match="never changes"):
        GOOD.with_release(signed_release("1.0.0", digest="e"))
    with pytest.raises(FormatError, match="spells the name otherwise"):
        GOOD.with_release(signed_release("2.0.0", name="demo_lib"))
    assert len(GOOD.with_release(signed_release("0.9.0")).versions) == 3
    with pytest.raises(FormatError, match="never released"):
        GOOD.with_yank(Version("9.0.0"), yanked=True)
    with pytest.raises(FormatError, match="not yanked"):
        GOOD.with_yank(Version("1.0.0"), yanked=False)


def _owner(listed: dict[int, Any], adopted: Any = None) -> Targets:
    targets: Any = {
        paths.layout_path(NAME, version): role_files.target(
            1, "f" * 64, {**Terms(least_level=Level.parse(level)).to_custom(), **more}
        )
        for version, (level, more) in listed.items()
    }
    return draft(
        OWNER,
        role_files.targets(9, NOW, listed=targets, extra={"carnet": {} if adopted is None else {"adopted": adopted}}),
    ).signed


def test_what_the_owners_ask() -> None:
    old, new, loose = (signed_release("1.0.0", digest=digest) for digest in "123")
    demands = Demands.of(
        NAME,
        _owner(
            {1: ("provenance", {"releases": ["1" * 64]}), 4: ("reproduced", {})},
            ["3" * 64],
        ),
    )
    assert demands.least_level(old) is Level.PROVENANCE
    assert demands.least_level(new) is Level.REPRODUCED
    assert demands.least_level(loose) is Level.MAINTAINER
    assert demands.in_force is not None
    assert demands.in_force.path.endswith("/4.layout.json")
    assert [layout.vouches_for("2" * 64) for layout in demands.layouts] == [False, True]
    assert Demands.of(NAME, _owner({})).least_level(old) is Level.MAINTAINER


@pytest.mark.parametrize(
    "owner",
    [
        pytest.param(lambda: _owner({1: ("provenance", {}), 2: ("provenance", {})}), id="two in force"),
        pytest.param(lambda: _owner({1: ("provenance", {"releases": "all"})}), id="releases that are no list"),
        pytest.param(lambda: _owner({}, ["short"]), id="adopted that is no sha256"),
        pytest.param(lambda: _owner({}, {"a": 1}), id="adopted that is no list"),
        pytest.param(lambda: _owner({1: ("provenance", {"least_level": "best"})}), id="a level that is none"),
    ],
)
def test_demands_that_cannot_be_read_are_refused(owner: Any) -> None:
    with pytest.raises(FormatError):
        Demands.of(NAME, owner())
