"""A co-holder who drafts "a new registry" with the keys of an old one, whose online keys they have.

A signature does not say which registry it is for. First versions of every role are an empty registry under the old root
as well: no claim, no release. So are those of a crate, to whoever claims it in two registries with one key.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.machines.command import Ran
from tests.support.worlds.ceremony import NOW, TestKey, make_key, sign_role
from tests.support.worlds.claims import World, people, refusal
from tests.support.worlds.signing import Desk

from carnet.errors import StorageError
from carnet.strictjson import JsonObject
from carnet.tuf import paths
from carnet.tuf.read import parse_role
from carnet.tuf.roles import RoleFile, Targets
from carnet_cli.config import home
from carnet_signer.ceremony import ceremony as ceremonies
from carnet_signer.ceremony import folder as ceremony_folder
from carnet_signer.ceremony import state_before, words
from carnet_signer.metadata.role_files import at
from carnet_signer.proposals import ownership, review
from carnet_signer.signed_before import SignedBefore

HOLDER = make_key("holder-1")
OTHER = make_key("holder-2")
SHARD = "claims-8b"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.make(tmp_path_factory.mktemp("world"))


@pytest.fixture
def desk(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk.make(tmp_path / "desk", monkeypatch, world.ceremony.root, world.store.read, lambda: world.now)


def new_registry(world: World, folder: Path, *holders: TestKey) -> Path:
    """What a co-holder drafts: the first version of another registry."""
    names = tuple(ceremonies.Holder(one.name, one.public_key) for one in holders)
    online = (ceremonies.Holder("online", make_key("online of another").public_key),)
    ceremony_folder.create(folder, ceremonies.start(ceremonies.Plan(names, 2, online, 1), world.now))
    return folder


def sign(desk: Desk, folder: Path, key: TestKey, *more: object) -> Ran:
    return desk.sign(folder, key, *more, group="root")


def refused(ran: Ran, reason: str) -> None:
    assert ran.status == 3, ran
    assert reason in ran.err, ran
    assert "new keys" in ran.err
    assert "--sign-again" in ran.err
    assert "Traceback" not in ran.err


def test_a_first_version_is_not_signed_with_a_key_of_a_registry_that_is_trusted(world: World, desk: Desk) -> None:
    folder = new_registry(world, desk.folder / "new", HOLDER, OTHER)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    refused(sign(desk, folder, HOLDER), f"signs for the repository {desk.trust_id} that you trust")
    refused(sign(desk, folder, HOLDER, "--insecure-base-from-folder"), "that you trust, and this is the first version")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not (home.home() / "signed").exists()
    ran = sign(desk, folder, HOLDER, "--sign-again")
    assert ran.status == 0, ran
    assert ran.out.startswith(state_before.FIRST)


def test_a_first_version_is_not_signed_with_a_key_that_signed_more_elsewhere(world: World, desk: Desk) -> None:
    """Nothing is trusted on this machine any more; what the key signed is remembered all the same."""
    begun = desk.folder / "begun"
    begun.mkdir()
    for role, data in world.ceremony.files.items():
        (begun / paths.metadata_name(role, 1)).write_bytes(data)
    found = ceremony_folder.read(begun)
    for name, data in ceremonies.advance(found, ceremonies.plan_of(found), NOW, new_root=True).items():
        (begun / name).write_bytes(data)
    assert sign(desk, begun, HOLDER).status == 0
    shutil.rmtree(home.trust_path(desk.trust_id))
    folder = new_registry(world, desk.folder / "new", HOLDER, OTHER)
    refused(sign(desk, folder, HOLDER), "has signed version 2 of claims in another repository, and this is version 1")
    fresh = [make_key("fresh-1"), make_key("fresh-2")]
    ran = sign(desk, new_registry(world, desk.folder / "fresh", *fresh), fresh[0])
    assert ran.status == 0, ran


def test_a_key_by_another_id_is_shown(tmp_path: Path, world: World) -> None:
    """A field more in a key's object: the same key, by another id. Nobody joins, and nobody leaves."""
    for role, data in world.ceremony.files.items():
        (tmp_path / paths.metadata_name(role, 1)).write_bytes(data)
    found = ceremony_folder.read(tmp_path)
    drafts = ceremonies.advance(found, ceremonies.plan_of(found), NOW, new_root=True)
    signed = json.loads(drafts["2.claims.json"])["signed"]
    key = {**HOLDER.public_key.to_object(), "x": "anything"}
    other = type(HOLDER.public_key).from_object(key).keyid
    signed["delegations"]["keys"] = {
        (other if keyid == HOLDER.public_key.keyid else keyid): (key if keyid == HOLDER.public_key.keyid else one)
        for keyid, one in signed["delegations"]["keys"].items()
    }
    for entry in signed["delegations"]["roles"]:
        entry["keyids"] = [other if keyid == HOLDER.public_key.keyid else keyid for keyid in entry["keyids"]]
    after = ceremony_folder.overlay(found, {**drafts, "2.claims.json": sign_role(signed, [])})
    text = "\n".join(words.describe(after, ["claims"], NOW))
    assert f"key id {other}, it was {HOLDER.public_key.keyid}" in text
    assert '"x":"anything"' in text
    assert "none but the expiry" not in text


