"""Files that a claim's roles list, looked up in the tree of roles: what is found there has to be what was signed."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from tests.support.worlds.simulator import NOW, Simulator

from carnet.errors import MetadataMismatch, NotFound
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.releases.signed_releases import find_signed
from carnet_verifier.tuf.refresh import TrustedRepository, refresh

TARBALL, OTHER = b"tarball", b"another"
PATH = "crates/8b/serde/serde-1.0.0.crate"


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


@pytest.fixture
def repository(tmp_path: Path) -> TrustedRepository:
    sim = Simulator()
    sim.claim("serde", releases={"serde-1.0.0.crate": TARBALL, "serde-1.1.0.crate": OTHER})
    sim.publish()
    return refresh(TrustDirectory.create(tmp_path / "trust", sim.root_file(), "https://mirror.example/"), sim, now=NOW)


def test_what_was_signed_is_found(repository: TrustedRepository) -> None:
    newer = PATH.replace("1.0.0", "1.1.0")
    found = find_signed(repository, {newer: digest(OTHER), PATH: digest(TARBALL)})
    assert [(target.path, target.sha256, target.role) for target in found] == [
        (newer, digest(OTHER), "crate.serde"),
        (PATH, digest(TARBALL), "crate.serde"),
    ]


@pytest.mark.parametrize("signed", [digest(OTHER), digest(TARBALL).upper(), digest(TARBALL)[:-1], ""])
def test_what_is_found_with_another_digest_is_refused(repository: TrustedRepository, signed: str) -> None:
    """It would be a hole in the tree of roles: another role that lists the same path."""
    with pytest.raises(MetadataMismatch, match=r"crate\.serde lists .* with another digest than was signed"):
        find_signed(repository, {PATH: signed})


def test_the_second_of_two_is_compared_as_well(repository: TrustedRepository) -> None:
    newer = PATH.replace("1.0.0", "1.1.0")
    with pytest.raises(MetadataMismatch, match=r"serde-1\.1\.0\.crate with another digest"):
        find_signed(repository, {PATH: digest(TARBALL), newer: digest(TARBALL)})


def test_what_no_role_lists_is_not_found(repository: TrustedRepository) -> None:
    with pytest.raises(NotFound, match="lists no target"):
        find_signed(repository, {PATH.replace("1.0.0", "2.0.0"): digest(TARBALL)})
