"""Functionaries who do more than their own step, twice the same person, or a step that is not theirs: none counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.worlds.release import CRATE, HonestRelease, key, synthetic

from carnet.digests import sha256_hex
from carnet.errors import FormatError, LayoutRefused, MissingLink, RuleViolation
from carnet.intoto.duties import Terms
from carnet.intoto.steps import ArtifactNames
from carnet.level import Level
from carnet.tuf.keys import PublicKey
from carnet_signer.steps.record import sign_link

NAMES = ArtifactNames(CRATE)


@pytest.fixture
def honest() -> HonestRelease:
    release = synthetic()
    assert release.check().level is Level.REPRODUCED  # the positive control of every test that starts from it
    return release


# --- who may do what ---


def test_a_key_of_another_step_does_not_count(honest: HonestRelease) -> None:
    with pytest.raises(RuleViolation, match=r"step package: a link signed by .* no valid signature"):
        honest.signed_by("package", "ci").check()


def test_a_forged_signature_does_not_count(honest: HonestRelease) -> None:
    envelope = sign_link(honest.link("package"), key("packager"))
    other = replace(honest.link("package"), products={NAMES.tarball: sha256_hex(b"evil")})
    forged = replace(envelope, payload=other.to_payload())
    with pytest.raises(RuleViolation, match="no valid signature"):
        honest.with_links("package").with_extra("package", forged).check()


def test_tagger_and_reviewer_must_be_different_people(honest: HonestRelease) -> None:
    with pytest.raises(RuleViolation, match="step review: alice did tag as well") as refused:
        honest.signed_by("review", "alice", "carol").check()
    assert refused.value.hint == "another person must carry out review", "the later duty is the one to give away"
    assert honest.signed_by("review", "bob", "carol").check().level is Level.REPRODUCED


def test_tagger_and_packager_must_be_different_people_whatever_the_layout_says(honest: HonestRelease) -> None:
    with pytest.raises(FormatError, match="tag and package must be kept apart"):
        replace(honest.terms, separate=frozenset())
    lax = replace(
        honest.signed_by("package", "alice"),
        terms=Terms.from_custom({**honest.terms.to_custom(), "separate_duties": []}),
    )
    with pytest.raises(RuleViolation, match="kept apart"):
        lax.check()
    with pytest.raises(RuleViolation, match="step package: alice did tag as well, and these duties are kept apart"):
        honest.signed_by("package", "alice").check()


def test_two_keys_of_one_person_are_one_person(honest: HonestRelease) -> None:
    people = dict(honest.terms.people)
    people[key("dave").public_key.keyid] = "carol"
    same = replace(honest, terms=replace(honest.terms, people=people))
    with pytest.raises(MissingLink, match="step review: 1 of 2"):
        same.check()
    assert same.signed_by("review", "carol", "bob").check().level is Level.REPRODUCED


def test_one_signature_twice_is_one_person(honest: HonestRelease) -> None:
    with pytest.raises(MissingLink, match="1 of 2"):
        honest.signed_by("review", "carol", "carol").check()


def test_one_key_under_two_ids_is_refused(honest: HonestRelease) -> None:
    carol = key("carol").public_key
    # Another id of the same key: an extra field in the key object is part of what the id is the digest of.
    twin = PublicKey.from_object({**carol.to_object(), "note": "the same key"})
    assert twin.keyid != carol.keyid
    assert twin.material == carol.material
    keys = {**honest.layout.keys, twin.keyid: twin}
    steps = tuple(
        replace(step, keyids=(*step.keyids, twin.keyid)) if step.name == "review" else step
        for step in honest.layout.steps
    )
    with pytest.raises(LayoutRefused, match="two ids"):
        honest.with_layout(keys=keys, steps=steps).check()


@pytest.mark.parametrize("threshold", [0, -1, 17, 5])
def test_a_threshold_that_is_none_or_out_of_reach_is_refused(honest: HonestRelease, threshold: int) -> None:
    steps = tuple(replace(step, threshold=threshold) if step.name == "review" else step for step in honest.layout.steps)
    with pytest.raises(LayoutRefused, match="threshold"):
        honest.with_layout(steps=steps).check()


# --- rebuilds may come later ---


def test_rebuilds_that_arrive_after_the_release_lift_its_level(honest: HonestRelease) -> None:
    released = honest.without("rebuild")
    assert released.check().level is Level.PROVENANCE
    late = [sign_link(link, key(who)) for who, link in honest.links["rebuild"]]
    assert released.check(late=late).level is Level.REPRODUCED
    assert released.check(late=late[:1]).level is Level.PROVENANCE


def test_the_rebuilder_who_packaged_is_not_independent(honest: HonestRelease) -> None:
    people = dict(honest.terms.people)
    people[key("rebuilder2").public_key.keyid] = "packager"
    assert replace(honest, terms=replace(honest.terms, people=people)).check().level is Level.PROVENANCE
