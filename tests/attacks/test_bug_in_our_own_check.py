"""A hole in carnet's own checks: the second opinion keeps what comes through it from being signed.

The hole is made on purpose, one for each test; the honest submission beside it is the positive control.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tests.attacks.test_malicious_functionary import signed_payload, sublayout
from tests.support.worlds.altered import altered
from tests.support.worlds.claims import NAME, World, person, sign
from tests.support.worlds.release import CRATE, HonestRelease, key, synthetic

from carnet import strictjson
from carnet.cargo.names import CrateId
from carnet.errors import CarnetError, MetadataMismatch, OpinionsDiffer, ProvenanceError
from carnet.intoto.steps import ArtifactNames
from carnet.intoto.values import ArtifactRule, Layout, Link, Step
from carnet.level import Level
from carnet.tuf import paths
from carnet.tuf.roles import RoleKeys
from carnet_mirror.second_opinion.in_toto_steps import judge_release
from carnet_signer.metadata import role_files
from carnet_signer.proposals import ownership
from carnet_signer.proposals.proposal import draft
from carnet_signer.steps.record import sign_link
from carnet_verifier.provenance import provenance as ours
from carnet_verifier.provenance.provenance import Provenance
from carnet_verifier.releases import established

RELEASE = synthetic(crate=CrateId.of(str(NAME), "0.1.0"))
RELEASERS = ("rita", "sven")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.claim(layout=ownership.NewLayout(RELEASE.layout_file, RELEASE.terms))
    return world


def state(world: World) -> object:
    """Everything that was signed, and everything that clients see."""
    return (
        dict(world.online.versions),
        world.online.named,
        world.store.read(f"{paths.METADATA_PREFIX}timestamp.json"),
        world.store.files.all_published(),
        world.store.sealed(),
        world.store.crates.versions(NAME),
    )


@contextmanager
def nothing_is_signed(world: World, match: str) -> Iterator[None]:
    before = state(world)
    with pytest.raises(OpinionsDiffer, match=match):
        yield
    assert state(world) == before


def submit(world: World, release: HonestRelease = RELEASE, by: tuple[str, ...] = RELEASERS) -> None:
    proposal = world.release_proposal(tarball=release.tarball, bundle=release.bundle())
    world.submit(sign(proposal, map(person, by)))


def no_check(*_: object, **__: object) -> None:
    pass


# --- TUF ---


def test_a_threshold_that_is_not_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two release keys signs, and `RoleKeys.check` takes it, in signer, verifier and mirror alike."""
    with monkeypatch.context() as hole:
        hole.setattr(RoleKeys, "check", no_check)
        match = r"metadata/2\.crate\.demo_lib\.json: signatures: .* was signed by 1/2 keys"
        with nothing_is_signed(world, match):
            submit(world, by=("rita",))
    with pytest.raises(CarnetError, match="signed by 1 of its 3 keys"):
        submit(world, by=("rita",))  # without the hole it does not come this far
    submit(world)


