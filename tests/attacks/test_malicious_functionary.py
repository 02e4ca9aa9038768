"""A functionary whose key is in the layout, and who means harm: only its own step, and no command of its ever runs.

Each test changes one thing of an honest release and signs it with the keys that the attacker has.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.worlds.release import CRATE, DID, NOW, HonestRelease, key, synthetic

from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.errors import CarnetError, FormatError, LayoutRefused, MissingLink, ProvenanceError, RuleViolation
from carnet.intoto.bundle import Bundle
from carnet.intoto.dsse import Envelope
from carnet.intoto.steps import ArtifactNames
from carnet.intoto.values import ArtifactRule, Layout, Link
from carnet.level import Level
from carnet.tuf.keys import PublicKey
from carnet_signer.steps.record import sign_link
from carnet_verifier.provenance.provenance import check_provenance

NAMES = ArtifactNames(CRATE)


@pytest.fixture
def honest() -> HonestRelease:
    release = synthetic()
    assert release.check().level is Level.REPRODUCED  # the positive control of every test that starts from it
    return release


def signed_payload(payload: object, who: str) -> Envelope:
    envelope = Envelope(json.dumps(payload).encode())
    return envelope.with_signature(key(who).sign(envelope.message))


# --- trap 12: sublayouts, and commands that metadata brings ---


def sublayout(marker: Path) -> dict[str, object]:
    return {
        "_type": "layout",
        "steps": [],
        "inspect": [
            {
                "_type": "inspection",
                "name": "boom",
                "run": ["touch", str(marker)],
                "expected_materials": [],
                "expected_products": [],
            }
        ],
        "keys": {},
        "expires": "2030-01-01T00:00:00Z",
        "readme": "",
    }


def test_a_sublayout_is_refused_and_its_command_does_not_run(honest: HonestRelease, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    forged = honest.with_links("package").with_extra("package", signed_payload(sublayout(marker), "packager"))
    with pytest.raises(FormatError, match="sublayouts are not accepted"):
        forged.check()
    assert not marker.exists()


def test_a_sublayout_beside_honest_links_is_refused_too(honest: HonestRelease, tmp_path: Path) -> None:
    forged = honest.with_extra("test", signed_payload(sublayout(tmp_path / "ran"), "ci2"))
    with pytest.raises(FormatError, match="sublayouts"):
        forged.check()
    assert not (tmp_path / "ran").exists()


def test_a_layout_with_an_inspection_is_refused_and_runs_nothing(honest: HonestRelease, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    payload = json.loads(honest.layout.to_payload())
    payload["inspect"] = sublayout(marker)["inspect"]
    data = signed_payload(payload, "owner").to_bytes()
    owned = replace(honest.owned, data=data)
    with pytest.raises(LayoutRefused, match="inspections run commands"):
        check_provenance(honest.crate, [owned], replace(honest.bundle(), layout=data))
    assert not marker.exists()


def test_a_layout_with_an_expected_command_is_refused(honest: HonestRelease) -> None:
    steps = tuple(replace(step, expected_command=("sh", "-c", "true")) for step in honest.layout.steps)
    with pytest.raises(LayoutRefused, match="expected_command must be empty"):
        honest.with_layout(steps=steps).check()


# --- trap 13: a link renamed to another step ---


def test_a_link_filed_under_another_step_does_not_count(honest: HonestRelease) -> None:
    """The reviewers' keys may test as well here; only the name inside tells the two steps apart."""
    carol = key("carol").public_key
    steps = tuple(
        replace(step, keyids=(*step.keyids, carol.keyid), products=(ArtifactRule("disallow", "*"),))
        if step.name == "test"
        else step
        for step in honest.layout.steps
    )
    release = honest.with_layout(steps=steps)
    test = Link("test", release.link("tag").products, {}, {"return-value": 0})
    assert release.with_links("test", ("carol", test)).check().level is Level.REPRODUCED
    review = Link("review", release.link("tag").products, {}, {"return-value": 0})
    with pytest.raises(RuleViolation, match="step test: the link by carol is for the step review"):
        release.with_links("test", ("carol", review)).check()


