"""A crate is claimed, released 2 of 3, submitted and verified, through the command line and real processes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.live import LiveRegistry, live_registry

PEOPLE = ("alice", "bob", "carol", "rita", "sven", "tara")
CLAIM = (
    *("claim", "new", "demo", "-o", "claim"),
    *("--owner", "alice=person alice.pub", "--owner", "bob=person bob.pub", "--owner", "carol=person carol.pub"),
    *("--owners-threshold", "2"),
    *("--release-key", "rita=person rita.pub", "--release-key", "sven=person sven.pub"),
    *("--release-key", "tara=person tara.pub", "--release-threshold", "2"),
    *("--evidence", "alice is the author of the crate", "--evidence", "she said so:\n\tyesterday"),
)


@pytest.fixture(scope="module")
def claimed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRegistry]:
    """A registry in which `demo`, with a version from before, is claimed."""
    with live_registry(tmp_path_factory.mktemp("registry"), [honest_crate("demo", "0.9.0")]) as registry:
        registry.add_people(PEOPLE, p256=("bob", "rita"))
        for version in ("1.0.0", "1.1.0"):
            (registry.folder / f"demo-{version}.crate").write_bytes(honest_crate("demo", version))
        registry.run(*CLAIM)
        review = registry.run("claim", "review", "claim", "--root", "root.json")
        assert "a claim of demo" in review.stdout
        assert "alice is the author of the crate" in review.stdout
        assert "she said so" in review.stdout
        assert "signed by those whom root 1 appoints" in review.stderr
        assert registry.run("claim", "submit", "claim", status=1).stderr.startswith("error: ")
        # Two sign copies at the same time; the others one after another.
        shutil.copytree(registry.folder / "claim", registry.folder / "claim-bob")
        registry.run("claim", "sign", "claim", "--key", "person alice")
        registry.run("claim", "sign", "claim-bob", "--key", "person bob")
        registry.run("claim", "merge", "claim", "claim-bob")
        for key in ("person rita", "person tara", "holder-0"):
            registry.run("claim", "sign", "claim", "--key", key)
        assert "1 of" in registry.run("claim", "status", "claim", status=1).stdout
        registry.run("claim", "sign", "claim", "--key", "holder-2")
        assert registry.json("claim", "status", "claim")["final"] is True
        assert "owner.demo is version 1" in registry.run("claim", "submit", "claim").stdout
        yield registry


def _level(registry: LiveRegistry, crate: str) -> str:
    return str(registry.json("verify", crate)["level"])


def test_a_release_by_two_of_three_is_admitted(claimed: LiveRegistry) -> None:
    claimed.run("release", "assemble", "demo-1.0.0.crate", "-o", "release")
    claimed.run("release", "sign", "release", "--key", "person rita")
    status = claimed.run("release", "status", "release", status=1)
    assert "1 of 2 release keys" in status.stdout
    assert "carnet release sign release --key" in status.stdout
    refused = claimed.run("release", "submit", "release", status=1)
    assert "1 of the 2 signatures" in refused.stderr
    claimed.run("release", "sign", "release", "--key", "person tara")
    first = claimed.json("release", "submit", "release")
    assert first["receipt"]["added"] == ["1.0.0"]
    assert "published already" in claimed.run("release", "submit", "release").stdout
    assert _level(claimed, "demo@1.0.0") == "maintainer"
    assert _level(claimed, "demo@0.9.0") == "maintainer", "what was published before is adopted"


def test_a_mirror_refuses_one_signature(claimed: LiveRegistry) -> None:
    """The command line would not send it: the body is made by hand."""
    from tests.support.worlds.claims import body

    from carnet.errors import VerificationError
    from carnet_mirror.web.client import submit
    from carnet_signer.proposals.proposal import load

    claimed.run("release", "assemble", "demo-1.1.0.crate", "-o", "lone")
    claimed.run("release", "sign", "lone", "--key", "person rita")
    with claimed.mirror.directory.open() as store:
        before = store.read("metadata/timestamp.json")
    with pytest.raises(VerificationError, match="1 of its 3 keys, 2 are needed"):
        submit(claimed.url, body(load(claimed.folder / "lone")))
    with claimed.mirror.directory.open() as store:
        assert store.read("metadata/timestamp.json") == before
    assert claimed.run("verify", "demo@1.1.0", status=1).stderr.startswith("error: ")


def test_a_yank_is_the_maintainers(claimed: LiveRegistry) -> None:
    claimed.run("release", "yank", "demo@0.9.0", "-o", "given-up")
    claimed.run("release", "sign", "given-up", "--key", "person rita", "--sign-again")
    time.sleep(1.1)  # the same words a second later are another content: the expiry is another one
    claimed.run("release", "yank", "demo@0.9.0", "-o", "yank")
    assert "YANKED: demo@0.9.0" in claimed.run("release", "review", "yank").stdout
    given_up = claimed.run("release", "sign", "yank", "--key", "person rita", status=3)
    assert "you have signed another version" in given_up.stderr
    for key in ("person rita", "person sven"):
        claimed.run("release", "sign", "yank", "--key", key, "--sign-again")
    claimed.run("release", "submit", "yank")
    assert "yanked by its maintainers" in claimed.run("verify", "demo@0.9.0").stderr


def test_someone_was_faster(claimed: LiveRegistry) -> None:
    for folder in ("fast", "slow"):
        claimed.run("release", "assemble", "demo-1.1.0.crate", "-o", folder)
        for key in ("person rita", "person sven"):
            claimed.run("release", "sign", folder, "--key", key, "--sign-again")
    claimed.run("release", "submit", "fast")
    (claimed.folder / "demo-1.2.0.crate").write_bytes(honest_crate("demo", "1.2.0"))
    claimed.run("release", "assemble", "demo-1.2.0.crate", "-o", "next")
    for key in ("person rita", "person sven"):
        claimed.run("release", "sign", "next", "--key", key)
    claimed.run("release", "submit", "next")
    refused = claimed.run("release", "submit", "slow", status=1)
    assert "meanwhile" in refused.stderr
    assert "carnet release assemble" in refused.stderr


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("claim", "review", "nothing-here"), 2),
        (("claim", "new", "demo", "-o", "again", *CLAIM[5:]), 2),
        (("claim", "new", "other", "-o", "o1", "--owner", "alice=person alice.pub"), 2),
        (("release", "assemble", "root.json", "-o", "o2"), 1),
        (("release", "assemble", "missing.crate", "-o", "o3"), 2),
        (("release", "yank", "demo@7.0.0", "-o", "o4"), 1),
        (("release", "yank", "demo", "-o", "o5"), 2),
        (("claim", "handover", "unclaimed", "-o", "o6", "--takeover"), 2),
    ],
)
def test_what_is_wrong_is_said_in_one_line(claimed: LiveRegistry, command: tuple[str, ...], status: int) -> None:
    done = claimed.run(*command, status=None)
    assert done.returncode == status, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Traceback" not in done.stderr


def test_a_stranger_signs_nothing(claimed: LiveRegistry, tmp_path: Path) -> None:
    claimed.add_people(["mallory"])
    (claimed.folder / "demo-2.0.0.crate").write_bytes(honest_crate("demo", "2.0.0"))
    claimed.run("release", "assemble", "demo-2.0.0.crate", "-o", "foreign")
    done = claimed.run("release", "sign", "foreign", "--key", "person mallory", status=3)
    assert "signs none of crate.demo" in done.stderr


def test_a_takeover_is_said_in_capitals_and_clients_refuse(claimed: LiveRegistry) -> None:
    """Last, because the registry is not the same afterwards."""
    claimed.run("verify", "demo@0.9.0")
    claimed.add_people(["marvin"])
    claimed.run(
        *("claim", "handover", "demo", "-o", "takeover", "--owner", "marvin=person marvin.pub"),
        *("--owners-threshold", "1", "--takeover", "--evidence", "trust me"),
    )
    review = claimed.run("claim", "review", "takeover", "--root", "root.json").stdout
    assert "!!! THIS IS A TAKEOVER: THE PREVIOUS OWNERS DO NOT SIGN" in review
    assert "alice: no longer" in review
    for key in ("person marvin", "holder-0", "holder-1"):
        claimed.run("claim", "sign", "takeover", "--key", key)
    assert "waived: a takeover" in claimed.run("claim", "status", "takeover").stdout
    done = claimed.run("claim", "submit", "takeover")
    assert "warning: this replaced owners without their signatures" in done.stderr
    assert "[takeover]" in claimed.run("verify", "demo@0.9.0", status=1).stderr
