"""Whoever hands a folder to be signed, and lies in it: about what is published, what is asked, what changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.command import Ran, carnet
from tests.support.worlds.ceremony import make_key
from tests.support.worlds.claims import NAME, OWNERS, World, people, person
from tests.support.worlds.signing import Desk

from carnet import strictjson
from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import line_from_crate
from carnet.claims.releases import Digest, Releases, SignedRelease
from carnet.intoto.dsse import Envelope
from carnet.tuf import paths
from carnet.tuf.roles import RoleFile, Targets
from carnet.tuf.tree import roles_of
from carnet_signer.proposals import ownership
from carnet_signer.proposals.proposal import Proposal, draft, load
from carnet_signer.steps.layouts import compile_layout, fill_template

SHARD, OWNER, CRATE = roles_of(NAME)
MALLORY = make_key("person mallory")
SVEN = person("sven")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.claim()
    world.release("1.0.0")
    return world


@pytest.fixture
def desk(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk.make(tmp_path / "desk", monkeypatch, world.ceremony.root, world.store.read, lambda: world.now)


def signatures(folder: Path, role: str) -> int:
    return len(load(folder).drafts[role].signatures)


def refused(ran: Ran, reason: str) -> None:
    assert ran.status != 0, ran
    assert reason in ran.err, ran
    assert "Traceback" not in ran.err


def edited(role: str, file: RoleFile[Targets], edit: Callable[[Any], None]) -> RoleFile[Targets]:
    signed = strictjson.parse_object(file.message, role, max_bytes=10**8)
    edit(signed)
    return draft(role, signed)


def with_base(proposal: Proposal, role: str, edit: Callable[[Any], None]) -> Proposal:
    return replace(proposal, base={**proposal.base, role: edited(role, proposal.base[role], edit)})


def with_version(file: RoleFile[Targets], tarball: bytes) -> RoleFile[Targets]:
    crate = read_crate(tarball)
    line = line_from_crate(crate, pubtime=None)
    one = SignedRelease(crate.id, Digest(crate.length, crate.sha256), line.identity(), False, "crates-io")
    return draft(CRATE, {**file.body, "targets": Releases.of(NAME, file.signed).with_release(one).to_targets()})


# --- what the folder says was there before ---


def test_the_folder_of_an_honest_release_is_signed_as_ever(world: World, desk: Desk) -> None:
    folder = desk.hand_over(world.release_proposal("1.0.2"), "release")
    shown = desk.review(folder)
    assert shown.status == 0, shown
    assert shown.out.startswith("compared with what http://registry.test/ has published, as you verified it: snapshot ")
    assert "new: demo-lib@1.0.2" in shown.out
    assert "1.0.0" not in shown.out
    assert desk.sign(folder, SVEN, group="release").status == 0
    assert signatures(folder, CRATE) == 1


def test_a_version_that_is_smuggled_into_draft_and_base_is_not_signed(world: World, desk: Desk) -> None:
    """One of three release keys: the other signers would see 1.0.2 and sign 1.0.1 with it."""
    honest = world.release_proposal("1.0.2")
    evil = honest_crate(str(NAME), "1.0.1", source="pub fn f() { /* steal everything */ }\n")
    forged = replace(
        honest,
        drafts={CRATE: with_version(honest.drafts[CRATE], evil)},
        base={**honest.base, CRATE: with_version(honest.base[CRATE], evil)},
    )
    folder = desk.hand_over(forged, "release")
    for ran in (desk.review(folder), desk.sign(folder, SVEN, group="release")):
        refused(ran, "the folder's copy of crate.demo_lib is not what you verified")
    assert signatures(folder, CRATE) == 0


def test_a_genuine_base_of_long_ago_is_not_enough(world: World, desk: Desk) -> None:
    old = world.release_proposal("1.0.1")
    world.release("1.0.2")
    folder = desk.hand_over(old, "release")
    refused(desk.sign(folder, SVEN, group="release"), "published is version 3")


def test_a_role_whose_copy_is_left_out_is_not_new(world: World, desk: Desk) -> None:
    honest = world.release_proposal("1.0.1")
    lacking = replace(honest, base={role: file for role, file in honest.base.items() if role != CRATE})
    refused(desk.review(desk.hand_over(lacking, "release")), "it says that there is none, and version 2 is published")


def test_owners_who_are_in_the_forged_base_already_are_not_taken_for_old_ones(world: World, desk: Desk) -> None:
    """Mallory is slipped into the team, and into what the folder says the team is: nothing would be marked as new."""
    changes = ownership.OwnerChanges(owners=people((*OWNERS, "mallory"), 2))
    honest = world.owner_proposal(changes)
    folder = desk.hand_over(honest, "honest")
    shown = desk.review(folder)
    assert f"mallory: ed25519 key {MALLORY.public_key.keyid}  (new)" in shown.out, shown
    forged = with_base(honest, OWNER, lambda signed: signed.update(carnet=honest.drafts[OWNER].body["carnet"]))
    folder = desk.hand_over(forged, "forged")
    for ran in (desk.review(folder), desk.sign(folder, person("alice"))):
        refused(ran, "the folder's copy of owner.demo_lib is not what you verified")


def test_a_delegator_in_the_folder_may_be_older_but_names_the_same_signers(world: World, desk: Desk) -> None:
    honest = world.release_proposal("1.0.1")
    signed = {**world.published().targets.body, "version": 2}
    world.publish_roles({paths.TARGETS: world.ceremony.sign(signed)})
    folder = desk.hand_over(honest, "release")
    ran = desk.sign(folder, SVEN, group="release")
    assert ran.status == 0, ran
    assert "targets in the folder is not the one that you verified, which counts" in ran.err

    def appoint(owner: Any) -> None:
        owner["delegations"]["keys"][MALLORY.public_key.keyid] = MALLORY.public_key.to_object()
        owner["delegations"]["roles"][0]["keyids"].append(MALLORY.public_key.keyid)

    forged = desk.hand_over(with_base(honest, OWNER, appoint), "forged")
    refused(desk.sign(forged, SVEN, group="release"), "names other signers of crate.demo_lib")
    refused(desk.sign(forged, MALLORY, group="release"), "names other signers of crate.demo_lib")


def test_whoever_insists_on_the_folders_word_reads_so_first(world: World, desk: Desk) -> None:
    folder = desk.hand_over(world.release_proposal("1.0.1"), "release")
    for ran in (
        desk.review(folder, "--insecure-base-from-folder"),
        desk.sign(folder, SVEN, "--insecure-base-from-folder", group="release"),
    ):
        assert ran.status == 0, ran
        assert (ran.out + ran.err).startswith("!!! NOT COMPARED WITH WHAT IS PUBLISHED")


def test_somebody_who_trusts_nothing_is_told_what_to_type(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, root = world.store.read, world.ceremony.root
    desk = Desk.make(tmp_path / "desk", monkeypatch, root, read, lambda: world.now, trusts=False)
    folder = desk.hand_over(world.release_proposal("1.0.1"), "release")
    ran = desk.sign(folder, SVEN, group="release")
    assert ran.status == 2
    refused(ran, "nothing of your own to compare this with")
    assert "carnet trust add URL --root root.json" in ran.err
    desk.trust()
    assert desk.sign(folder, SVEN, group="release").status == 0


def test_without_a_network_a_saved_view_is_compared_with_and_its_age_comes_first(world: World, desk: Desk) -> None:
    folder = desk.hand_over(world.release_proposal("1.0.1"), "release")
    file = desk.folder / "view.json"
    assert carnet("trust", "export", "-o", file, NAME).status == 0
    desk.set_back({"metadata/timestamp.json": None})
    away = desk.sign(folder, SVEN, group="release")
    refused(away, "what is published cannot be seen")
    assert "--view FILE" in away.err
    shown = desk.review(folder, "--view", file)
    assert shown.out.startswith(f"compared with the view in {file}, as you verified it"), shown
    world.later(days=5)
    shown = desk.review(folder, "--view", file)
    assert shown.out.startswith("!!! THIS VIEW ENDED 4 DAYS AND 0 HOURS AGO"), shown
    assert desk.sign(folder, SVEN, "--view", file, group="release").status == 0
    forged = with_base(load(folder), CRATE, lambda signed: signed.update({"x": 1}))
    refused(desk.review(desk.hand_over(forged, "forged"), "--view", file), "is not what you verified")
    world.later(days=12)
    refused(desk.review(folder, "--view", file), "longer than 14 days ago")
    shutil.rmtree(desk.folder / "home" / "trust")
    world.later(days=-12)
    assert desk.review(folder, "--view", file, "--root", desk.folder / "root.json").status == 0
    both = desk.review(folder, "--view", file, "--insecure-base-from-folder")
    assert both.status == 2


# --- what the folder says is asked ---


def test_a_folder_is_called_what_it_does(world: World, desk: Desk) -> None:
    honest = world.owner_proposal(ownership.OwnerChanges(releasers=people(("rita", "sven", "mallory"), 2)))
    assert desk.review(desk.hand_over(honest, "honest")).status == 0
    for kind in ("release", "claim", "give-up"):
        lying = replace(honest, request=replace(honest.request, kind=kind))
        assert desk.review(desk.hand_over(lying, kind)).status == 1


def test_holders_do_not_sign_a_takeover_that_is_called_a_handover(world: World, desk: Desk) -> None:
    """The request says that the previous owners will sign; with the holders' signatures nobody needs theirs."""
    quiet = world.owner_proposal(ownership.OwnerChanges(owners=people(("mallory",), 1)))
    folder = desk.hand_over(quiet, "quiet")
    holder = world.ceremony.holders[0]
    refused(desk.sign(folder, holder), "the previous owners of demo-lib have not signed yet")
    assert signatures(folder, SHARD) == 0
    for name in ("alice", "bob", "mallory"):
        assert desk.sign(folder, person(name)).status == 0
    assert desk.sign(folder, holder).status == 0
    loud = world.owner_proposal(ownership.OwnerChanges(owners=people(("mallory",), 1)), takeover=True)
    folder = desk.hand_over(loud, "loud")
    ran = desk.sign(folder, holder, "--sign-again")
    assert ran.status == 0
    assert "!!! THIS IS A TAKEOVER" in ran.err