def test_a_signature_that_is_not_verified(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from carnet.tuf.keys import PublicKey

    proposal = sign(world.release_proposal(tarball=RELEASE.tarball, bundle=RELEASE.bundle()), map(person, RELEASERS))
    role = paths.crate_role(NAME)
    good = proposal.drafts[role]
    forged = [replace(signature, sig=bytes(64)) for signature in good.signatures]
    raw = role_files.file_bytes(good.message, forged)
    evil = replace(proposal, drafts={role: replace(good, raw=raw, signatures=tuple(forged))})
    with monkeypatch.context() as hole:
        hole.setattr(PublicKey, "verifies", lambda *_: True)
        with nothing_is_signed(world, "was signed by 0/2 keys"):
            world.submit(evil)
    world.submit(proposal)


def test_a_target_that_no_client_can_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A digest that carnet does not compare where it publishes: clients compare every one."""
    world = World.make(tmp_path)
    world.claim()
    proposal = world.release_proposal(tarball=RELEASE.tarball)
    role = paths.crate_role(NAME)
    signed = strictjson.parse_object(proposal.drafts[role].message, role, max_bytes=10**7)
    listed: Any = signed["targets"]
    listed[paths.crate_path(RELEASE.crate.id)]["hashes"]["sha512"] = "00" * 64
    bad = sign(replace(proposal, drafts={role: draft(role, signed)}), map(person, RELEASERS))
    with pytest.raises(MetadataMismatch, match="other digests than sha256"):
        world.submit(bad)
    with monkeypatch.context() as hole:
        hole.setattr("carnet_signer.metadata.new_roles._check_digests", no_check)
        with nothing_is_signed(world, "carnet says the file is the one that is listed; .*LengthOrHashMismatchError"):
            world.submit(bad)
    world.submit(sign(proposal, map(person, RELEASERS)))


# --- in-toto ---


@contextmanager
def holes(monkeypatch: pytest.MonkeyPatch, *names: str) -> Iterator[None]:
    """Parts of the provenance check that accept everything."""
    with monkeypatch.context() as hole:
        for name in names:
            hole.setattr(ours, name, no_check)
        yield


def evil_review(release: HonestRelease) -> HonestRelease:
    """The reviewers produced a file, which their step forbids."""
    link = replace(release.link("review"), products={f"{release.crate.id.stem}/evil.rs": "66" * 32})
    return release.with_links("review", *((who, link) for who in ("carol", "dave")))


def test_a_rule_that_is_not_evaluated(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = evil_review(RELEASE)
    with pytest.raises(CarnetError, match=r"DISALLOW \* forbids"):
        submit(world, evil)
    with holes(monkeypatch, "check_rules"), nothing_is_signed(world, r"bundle\.json: rules: .*DISALLOW"):
        submit(world, evil)
    submit(world)


def test_people_that_are_not_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One reviewer of two, and a check that takes any number of them."""
    alone = RELEASE.signed_by("review", "carol")
    with pytest.raises(CarnetError, match="step review"):
        submit(world, alone)
    read = Layout.from_envelope

    def lax(data: bytes) -> Layout:
        layout = read(data)
        return replace(layout, steps=tuple(replace(step, threshold=1) for step in layout.steps))

    def judged(found: Provenance) -> Provenance:
        return altered(found, layout=read(found.layout_file))

    check = ours.check_provenance
    with monkeypatch.context() as hole:
        hole.setattr(ours, "check_layout", no_check)
        hole.setattr(Layout, "from_envelope", staticmethod(lax))
        hole.setattr("carnet_verifier.provenance.carried_out.check_provenance", lambda *a, **k: judged(check(*a, **k)))
        with nothing_is_signed(world, "thresholds: .*review.*requires at least '2' links"):
            submit(world, alone)
    submit(world)


def test_links_signed_by_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    envelope = sign_link(RELEASE.link("package"), key("packager"))
    blank = replace(envelope, signatures=tuple(replace(one, sig=bytes(64)) for one in envelope.signatures))
    forged = RELEASE.with_links("package").with_extra("package", blank)
    with pytest.raises(CarnetError, match="step package"):
        submit(world, forged)
    with monkeypatch.context() as hole:
        hole.setattr(
            ours, "signers", lambda keys, signatures, message: [k for k in keys if k.keyid in _ids(signatures)]
        )
        with nothing_is_signed(world, "thresholds: .*package"):
            submit(world, forged)
    submit(world)


def _ids(signatures: Any) -> set[str]:
    return {signature.keyid for signature in signatures}


def test_evidence_that_was_dropped_on_the_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The level is there and the evidence is not: it cannot be judged, so it is not published."""
    establish = established.establish

    def forgetful(*arguments: Any, **options: Any) -> Any:
        return replace(establish(*arguments, **options), provenance=None)

    with monkeypatch.context() as hole:
        hole.setattr("carnet_mirror.judgement.establish", forgetful)
        with nothing_is_signed(world, "evidence"):
            submit(world)
    submit(world)


# --- nothing is ever started ---


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a process was started")

    class Refusing:
        def __init__(self, *_: object, **__: object) -> None:
            started()

    monkeypatch.setattr(subprocess, "Popen", Refusing)
    for name in dir(os):
        if name.startswith(("exec", "fork", "posix_spawn", "spawn")) or name in ("system", "popen"):
            monkeypatch.setattr(os, name, started)


def with_layout(found: Provenance, change: Callable[[dict[str, Any]], object]) -> Provenance:
    payload = strictjson.parse_object(found.layout.to_payload(), "layout", max_bytes=10**6)
    change(payload)
    return altered(found, layout_file=signed_payload(payload, "owner").to_bytes())


@pytest.mark.usefixtures("nothing_starts")
def test_no_inspection_no_sublayout_and_no_command_runs(tmp_path: Path) -> None:
    """What a check of ours with any hole at all could hand on: everything that in-toto would run."""
    honest = synthetic().check()
    judge_release(honest)
    marker = tmp_path / "ran"
    inspections = sublayout(marker)["inspect"]
    with pytest.raises(OpinionsDiffer, match=r"layout\.inspect"):
        judge_release(with_layout(honest, lambda layout: layout.update(inspect=inspections)))
    command = ["touch", str(marker)]

    def expect(layout: dict[str, Any]) -> None:
        layout["steps"][0]["expected_command"] = command

    with pytest.raises(OpinionsDiffer, match="expected_command"):
        judge_release(with_layout(honest, expect))
    for number, step in enumerate(honest.steps):
        person_ = {"tag": "alice", "review": "carol", "test": "ci", "package": "packager", "rebuild": "rebuilder1"}
        envelope = signed_payload(sublayout(marker), person_[step.name])
        hostile = replace(step, envelopes=(envelope, *step.envelopes[1:]))
        steps = (*honest.steps[:number], hostile, *honest.steps[number + 1 :])
        with pytest.raises(
            OpinionsDiffer, match=f"links.{step.name}.[0-9a-f]*: carnet says a link; in-toto says a lay"
        ):
            judge_release(altered(honest, steps=steps))
    assert not marker.exists()
    with pytest.raises(AssertionError, match="a process was started"):
        subprocess.run(command, check=False)  # the trap is set


@pytest.mark.usefixtures("nothing_starts")
def test_a_link_of_another_step_and_a_parameter_of_another_crate() -> None:
    """What in-toto itself lets pass is demanded here too."""
    honest = synthetic().check()
    tag, *rest = honest.steps
    renamed = sign_link(replace(Link.from_payload(tag.envelopes[0].payload), name="review"), key("alice"))
    with pytest.raises(OpinionsDiffer, match="carnet says a link of step tag; in-toto says a link of step review"):
        judge_release(altered(honest, steps=(replace(tag, envelopes=(renamed,)), *rest)))
    with pytest.raises(OpinionsDiffer, match="rules: "):
        judge_release(altered(honest, crate=CrateId.of("demo-lib", "0.2.0")))


def test_a_step_that_leans_on_rebuilds_which_do_not_count() -> None:
    """Rebuilders who may not rebuild do not count, and no rule leans on what they said: both opinions say so."""
    crate = "{name}-{version}.crate"
    tarball = ArtifactNames(CRATE).tarball
    honest = synthetic()
    bind = honest.layout.steps[1].materials
    compared = (
        ArtifactRule("require", crate),
        ArtifactRule("match", crate, "", "products", "", "rebuild"),
        ArtifactRule("disallow", "*"),
    )
    last = Step("compare", (key("ci2").public_key.keyid,), 1, bind, compared)
    steps = tuple(
        replace(step, keyids=(*step.keyids, key("ci").public_key.keyid, key("packager").public_key.keyid))
        if step.name == "rebuild"
        else step
        for step in honest.layout.steps
    )
    link = Link("compare", honest.link("tag").products, {tarball: honest.crate.sha256}, {"return-value": 0})
    sound = honest.with_layout(steps=(*steps, last)).with_links("compare", ("ci2", link))
    judge_release(sound.check())
    apart = frozenset(frozenset(("rebuild", step)) for step in ("test", "package"))
    terms = replace(sound.terms, separate=sound.terms.separate | apart)
    leaning = replace(sound, terms=terms).signed_by("rebuild", "ci", "packager")
    with pytest.raises(ProvenanceError, match="compare"):
        leaning.check()
    links = {name: made for name, made in leaning.links.items() if name != "compare"}
    proven = replace(leaning.with_layout(steps=steps), links=links).check()
    assert proven.level is Level.PROVENANCE
    assert "rebuild" not in {step.name for step in proven.steps}
    whole = sound.check()
    dropped = altered(whole, steps=tuple(step for step in whole.steps if step.name != "rebuild"))
    with pytest.raises(OpinionsDiffer, match="rules: "):
        judge_release(dropped)