# --- trap 14: a step that failed ---


@pytest.mark.parametrize(
    ("value", "shown"), [(1, "exit status 1"), (None, "no exit status"), (False, "no exit"), ("0", "no exit")]
)
def test_a_failed_step_does_not_count(honest: HonestRelease, value: object, shown: str) -> None:
    link = honest.link("test")
    failed = replace(link, byproducts={**link.byproducts, "return-value": value})
    with pytest.raises(RuleViolation, match=f"step test: the link by ci reports {shown}"):
        honest.with_links("test", ("ci", failed)).check()


def test_a_test_report_that_was_swapped_does_not_count(honest: HonestRelease) -> None:
    link = honest.link("test")
    forged = replace(link, byproducts={**link.byproducts, "report": "all is well"})
    with pytest.raises(RuleViolation, match="not the report that it produced"):
        honest.with_links("test", ("ci", forged)).check()


# --- trap 15: files that in-toto's recorder hides ---


def test_files_that_in_toto_excludes_are_part_of_the_tag() -> None:
    sources = {
        "Cargo.toml": synthetic().crate.file("Cargo.toml.orig") or b"",
        "src/lib.rs": b'include!("evil.link.rs");\n',
        "src/evil.link.rs": b"pub fn evil() {}\n",
        "src/x.pyc": b"data",
    }
    honest = synthetic(sources)
    assert honest.check().tag.files["src/evil.link.rs"] == sha256_hex(b"pub fn evil() {}\n")
    tag = honest.link("tag")
    path = f"{NAMES.prefix}/src/src/evil.link.rs"
    hidden = replace(tag, products={name: value for name, value in tag.products.items() if name != path})
    with pytest.raises(RuleViolation, match="does not add up"):
        honest.with_links("tag", ("alice", hidden)).check()


# --- trap 16: rules that fail open ---


def test_a_link_without_materials_does_not_satisfy_match(honest: HonestRelease) -> None:
    empty = replace(honest.link("review"), materials={})
    with pytest.raises(RuleViolation, match="finds no such artifact"):
        honest.with_links("review", ("carol", empty), ("dave", empty)).check()


def test_a_review_of_half_the_files_is_no_review(honest: HonestRelease) -> None:
    """in-toto is content: all that was reviewed matches the tag, and the required digests are there."""
    link = honest.link("review")
    half = {path: value for path, value in link.materials.items() if not path.endswith("lib.rs")}
    with pytest.raises(RuleViolation, match=r"step review: .*covers 9 of 10 tagged artifacts; .*src/lib.rs is missing"):
        honest.with_links("review", *((who, replace(link, materials=half)) for who in DID["review"])).check()


def test_a_review_of_another_commit_is_no_review(honest: HonestRelease) -> None:
    link = honest.link("review")
    other = {**link.materials, f"{NAMES.prefix}/src/src/lib.rs": sha256_hex(b"reviewed something else")}
    with pytest.raises(RuleViolation, match=r"step review: .*DISALLOW"):
        honest.with_links("review", *((who, replace(link, materials=other)) for who in DID["review"])).check()


@pytest.mark.parametrize(
    "path", ["demo-lib-0.1.0/x/../evil.rs", "/etc/passwd", "demo-lib-0.1.0//x", "a\\b", "a/\n", "", "./a"]
)
def test_paths_that_evade_rules_are_refused(honest: HonestRelease, path: str) -> None:
    link = honest.link("package")
    forged = replace(link, products={**link.products, path: sha256_hex(b"")})
    with pytest.raises(FormatError, match="artifact path"):
        honest.with_links("package", ("packager", forged)).check()


