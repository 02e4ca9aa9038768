"""Whoever hands a ceremony's folder to a holder, and lies in it about what is published."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.machines.command import Ran, carnet
from tests.support.worlds.ceremony import NOW, Ceremony, TestKey, make_key, sign_role
from tests.support.worlds.changes import signed_of
from tests.support.worlds.claims import NAME, World
from tests.support.worlds.signing import Desk

from carnet.tuf import paths
from carnet_signer.ceremony import folder as ceremony_folder
from carnet_signer.ceremony import state_before
from carnet_signer.ceremony.ceremony import advance, plan_of
from carnet_signer.metadata import role_files

HOLDER = make_key("holder-1")
MALLORY = make_key("person mallory")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.make(tmp_path_factory.mktemp("world"))


@pytest.fixture
def desk(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk.make(tmp_path / "desk", monkeypatch, world.ceremony.root, world.store.read, lambda: world.now)


def begun(ceremony: Ceremony, folder: Path) -> Path:
    """The folder of the ceremony that began the repository."""
    folder.mkdir()
    for role, data in ceremony.files.items():
        (folder / paths.metadata_name(role, 1)).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def drafts(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The next version of every offline role, unsigned, by file name."""
    found = ceremony_folder.read(begun(world.ceremony, tmp_path_factory.mktemp("ceremony") / "cer"))
    return advance(found, plan_of(found), NOW, new_root=True)


@pytest.fixture
def rotated(world: World, desk: Desk, drafts: dict[str, bytes]) -> Callable[[str], Path]:
    """Makes the folder of the ceremony, with the next versions."""

    def make(name: str) -> Path:
        folder = begun(world.ceremony, desk.folder / name)
        for file, data in drafts.items():
            (folder / file).write_bytes(data)
        return folder

    return make


def edit(path: Path, change: Callable[[Any], None], keys: tuple[TestKey, ...] = ()) -> None:
    signed = signed_of(path.read_bytes())
    change(signed)
    path.write_bytes(sign_role(signed, keys))


def sign(desk: Desk, folder: Path, *more: object) -> Ran:
    return desk.sign(folder, HOLDER, *more, group="root")


def refused(ran: Ran, reason: str) -> None:
    assert ran.status != 0, ran
    assert reason in ran.err, ran
    assert "Traceback" not in ran.err


def test_the_next_version_of_an_honest_folder_is_signed(
    world: World, desk: Desk, rotated: Callable[[str], Path]
) -> None:
    folder = rotated("cer")
    ran = sign(desk, folder)
    assert ran.status == 0, ran
    assert ran.out.startswith("compared with what http://registry.test/ has published")
    assert "signed 260 files" in ran.err


def test_a_first_version_says_that_it_has_nothing_before_it(world: World, desk: Desk) -> None:
    files = {role: sign_role(signed_of(data), []) for role, data in world.ceremony.files.items()}
    other = {**files, paths.ROOT: sign_role(signed_of(files[paths.ROOT]) | {"x": 1}, [])}
    folder = begun(replace(world.ceremony, files=other), desk.folder / "other")
    refused(sign(desk, folder), "that you trust, and this is the first version of another one")
    ran = sign(desk, folder, "--sign-again")
    assert ran.status == 0, ran
    assert ran.out.startswith(state_before.FIRST)
    assert "ALSO IN WHAT YOU SIGN: root: x is 1" in ran.out


def test_the_first_version_of_a_repository_that_began_long_ago_is_not_signed_again(world: World, desk: Desk) -> None:
    """One file of the folder is another one, and all signatures are gone, as if nothing had been published yet."""
    folder = begun(world.ceremony, desk.folder / "cer")
    for path in folder.iterdir():
        edit(path, lambda _: None)
    edit(folder / "1.claims-07.json", lambda signed: signed.update({"x-more": 1}))
    refused(sign(desk, folder), "version 1 of claims-07 in the folder is not the one that is published")


def _grant(signed: Any) -> None:
    """Mallory decides alone about the shards: in the forged version before as in the next one, so nothing changes."""
    signed["delegations"]["keys"][MALLORY.public_key.keyid] = MALLORY.public_key.to_object()
    for entry in signed["delegations"]["roles"]:
        entry |= {"keyids": [MALLORY.public_key.keyid], "threshold": 1}


def test_a_forged_version_before_is_not_compared_with(world: World, desk: Desk, rotated: Callable[[str], Path]) -> None:
    folder = rotated("cer")
    for version in (1, 2):
        edit(folder / f"{version}.claims.json", _grant)
    believed = sign(desk, folder, "--insecure-base-from-folder")
    assert believed.out.startswith("!!! NOT COMPARED WITH WHAT IS PUBLISHED"), believed
    assert "mallory" not in believed.out
    refused(sign(desk, folder), "version 1 of claims in the folder is not the one that is published")
    honest = rotated("honest")
    edit(honest / "2.claims.json", _grant)
    ran = sign(desk, honest, "--sign-again")
    assert f"the unnamed key {MALLORY.public_key.keyid} joins" in ran.out, ran


def test_a_forged_root_before_is_not_compared_with(world: World, desk: Desk, rotated: Callable[[str], Path]) -> None:
    """The root before, forged, has Mallory among its holders already: she would count as one of those before."""
    folder = rotated("cer")

    def join(signed: Any) -> None:
        signed["keys"][MALLORY.public_key.keyid] = MALLORY.public_key.to_object()
        for role in ("root", "targets"):
            signed["roles"][role]["keyids"].append(MALLORY.public_key.keyid)

    for version in (1, 2):
        edit(folder / f"{version}.root.json", join, world.ceremony.holders[:2] if version == 1 else ())
    refused(sign(desk, folder), "version 1 of root in the folder is not the one that is published")


def test_what_was_published_meanwhile_is_not_overlooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.make(tmp_path)
    desk = Desk.make(tmp_path / "desk", monkeypatch, world.ceremony.root, world.store.read, lambda: world.now)
    folder = begun(world.ceremony, desk.folder / "cer")
    assert carnet("root", "rotate", folder, "--new-root").status == 0
    world.claim()
    refused(sign(desk, folder), "is not the one that is published")
    later = begun(world.ceremony, desk.folder / "later")
    shard = world.published().shard
    (later / paths.metadata_name(paths.claims_shard_role(NAME.shard), shard.signed.version)).write_bytes(shard.raw)
    assert carnet("root", "rotate", later, "--new-root", "--keep-shards").status == 0
    assert sign(desk, later).status == 0


def test_one_version_is_not_signed_twice_differently(world: World, desk: Desk, rotated: Callable[[str], Path]) -> None:
    first, second = (rotated(name) for name in ("first", "second"))
    assert sign(desk, first).status == 0
    assert sign(desk, second).status == 0, "the same files, from another hand"
    other = rotated("other")

    def sooner(signed: Any) -> None:
        signed["expires"] = role_files.at(world.now + timedelta(days=20))

    edit(other / "2.claims-07.json", sooner)
    refused(sign(desk, other), "you have signed another version 2 of claims-07")
    assert json.loads((other / "2.claims-07.json").read_bytes())["signatures"] == []
    ran = sign(desk, other, "--sign-again")
    assert ran.status == 0, ran
    assert "claims-07, version 2, until 2026-12-13" in ran.out