@pytest.mark.parametrize("name", ["targets/crates/8b/other/x.crate", "lines/demo-lib-9.9.9.json"])
def test_a_file_that_nothing_names_is_found_whatever_is_drafted(world: World, desk: Desk, name: str) -> None:
    proposals = {
        "release": world.release_proposal("1.0.1"),
        "owners": world.owner_proposal(ownership.OwnerChanges(releasers=people(("rita", "sven"), 2))),
        "give-up": ownership.give_up(world.published(), world.claim_request("give-up"), now=world.now),
    }
    (line,) = proposals["release"].lines.values()
    for kind, proposal in proposals.items():
        folder = desk.hand_over(proposal, kind)
        assert desk.review(folder).status == 0
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(line)
        assert desk.review(folder).status == 1


# --- what the drafts say beside what everybody looks at ---


def _custom(signed: Any) -> None:
    next(iter(signed["targets"].values()))["custom"]["trust-me"] = True


def _of_a_bundle(signed: Any) -> None:
    next(iter(signed["targets"].values()))["hashes"]["sha512"] = "ab" * 64


def _top(signed: Any) -> None:
    signed["x-more"] = {"rules": ["none"]}


def _inside(signed: Any) -> None:
    signed.setdefault("carnet", {})["more"] = 1


@pytest.mark.parametrize("edit", [_custom, _of_a_bundle, _top, _inside])
def test_what_no_sentence_speaks_of_is_shown_as_it_is(world: World, desk: Desk, edit: Callable[[Any], None]) -> None:
    honest = world.release_proposal("1.0.1")
    folder = desk.hand_over(honest, "honest")
    assert "ALSO IN WHAT YOU SIGN" not in desk.review(folder).out
    more = replace(honest, drafts={CRATE: edited(CRATE, honest.drafts[CRATE], edit)})
    ran = desk.review(desk.hand_over(more, "more"))
    assert "!!! ALSO IN WHAT YOU SIGN" in ran.out, ran


