"""The comparison of a tarball with what was tagged, where other comparisons would excuse what one of them refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.worlds.release import CRATE, MANIFEST, HonestRelease, synthetic

from carnet.claims.releases import Digest, OwnedLayoutFile
from carnet.digests import sha256_hex
from carnet.errors import FormatError, RuleViolation
from carnet.intoto.duties import Terms
from carnet.intoto.steps import TagRecord
from carnet_verifier.provenance.artifact_rules import StepArtifacts
from carnet_verifier.provenance.carried_out import layout_version
from carnet_verifier.provenance.provenance import _bound
from carnet_verifier.provenance.unpack import unpack


@pytest.fixture(scope="module")
def honest() -> HonestRelease:
    return synthetic()


@pytest.fixture(scope="module")
def tag(honest: HonestRelease) -> TagRecord:
    return TagRecord.from_link(honest.link("tag"), CRATE)


ORIGINALS = [MANIFEST + b"# more\n", MANIFEST.replace(b"[package]", b'[lib]\npath = "evil.rs"\n[package]', 1)]


@pytest.mark.parametrize("original", ORIGINALS)
def test_the_original_manifest_is_the_tagged_one_even_if_the_owners_call_it_generated(
    honest: HonestRelease, tag: TagRecord, original: bytes
) -> None:
    """What all the others are compared with cannot be made while packaging."""
    allowed = frozenset({"Cargo.toml.orig"})
    assert unpack(honest.crate, tag, allowed) == ()
    changed = honest.repackaged({"Cargo.toml.orig": original}).crate
    for generated in (frozenset[str](), allowed):
        with pytest.raises(RuleViolation, match=r"Cargo\.toml\.orig is not the tagged Cargo\.toml"):
            unpack(changed, tag, generated)


def test_a_file_of_another_commit_is_refused_unless_it_is_generated(honest: HonestRelease, tag: TagRecord) -> None:
    changed = honest.repackaged({"src/lib.rs": b"// made\n"}).crate
    with pytest.raises(RuleViolation, match="is not the tagged"):
        unpack(changed, tag)
    assert [found for found in unpack(changed, tag, frozenset({"src/lib.rs"})) if "is generated" in found]


@pytest.mark.parametrize("name", ["x", "", "-1", "1.0", "\u0661", "1" * 19, " 1"])
def test_a_layout_has_the_version_of_its_path(name: str) -> None:
    layout = OwnedLayoutFile("layouts/00/demo/7.layout.json", Digest(1, "0" * 64), Terms(), {}, None)
    assert layout_version(layout) == 7
    with pytest.raises(FormatError, match="is not the path of a layout"):
        layout_version(replace(layout, path=f"layouts/00/demo/{name}.layout.json"))


def test_a_tagged_manifest_of_another_version_is_not_this_crates(honest: HonestRelease, tag: TagRecord) -> None:
    """Everybody tagged 0.1.1, and the tarball calls itself 0.1.0: the packaged manifest is not what was tagged."""
    other = MANIFEST.replace(b'version = "0.1.0"', b'version = "0.1.1"', 1)
    assert other != MANIFEST
    tagged = replace(tag, files={**tag.files, "Cargo.toml": sha256_hex(other)})
    with pytest.raises(RuleViolation, match=rf"the manifest is of {CRATE.name}@0\.1\.1, and the tarball of {CRATE}"):
        unpack(honest.repackaged({"Cargo.toml.orig": other}).crate, tagged)


@pytest.mark.parametrize(
    ("materials", "why"),
    [
        ({"a": "0", "b": "1", "c": "2"}, "its materials are not what was tagged"),
        ({"a": "0", "b": "2"}, "its materials are not what was tagged"),
        ({"a": "0"}, "it covers 1 of 2 tagged artifacts; b is missing"),
        ({}, "it covers 0 of 2 tagged artifacts; a is missing"),
    ],
    ids=["one more", "another", "one less", "none"],
)
def test_a_step_works_on_exactly_what_was_tagged(materials: dict[str, str], why: str) -> None:
    """In-toto's MATCH is satisfied by any part of it (trap 16)."""
    tagged = StepArtifacts({}, {"a": "0", "b": "1"})
    _bound(StepArtifacts({"a": "0", "b": "1"}, {}), tagged)
    with pytest.raises(RuleViolation, match=why):
        _bound(StepArtifacts(materials, {}), tagged)