@pytest.mark.parametrize(
    "digests", [{}, {"sha512": "00" * 64}, {"sha256": ""}, {"sha256": "0" * 64, "md5": ""}, {"sha256": "A" * 64}]
)
def test_artifacts_without_one_sha256_are_refused(honest: HonestRelease, digests: dict[str, str]) -> None:
    payload = json.loads(honest.link("package").to_payload())
    payload["products"][NAMES.tarball] = digests
    with pytest.raises(FormatError, match="exactly one digest"):
        honest.with_links("package").with_extra("package", signed_payload(payload, "packager")).check()


def test_what_no_rule_names_is_not_let_through(honest: HonestRelease) -> None:
    link = honest.link("package")
    more = replace(link, products={**link.products, f"{NAMES.prefix}/extra": sha256_hex(b"x")})
    with pytest.raises(RuleViolation, match=r"step package: .*DISALLOW"):
        honest.with_links("package", ("packager", more)).check()


def drop_rule(
    release: HonestRelease, step: str, kind: str, rule: ArtifactRule, put: ArtifactRule | None = None
) -> HonestRelease:
    def changed(rules: tuple[ArtifactRule, ...], this: bool) -> tuple[ArtifactRule, ...]:
        assert not this or rule in rules
        return tuple(item for old in rules for item in ([old] if old != rule or not this else [put] if put else []))

    return release.with_layout(
        steps=tuple(
            replace(
                item,
                materials=changed(item.materials, (item.name, kind) == (step, "materials")),
                products=changed(item.products, (item.name, kind) == (step, "products")),
            )
            for item in release.layout.steps
        )
    )


P = "{name}-{version}"
LAST = ArtifactRule("disallow", "*")
FROM_TAG = ArtifactRule("match", f"{P}/*", "", "products", "", "tag")


@pytest.mark.parametrize(
    ("step", "kind", "rule", "put", "said"),
    [
        ("review", "materials", LAST, None, "must end in DISALLOW"),
        ("package", "products", LAST, ArtifactRule("disallow", f"{P}/*"), "must end in DISALLOW"),
        ("package", "products", ArtifactRule("require", f"{P}.crate"), None, "no REQUIRE"),
        ("review", "materials", ArtifactRule("require", f"{P}/tree"), None, "tree is missing, which binds"),
        ("review", "materials", FROM_TAG, replace(FROM_TAG, dest_name="tga"), "not an earlier step"),
        ("review", "materials", FROM_TAG, replace(FROM_TAG, dest_name="package"), "not an earlier step"),
        ("review", "materials", FROM_TAG, replace(FROM_TAG, dest_type="materials"), "only products"),
        ("review", "materials", FROM_TAG, replace(FROM_TAG, source_prefix="x"), "IN is not allowed"),
        ("review", "materials", FROM_TAG, replace(FROM_TAG, pattern="*"), "must start with"),
        (
            "package",
            "products",
            ArtifactRule("create", f"{P}.crate"),
            ArtifactRule("allow", f"{P}.crate"),
            "ALLOW is not allowed",
        ),
        (
            "package",
            "products",
            ArtifactRule("create", f"{P}.crate"),
            ArtifactRule("create", f"{P}.crat?"),
            "only `\\*`",
        ),
        (
            "package",
            "products",
            ArtifactRule("create", f"{P}.crate"),
            ArtifactRule("create", "{name.__class__}.crate"),
            "only `\\*`",
        ),
        (
            "rebuild",
            "products",
            ArtifactRule("match", f"{P}.crate", "", "products", "", "package"),
            None,
            "MATCH .* is missing",
        ),
        ("tag", "materials", LAST, ArtifactRule("create", f"{P}/*"), "must end in DISALLOW"),
        ("tag", "products", ArtifactRule("require", f"{P}/lock"), None, "lock is missing"),
    ],
)
def test_a_layout_that_fails_open_is_refused(
    honest: HonestRelease, step: str, kind: str, rule: ArtifactRule, put: ArtifactRule | None, said: str
) -> None:
    with pytest.raises(LayoutRefused, match=said):
        drop_rule(honest, step, kind, rule, put).check()