def test_another_registry_id_of_an_owner_role_is_shown(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    world.claim()
    proposal = world.owner_proposal(ownership.OwnerChanges(owners=people(("mallory",), 1)))
    owner = paths.owner_role(proposal.crate)
    signed = json.loads(proposal.drafts[owner].message)
    before = signed["carnet"]["registry"]
    signed["carnet"]["registry"] = "another"
    changed = replace(proposal, drafts={**proposal.drafts, owner: parse_role(sign_role(signed, []), Targets)})
    text = "\n".join(line for one in review.describe(changed, now=world.now) for line in one.lines)
    assert f"it belongs to the registry another; IT WAS {before}" in text


# --- the memory, role by role ---


def drafted(role: str, version: int, *, days: int = 30) -> dict[str, RoleFile[Targets]]:
    expires = at(NOW + timedelta(days=days))
    signed: JsonObject = {
        "_type": "targets",
        "spec_version": "1.0.31",
        "version": version,
        "expires": expires,
        "targets": {},
    }
    return {role: parse_role(sign_role(signed, []), Targets)}


Memory = Callable[[str | None], SignedBefore]


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return lambda repository: SignedBefore(tmp_path / "signed", repository, HOLDER.public_key)


@pytest.mark.parametrize("role", [SHARD, "claims", "crate.serde", "owner.serde"])
@pytest.mark.parametrize("repository", ["another", None])
def test_what_is_below_what_a_key_signed_elsewhere_is_refused(
    memory: Memory, role: str, repository: str | None
) -> None:
    """A first claim in a second registry is the same trick with a crate's roles; so is a version in the middle."""
    memory("one").remember(drafted(role, 37))
    for version in (1, 36):
        error = refusal(lambda: memory(repository).check(drafted(role, version)))  # noqa: B023 -- called at once
        assert f"has signed version 37 of {role} in another repository, and this is version {version}" in str(error)
    error = refusal(lambda: memory(repository).remember(drafted(role, 37, days=31)))
    assert "in another repository, and this is version 37" in str(error)
    memory(repository).remember(drafted(role, 37))  # the same file: as when the first version is trusted later
    memory("one").remember(drafted(role, 38))


def test_another_key_of_the_same_user_may_begin(memory: Memory, tmp_path: Path) -> None:
    memory("one").remember(drafted(SHARD, 37))
    SignedBefore(tmp_path / "signed", "another", OTHER.public_key).remember(drafted(SHARD, 1))


def test_a_key_is_known_by_its_material(memory: Memory, tmp_path: Path) -> None:
    memory("one").remember(drafted(SHARD, 37))
    same = type(HOLDER.public_key).from_object({**HOLDER.public_key.to_object(), "x": "1"})
    assert same.keyid != HOLDER.public_key.keyid
    refusal(lambda: SignedBefore(tmp_path / "signed", "another", same).check(drafted(SHARD, 1)))


def test_who_shares_a_key_between_two_registries_says_so_once(memory: Memory) -> None:
    memory("one").remember(drafted(SHARD, 37))
    memory("another").remember(drafted(SHARD, 1), again=True)
    memory("another").remember(drafted(SHARD, 2))
    assert "you have signed another version 2" in str(
        refusal(lambda: memory("another").check(drafted(SHARD, 2, days=31)))
    )
    assert "you have signed version 2" in str(refusal(lambda: memory("another").check(drafted(SHARD, 1))))
    refusal(lambda: memory("a third").check(drafted(SHARD, 3)))


def test_who_does_not_say_which_registry_it_is_says_so_each_time(memory: Memory) -> None:
    memory("one").remember(drafted(SHARD, 37))
    memory(None).remember(drafted(SHARD, 1), again=True)
    refusal(lambda: memory(None).check(drafted(SHARD, 2)))


@pytest.mark.parametrize("data", [b"{}", b'{"_type":"carnet-signed-by-key","version":1,"roles":{"a":{"b":{}}}}', b"x"])
def test_a_damaged_memory_of_a_key_stops_all_signing(memory: Memory, tmp_path: Path, data: bytes) -> None:
    memory("one").remember(drafted(SHARD, 37))
    (path,) = (tmp_path / "signed" / "keys").iterdir()
    path.write_bytes(data)
    error = refusal(lambda: memory("one").check(drafted(SHARD, 38)))
    assert isinstance(error, StorageError)
    assert f"{path} is damaged" in str(error)
    assert path.read_bytes() == data
