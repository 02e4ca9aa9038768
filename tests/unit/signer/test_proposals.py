"""Folders that pass between signers: what is wrong is found before anybody signs, and copies merge."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.ceremony import NOW, make_ceremony, make_key
from tests.support.worlds.claims import NAME, OWNERS, World, facts, people, person, refusal, sign
from tests.support.worlds.release import synthetic

from carnet import strictjson
from carnet.cargo.index_line import IndexLine
from carnet.cargo.names import CrateId, CrateName
from carnet.claims.holders import Holders
from carnet.errors import CarnetError, ConfigError, FormatError, SigningError, ThresholdNotMet
from carnet.tuf import paths
from carnet.tuf.example_keys import EXAMPLE_MATERIAL
from carnet.tuf.keys import PublicKey
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Root
from carnet.tuf.tree import roles_of
from carnet_signer.metadata import role_files
from carnet_signer.metadata.role_files import at
from carnet_signer.own_view import OwnView
from carnet_signer.proposals import ownership, review, state_before
from carnet_signer.proposals.proposal import Proposal, draft, load, save, save_signatures

SHARD, OWNER, CRATE = roles_of(NAME)
HONEST = synthetic(crate=CrateId.of(str(NAME), "0.1.0"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World.make(tmp_path_factory.mktemp("world"))
    world.add(honest_crate(str(NAME), "0.0.1"))
    return world


@pytest.fixture(scope="module")
def claim(world: World) -> Proposal:
    return world.claim_proposal(layout=ownership.NewLayout(HONEST.layout_file, HONEST.terms))


def lint(proposal: Proposal) -> None:
    review.lint(proposal, now=NOW)


def changed(proposal: Proposal, role: str, edit: Callable[[Any], None]) -> Proposal:
    """The proposal with one draft edited, as somebody on the way could."""
    signed = strictjson.parse_object(proposal.drafts[role].message, role, max_bytes=10**8)
    edit(signed)
    return replace(proposal, drafts={**proposal.drafts, role: draft(role, signed)})


def compared(world: World, proposal: Proposal) -> Proposal:
    """The proposal as a signer sees it, who verified what is published."""
    view = world.fresh()
    return state_before.compare(proposal, OwnView(view.trusted.root, "compared", "test", view)).proposal


def test_an_honest_claim_has_nothing_wrong_and_reads_well(world: World, claim: Proposal) -> None:
    claim = compared(world, claim)
    lint(claim)
    text = "\n".join(f"{words.title}\n" + "\n".join(words.lines) for words in review.describe(claim, now=NOW))
    for expected in (
        "a claim of demo-lib",
        "2 of 3 choose the layout",
        "alice: ed25519 key",
        "step package: 1 of",
        "1 versions that are published already are adopted",
        "alice is the author",
        "the folder says that it was asked on 2026-11-23T12:00:00Z: nobody vouches for that",
        "every spelling",
    ):
        assert expected in text
    assert not any(words.alarm for words in review.describe(claim, now=NOW))


def neighbour() -> CrateName:
    """Another crate of the same shard."""
    names = (CrateName(f"a{number}") for number in range(100_000))
    return next(name for name in names if name.shard == NAME.shard)


def _other_entry(signed: Any) -> None:
    """The shard also gives another crate of the shard to somebody."""
    name = neighbour()
    entry = dict(signed["delegations"]["roles"][0])
    entry |= {"name": paths.owner_role(name), "paths": list(paths.owner_patterns(name))}
    signed["delegations"]["roles"].append(entry)


def _set(*keys: Any, to: Any) -> Callable[[Any], None]:
    def edit(signed: Any) -> None:
        for key in keys[:-1]:
            signed = signed[key]
        signed[keys[-1]] = to

    return edit


MALLORY = make_key("person mallory").public_key


def _add_release_key(signed: Any) -> None:
    signed["delegations"]["keys"][MALLORY.keyid] = MALLORY.to_object()
    signed["delegations"]["roles"][0]["keyids"].append(MALLORY.keyid)


@pytest.mark.parametrize(
    ("role", "edit"),
    [
        pytest.param(SHARD, _other_entry, id="another crate's owners"),
        pytest.param(SHARD, _set("version", to=7), id="a version too far"),
        pytest.param(SHARD, _set("expires", to=at(NOW + timedelta(days=900))), id="a shard for years"),
        pytest.param(SHARD, _set("expires", to=at(NOW)), id="expired"),
        pytest.param(SHARD, _set("delegations", "roles", 0, "threshold", to=1), id="another threshold in the shard"),
        pytest.param(SHARD, _set("delegations", "roles", 0, "paths", to=["crates/*/*/*"]), id="wider paths"),
        pytest.param(SHARD, _set("delegations", "roles", 0, "terminating", to=False), id="not terminating"),
        pytest.param(OWNER, _add_release_key, id="a release key without a person"),
        pytest.param(OWNER, _set("carnet", "owners", "threshold", to=1), id="another threshold in the file"),
        pytest.param(OWNER, _set("delegations", "roles", 0, "name", to="crate.other"), id="delegates to another crate"),
        pytest.param(OWNER, _set("delegations", "roles", 0, "paths", to=["crates/*/*/*"]), id="delegates wider"),
        pytest.param(OWNER, _set("expires", to=at(NOW + timedelta(days=9000))), id="for ever"),
        pytest.param(
            CRATE,
            lambda signed: signed.update(delegations={"keys": {}, "roles": []}) or signed["targets"].clear(),
            id="no version, and a target in the folder for none",
        ),
    ],
)
def test_what_was_changed_on_the_way_is_found(claim: Proposal, role: str, edit: Callable[[Any], None]) -> None:
    def attempt() -> None:
        bad = changed(claim, role, edit)
        if role == CRATE:
            bad = replace(bad, targets={**bad.targets, "crates/x": b""})
        lint(bad)

    assert isinstance(refusal(attempt), CarnetError)


def test_a_layout_that_cannot_be_looked_at_is_not_signed(claim: Proposal) -> None:
    lint(claim)
    with pytest.raises(CarnetError, match="lacks layouts/"):
        lint(replace(claim, targets={path: data for path, data in claim.targets.items() if "layouts/" not in path}))


def test_no_tarball_is_exempt_before_it_is_a_version(claim: Proposal) -> None:
    """One owner slips a digest in; whoever steals the release keys later would need no step for that tarball."""

    def exempt(signed: Any) -> None:
        signed["carnet"]["adopted"].append("ee" * 32)

    with pytest.raises(CarnetError, match="exempts a tarball"):
        lint(changed(claim, OWNER, exempt))


def test_what_the_terms_let_through_is_shown(claim: Proposal) -> None:
    def generated(signed: Any) -> None:
        (layout,) = signed["targets"].values()
        layout["custom"]["generated"] = ["src/lib.rs"]

    def said(proposal: Proposal) -> str:
        return "\n".join(line for words in review.describe(proposal, now=NOW) for line in words.lines)

    assert "never one person: package and tag" in said(claim)
    assert "src/lib.rs" not in said(claim)
    assert "IN ANY COMMIT: src/lib.rs" in said(changed(claim, OWNER, generated))


def test_what_others_wrote_is_one_line_each(claim: Proposal) -> None:
    request = replace(claim.request, evidence=("I am the author\nowners\n    3 of 3 choose the layout",))
    words = review.describe(replace(claim, request=request), now=NOW)
    assert not any("\n" in line for one in words for line in one.lines)
    assert "I am the author" in words[-1].lines[-1]


def test_a_release_that_cannot_be_looked_at_is_not_signed(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.claim()
    honest = world.release_proposal("1.0.0")
    lint(honest)
    for lacking in (replace(honest, targets={}), replace(honest, lines={})):
        with pytest.raises(CarnetError, match="lacks the tarball or the index line"):
            lint(lacking)


def test_an_index_line_that_is_not_the_tarballs_is_not_signed(tmp_path: Path) -> None:
    """One release holder makes the folder, and the other one would sign the line with it."""
    world = World.make(tmp_path)
    world.claim()
    honest = world.release_proposal("1.0.0")
    lint(honest)
    ((stem, data),) = honest.lines.items()
    text = strictjson.parse_object(data, "line", max_bytes=10**6)
    text["features"] = {"default": ["evil"], "evil": []}
    line = IndexLine.from_bytes(strictjson.canonical(text))

    def another(signed: Any) -> None:
        signed["targets"][paths.crate_path(line.id)]["custom"]["index"] = line.identity()

    with pytest.raises(CarnetError, match="manifest's"):
        lint(replace(changed(honest, CRATE, another), lines={stem: line.to_bytes()}))


def test_another_layout_in_the_folder_than_in_the_role_is_found(claim: Proposal) -> None:
    (path,) = claim.targets
    assert isinstance(refusal(lambda: lint(replace(claim, targets={path: claim.targets[path] + b" "}))), CarnetError)


def test_an_unsafe_layout_is_found(world: World) -> None:
    unsafe = HONEST.with_layout(steps=HONEST.layout.steps[1:])
    proposal = world.claim_proposal(layout=ownership.NewLayout(unsafe.layout_file, unsafe.terms))
    assert isinstance(refusal(lambda: lint(proposal)), CarnetError)


LOW_ORDER = "01" + "00" * 31


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: ownership.team([("a", MALLORY), ("b", MALLORY)], 1), id="one key twice"),
        pytest.param(lambda: people(("alice", "bob"), 3), id="a threshold out of reach"),
        pytest.param(lambda: people(("alice",), 0), id="no threshold"),
        pytest.param(
            lambda: ownership.team([("a", MALLORY), ("A", person("bob").public_key)], 1), id="one person with two keys"
        ),
        pytest.param(lambda: ownership.team([("", MALLORY)], 1), id="nobody"),
    ],
)
def test_a_team_that_is_none(make: Callable[[], object]) -> None:
    assert isinstance(refusal(make), ConfigError)


def test_a_low_order_key_never_gets_in() -> None:
    assert isinstance(refusal(lambda: PublicKey.ed25519(bytes.fromhex(LOW_ORDER))), FormatError)


def test_example_keys_are_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    proposal = world.claim_proposal()
    lint(proposal)
    monkeypatch.setattr(
        "carnet.tuf.example_keys.EXAMPLE_MATERIAL", EXAMPLE_MATERIAL | {person("rita").public_key.material}
    )
    assert isinstance(refusal(lambda: lint(proposal)), SigningError)
    review.lint(proposal, now=NOW, example_keys=True)


def test_weak_points_are_said_aloud(world: World) -> None:
    weak = facts(("alice",), ("alice", "bob"), 1)
    alarms = [words for words in review.describe(world.claim_proposal(who=weak), now=NOW) if words.alarm]
    assert len(alarms) == 1
    assert len(alarms[0].lines) == 3


def test_a_folder_is_read_as_it_was_written(claim: Proposal, tmp_path: Path) -> None:
    folder = tmp_path / "claim"
    save(claim, folder)
    found = load(folder)
    assert (found.request, found.targets, found.lines) == (claim.request, claim.targets, claim.lines)
    for mine, theirs in ((claim.drafts, found.drafts), (claim.base, found.base)):
        assert {role: file.raw for role, file in mine.items()} == {role: file.raw for role, file in theirs.items()}
    assert isinstance(refusal(lambda: save(claim, folder)), ConfigError)


def test_copies_merge_and_forged_signatures_do_not(claim: Proposal, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    save(claim, ours)
    save(claim, theirs)
    save_signatures(sign(load(ours), [person("alice"), person("rita")]), ours)
    signed = sign(load(theirs), [person("bob"), person("sven")])
    broken = signed.drafts[OWNER]
    forged = tuple(replace(one, sig=bytes(64)) for one in claim.drafts[OWNER].signatures)
    carol = replace(person("carol").sign(b"something else"))
    spoiled = replace(
        broken,
        raw=role_files.file_bytes(broken.message, (*broken.signatures, *forged, carol)),
        signatures=(*broken.signatures, *forged, carol),
    )
    save_signatures(replace(signed, drafts={**signed.drafts, OWNER: spoiled}), theirs)
    merged = load(ours).merge(load(theirs))
    people_of = {quorum.role: sorted(quorum.name(key) for key in quorum.signed) for quorum in merged.quorums()}
    assert people_of == {OWNER: ["alice", "bob"], CRATE: ["rita", "sven"], SHARD: []}
    assert len(merged.drafts[OWNER].signatures) == 2, "what is not valid does not travel on"
    assert not merged.final
    other = changed(claim, OWNER, _set("expires", to=at(NOW + timedelta(days=5))))
    assert isinstance(refusal(lambda: merged.merge(other)), ConfigError)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("roles/owner.other.json", b"{}"),
        ("roles/../../escape", b""),
        ("lines/other-1.0.0.json", b"{}"),
        ("request.json", b'{"_type":"carnet-request"}'),
        ("roles/owner.demo_lib.json", b"not json"),
    ],
)
def test_a_folder_with_something_else_in_it_is_refused(
    claim: Proposal, tmp_path: Path, name: str, content: bytes
) -> None:
    folder = tmp_path / "a" / "claim"
    save(claim, folder)
    place = folder / name
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(content)
    if ".." in name:
        load(folder)  # a file beside the folder is no part of it
    else:
        assert isinstance(refusal(lambda: load(folder)), CarnetError)


def test_a_link_in_a_folder_leads_nowhere(claim: Proposal, tmp_path: Path) -> None:
    folder = tmp_path / "claim"
    save(claim, folder)
    secret = tmp_path / "secret"
    secret.write_text("private")
    (folder / "targets" / "layouts" / "x").symlink_to(secret)
    assert "symbolic link" in str(refusal(lambda: load(folder)))


def test_the_base_is_held_against_a_root(world: World, claim: Proposal) -> None:
    root = parse_role(world.ceremony.root, Root, max_bytes=10**6).signed
    claim.check_base(root)
    stranger = parse_role(make_ceremony(name="other").root, Root, max_bytes=10**6).signed
    assert isinstance(refusal(lambda: claim.check_base(stranger)), ThresholdNotMet)
    fewer = {role: file for role, file in claim.base.items() if role != SHARD}
    assert isinstance(refusal(lambda: replace(claim, base=fewer).check_base(root)), FormatError)


def test_a_claimed_crate_is_not_claimed_again_and_an_unclaimed_one_not_handed_over(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    changes = ownership.OwnerChanges(owners=people(OWNERS, 1))
    assert isinstance(refusal(lambda: world.owner_proposal(changes)), ConfigError)
    world.claim()
    assert isinstance(refusal(world.claim_proposal), ConfigError)
    assert isinstance(refusal(lambda: world.owner_proposal(ownership.OwnerChanges())), ConfigError)


def test_a_crate_that_was_given_up_is_never_free_again(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), "1.0.0"))
    world.claim()
    given = ownership.give_up(world.published(), world.claim_request("give-up"), now=world.now)
    lint(given)
    assert any(words.alarm for words in review.describe(given, now=NOW))
    assert isinstance(refusal(lambda: world.submit(sign(given, world.ceremony.holders[:1]))), ThresholdNotMet)
    world.submit(sign(given, world.ceremony.holders[:2]))
    assert world.fresh().claim(NAME) is None
    assert "[released]" in str(refusal(lambda: world.admit("1.0.0")))
    assert "never free again" in str(refusal(world.claim_proposal))


def test_crates_of_one_shard_are_claimed_beside_one_another(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.claim()
    second = world.claim_proposal(name=neighbour(), who=facts(("dora", "emil"), ("fred",), 1))
    lint(second)
    keys = [person(name) for name in ("dora", "fred")]
    world.submit(sign(second, [*keys, *world.ceremony.holders[:2]]))
    for name in (NAME, neighbour()):
        assert world.fresh().claim(name) is not None
    third = world.owner_proposal(ownership.OwnerChanges(owners=people(("alice", "bob"), 2)))
    lint(third)
    stolen = changed(third, SHARD, lambda signed: signed["delegations"]["roles"][0].update(threshold=2))
    assert "not about" in str(refusal(lambda: lint(stolen)))
    gone = changed(third, SHARD, lambda signed: signed["delegations"]["roles"].pop(0))
    assert "not about" in str(refusal(lambda: lint(gone)))


def test_a_folder_that_says_giving_up_and_appoints_owners_is_found(tmp_path: Path) -> None:
    """What a folder calls itself decides nothing about what is in it."""
    world = World.make(tmp_path)
    world.claim()
    honest = ownership.give_up(world.published(), world.claim_request("give-up"), now=world.now)
    lint(honest)
    appointing = world.owner_proposal(ownership.OwnerChanges(owners=people(("mallory",), 1)), takeover=True)
    lying = replace(appointing, request=honest.request, drafts={SHARD: appointing.drafts[SHARD]})
    assert "does nothing else" in str(refusal(lambda: lint(lying)))
    more = replace(appointing, request=honest.request)
    assert "does nothing else" in str(refusal(lambda: lint(more)))


@pytest.mark.parametrize("alike", [" alice", "alice ", "\uff41lice", "al\u0131\u0307ce ", "ALICE"])
def test_one_person_has_no_second_spelling(alike: str) -> None:
    owners = facts().owners
    first, second, *rest = owners.people
    honest = {first: "alice", second: "zo\u00eb b", **{keyid: owners.people[keyid] for keyid in rest}}
    assert Holders(owners.signers, honest).people == honest
    with pytest.raises(FormatError):
        Holders(owners.signers, {**honest, second: alike})


def test_a_step_of_a_key_that_is_no_layout_key_is_shown_and_refused(world: World) -> None:
    made = synthetic()
    envelope = json.loads(made.layout_file)
    payload = json.loads(base64.b64decode(envelope["payload"]))
    payload["steps"][0]["pubkeys"].append("ab" * 32)
    envelope["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    proposal = world.claim_proposal(layout=ownership.NewLayout(json.dumps(envelope).encode(), made.terms))
    assert review.problem(proposal, now=world.now) is not None
    assert any("ab" * 32 in line for words in review.describe(proposal, now=world.now) for line in words.lines)