def test_require_after_match_is_refused(honest: HonestRelease) -> None:
    steps = tuple(
        replace(step, materials=(FROM_TAG, *(rule for rule in step.materials if rule != FROM_TAG)))
        if step.name == "review"
        else step
        for step in honest.layout.steps
    )
    with pytest.raises(LayoutRefused, match="REQUIRE must come before MATCH"):
        honest.with_layout(steps=steps).check()


# --- trap 17: an old layout ---


def test_an_expired_layout_accepts_no_new_release_and_keeps_the_old_ones(honest: HonestRelease) -> None:
    later = honest.layout.expires + timedelta(seconds=1)
    assert honest.check(accepted_at=NOW).level is Level.REPRODUCED
    with pytest.raises(LayoutRefused, match="expired"):
        honest.check(accepted_at=later)
    assert honest.check().level is Level.REPRODUCED  # it was accepted in time


def test_a_layout_that_the_owner_role_does_not_name_is_refused(honest: HonestRelease) -> None:
    older = honest.with_layout(readme="an older, weaker layout")
    with pytest.raises(LayoutRefused, match="owners have not signed"):
        check_provenance(older.crate, [honest.owned], older.bundle())
    assert check_provenance(older.crate, [honest.owned, older.owned], older.bundle()).layout == older.layout


# --- trap 18: disagreement ---


def test_at_threshold_one_the_first_of_two_links_does_not_win(honest: HonestRelease) -> None:
    evil = replace(honest.link("package"), products={NAMES.tarball: sha256_hex(b"evil")})
    for order in (
        (("alice", evil), ("packager", honest.link("package"))),
        (("packager", honest.link("package")), ("alice", evil)),
    ):
        found = honest.signed_by("tag", "bob").with_links("package", *order).check()
        assert found.crate == CRATE
        assert next(step for step in found.steps if step.name == "package").people == ("packager",)
    with pytest.raises(RuleViolation, match="has sha256"):
        honest.with_links("package", ("packager", evil)).check()


def test_a_dissenter_above_the_quorum_is_tolerated_and_reported(honest: HonestRelease) -> None:
    other = replace(honest.link("rebuild"), products={NAMES.tarball: sha256_hex(b"another tarball")})
    rebuilds = (*honest.links["rebuild"], ("rebuilder3", other))
    found = honest.with_links("rebuild", *rebuilds).check()
    assert found.level is Level.REPRODUCED
    assert any(finding.where == "rebuild" and "rebuilder3" in finding.text for finding in found.findings)


def test_dissent_below_the_quorum_leaves_the_release_unreproduced(honest: HonestRelease) -> None:
    other = replace(honest.link("rebuild"), products={NAMES.tarball: sha256_hex(b"another tarball")})
    found = honest.with_links("rebuild", ("rebuilder1", honest.link("rebuild")), ("rebuilder3", other)).check()
    assert found.level is Level.PROVENANCE
    assert any("1 of 2 people" in finding.text for finding in found.findings)


# --- trap 19: key ids and parameters ---


def test_a_key_id_that_is_not_its_keys_digest_is_refused(honest: HonestRelease) -> None:
    payload = json.loads(honest.layout.to_payload())
    real = key("carol").public_key.keyid
    fake = real[:8] + "0" * 56  # the same first 8 digits, so the same file name in in-toto
    payload["keys"][fake] = {**payload["keys"].pop(real), "keyid": fake}
    for step in payload["steps"]:
        step["pubkeys"] = [fake if keyid == real else keyid for keyid in step["pubkeys"]]
    with pytest.raises(FormatError, match="not the digest of its key"):
        Layout.from_payload(json.dumps(payload).encode())