def test_a_changed_word_of_an_old_version_is_shown(world: World, desk: Desk) -> None:
    honest = world.release_proposal("1.0.1")

    def edit(signed: Any) -> None:
        signed["targets"][f"crates/{NAME.shard}/demo_lib/demo-lib-1.0.0.crate"]["custom"]["note"] = "yank me"

    more = replace(honest, drafts={CRATE: edited(CRATE, honest.drafts[CRATE], edit)})
    assert 'custom.note is "yank me"' in desk.review(desk.hand_over(more, "more")).out


def test_keys_of_everybody_are_shown_whole(world: World, desk: Desk) -> None:
    """Two teams of the same names and other keys do not read the same."""
    texts = []
    for keys in (("rita", "sven"), ("mallory", "evil")):
        members = [(name, person(key).public_key) for name, key in zip(("rita", "sven"), keys, strict=True)]
        proposal = world.owner_proposal(ownership.OwnerChanges(releasers=ownership.team(members, 1)))
        texts.append(desk.review(desk.hand_over(proposal, keys[0])).out)
        for _, key in members:
            assert key.keyid in texts[-1]
    assert "NEW KEY" not in texts[0]
    assert f"rita: ed25519 key {person('mallory').public_key.keyid}  (NEW KEY, it was" in texts[1]


def test_functionaries_of_a_layout_are_shown_by_their_keys(world: World, desk: Desk) -> None:
    """The same names, and every key is the attacker's: only the layout's digest told the two apart."""
    texts = []
    for whose in ("", "mallory's "):
        keys = {f"{name}.pub": make_key(f"{whose}{name}").public_key for name in ("alice", "bob", "robot")}
        text = fill_template(
            "minimal",
            {path.removesuffix(".pub"): (path,) for path in keys},
            {"tag": ("alice", "bob"), "package": ("robot",)},
        )
        files = {path: strictjson.canonical(key.to_object()) for path, key in keys.items()}
        made = compile_layout(text.encode(), files.__getitem__, now=world.now, what="layout")
        layout = ownership.NewLayout(Envelope(made.layout.to_payload()).to_bytes(), made.terms)
        proposal = world.owner_proposal(ownership.OwnerChanges(layout=layout))
        texts.append(desk.review(desk.hand_over(proposal, f"for {whose}")).out)
        for path, key in keys.items():
            assert f"{path.removesuffix('.pub')}: ed25519 key {key.keyid}" in texts[-1], texts[-1]
        assert made.layout.keys.keys() == {key.keyid for key in keys.values()}
    assert "step package: 1 of robot" in texts[0]
    assert "step package: 1 of robot" in texts[1]


# --- what was signed before ---


def test_one_version_is_not_signed_twice_differently(world: World, desk: Desk) -> None:
    first, second = (desk.hand_over(world.release_proposal(version), version) for version in ("1.0.1", "1.0.2"))
    assert desk.sign(first, SVEN, group="release").status == 0
    assert desk.sign(first, SVEN, group="release").status == 0, "the same content is no contradiction"
    refused(desk.sign(second, SVEN, group="release"), "you have signed another version 3 of crate.demo_lib")
    assert signatures(second, CRATE) == 0
    assert desk.sign(second, SVEN, "--sign-again", group="release").status == 0
    refused(desk.sign(first, SVEN, group="release"), "you have signed another version 3")


def test_a_lower_version_than_one_that_was_signed_is_never_signed(world: World, desk: Desk) -> None:
    """The registry shows the past to one signer, whose client has forgotten it."""
    past = desk.hand_over(world.release_proposal("1.0.1"), "past")
    before = {path: world.store.read(path) for path in ("metadata/timestamp.json",)}
    world.release("1.0.2")
    assert desk.sign(desk.hand_over(world.release_proposal("1.0.3"), "now"), SVEN, group="release").status == 0
    desk.set_back(before)
    refused(desk.sign(past, SVEN, "--sign-again", group="release"), "you have signed version 4 of crate.demo_lib")
    assert signatures(past, CRATE) == 0


def test_nothing_is_signed_when_it_cannot_be_remembered(
    world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = desk.hand_over(world.release_proposal("1.0.1"), "release")
    memory = desk.folder / "home" / "signed" / f"{desk.trust_id}.json"
    memory.parent.mkdir(mode=0o700)
    memory.write_text("{")
    refused(desk.sign(folder, SVEN, group="release"), "is damaged")
    assert signatures(folder, CRATE) == 0