@pytest.mark.parametrize("name", ["*", "demo*", "demo/lib", "demo lib", "{name}", "démo"])
def test_a_crate_name_that_would_widen_a_rule_does_not_exist(name: str) -> None:
    with pytest.raises(FormatError, match="not a crate name"):
        CrateId.of(name, "1.0.0")


# --- trap 23 and the other keys that TUF and in-toto would take ---


def test_an_rsa_key_has_no_place_in_a_layout(honest: HonestRelease) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = (
        rsa.generate_private_key(65537, 2048).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    for scheme in ("rsassa-pss-sha256", "rsa-pkcs1v15-sha256"):
        with pytest.raises(FormatError, match="not allowed"):
            PublicKey.from_object({"keytype": "rsa", "scheme": scheme, "keyval": {"public": pem.decode()}})
        payload = json.loads(honest.layout.to_payload())
        payload["keys"]["0" * 64] = {"keytype": "rsa", "scheme": scheme, "keyval": {"public": pem.decode()}}
        with pytest.raises(FormatError, match=r"not the digest of its key|not allowed"):
            Layout.from_payload(json.dumps(payload).encode())


# --- links of another release ---


def test_a_link_of_another_version_does_not_fit(honest: HonestRelease) -> None:
    other = synthetic(crate=CrateId.of("demo-lib", "0.2.0"))
    assert other.check().level is Level.REPRODUCED
    for step in ("tag", "review", "package"):
        with pytest.raises(RuleViolation, match=f"step {step}: "):
            replace(honest, links={**honest.links, step: other.links[step]}).check()


@pytest.mark.parametrize("step", ["tag", "review", "test", "package"])
def test_a_missing_step_refuses_the_release(honest: HonestRelease, step: str) -> None:
    with pytest.raises(MissingLink, match=f"step {step}: 0 of "):
        honest.without(step).check()


def test_links_of_a_step_that_the_layout_does_not_have_count_for_nothing(honest: HonestRelease) -> None:
    link = Link("blessing", {}, {}, {"return-value": 0})
    found = honest.with_links("blessing", ("alice", link)).check()
    assert any(finding.where == "blessing" for finding in found.findings)


# --- evidence that comes later ---


def test_late_evidence_can_neither_block_nor_run(honest: HonestRelease, tmp_path: Path) -> None:
    late = [
        signed_payload(sublayout(tmp_path / "ran"), "rebuilder3"),
        signed_payload([], "rebuilder3"),
        sign_link(replace(honest.link("rebuild"), products={}), key("rebuilder3")),
    ]
    assert honest.check(late=late).level is Level.REPRODUCED
    assert not (tmp_path / "ran").exists()


# --- bundles ---


def test_hostile_bundles_are_our_errors(honest: HonestRelease) -> None:
    good = json.loads(honest.bundle().to_bytes())
    link = good["links"]["tag"][0]
    bad: list[object] = [
        [],
        {},
        {**good, "version": 2},
        {**good, "layout": "!"},
        {**good, "links": []},
        {**good, "links": {"../x": []}},
        {**good, "links": {"tag": [{**link, "payloadType": "text/plain"}]}},
        {**good, "links": {"tag": [{**link, "signatures": [{"keyid": "x", "sig": ""}]}]}},
        {**good, "links": {"tag": [{**link, "signatures": link["signatures"] * 2}]}},
        {**good, "links": {"tag": [link] * 300}},
    ]
    for value in bad:
        with pytest.raises(FormatError):
            Bundle.from_bytes(json.dumps(value).encode())
    assert Bundle.from_bytes(json.dumps(good).encode()) == honest.bundle()


def test_every_refusal_is_one_line_with_a_hint(honest: HonestRelease) -> None:
    for release in (honest.without("tag"), honest.signed_by("review", "carol"), honest.signed_by("package", "alice")):
        with pytest.raises(ProvenanceError) as caught:
            release.check()
        error: CarnetError = caught.value
        assert "\n" not in str(error)
        assert error.hint
