"""A view in a file: everything in it is checked from a pinned root, and only its timestamp may have ended."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.ceremony import NOW, make_ceremony, sign_role
from tests.support.worlds.claims import NAME, World, person, refusal
from tests.support.worlds.waiting import edited as edited_draft
from tests.support.worlds.waiting import later, signed

from carnet import strictjson
from carnet.cargo.names import CrateName
from carnet.errors import (
    CarnetError,
    ExpiredMetadata,
    FormatError,
    MetadataError,
    RollbackDetected,
    ThresholdNotMet,
    TransportError,
)
from carnet.tuf import paths
from carnet.tuf.roles import RoleFile, Targets
from carnet.tuf.tree import roles_of
from carnet_signer.metadata.role_files import at
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.repository import TrustedRepository
from carnet_verifier.tuf.saved_view import GRACE, read_saved_view, read_saved_view_from, roles_to_save, save_view
from carnet_verifier.tuf.view import View

SHARD, OWNER, CRATE = roles_of(NAME)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World.make(tmp_path_factory.mktemp("world"))
    world.claim()
    return world


def saved(world: World, *names: CrateName) -> bytes:
    repository = world.fresh()
    view = View(repository, ReadFetcher(world.store.read), "http://registry.test/")
    return save_view(view, roles_to_save(repository, names), names)


@pytest.fixture(scope="module")
def file(world: World) -> bytes:
    return saved(world, NAME)


def edited(file: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    whole = strictjson.parse_object(file, "it", max_bytes=10**8)
    files = {path: base64.b64decode(str(text)) for path, text in dict(whole["files"]).items()}  # type: ignore[arg-type]
    change(files)
    listed = {path: base64.b64encode(data).decode() for path, data in files.items()}
    return strictjson.encode({**whole, "files": listed})


def test_what_was_saved_is_what_was_verified(world: World, file: bytes) -> None:
    found = read_saved_view_from(file, world.ceremony.root, now=world.now)
    assert found.ended == timedelta(0)
    for role in (paths.TARGETS, paths.CLAIMS, SHARD, OWNER, CRATE):
        assert found.repository.role(role).raw == world.fresh().role(role).raw
    other = paths.claims_shard_role(next(shard for shard in paths.SHARDS if shard != NAME.shard))
    assert isinstance(refusal(lambda: found.repository.role(other)), TransportError)


def test_without_names_everything_that_people_sign_is_in_it(world: World) -> None:
    found = read_saved_view_from(saved(world), world.ceremony.root, now=world.now).repository
    roles = [paths.INDEX, *(paths.claims_shard_role(shard) for shard in paths.SHARDS), OWNER, CRATE]
    assert [found.role(role).signed.version for role in roles] == [world.fresh().version(role) for role in roles]


def test_a_timestamp_may_have_ended_for_a_while(world: World, file: bytes) -> None:
    ends = world.fresh().trusted.timestamp.signed.expires
    for ended in (timedelta(0), timedelta(days=3), GRACE):
        found = read_saved_view_from(file, world.ceremony.root, now=ends + ended)
        assert found.ended == ended
        assert found.repository.role(CRATE).signed.version == 1
    late = ends + GRACE + timedelta(seconds=1)
    assert isinstance(refusal(lambda: read_saved_view_from(file, world.ceremony.root, now=late)), ExpiredMetadata)


def test_what_people_signed_has_not_ended(tmp_path: Path) -> None:
    """Root and targets: the grace is for what the online keys sign."""
    world = World.make(tmp_path)
    world.later(days=88, hours=12)
    world.add()
    file = saved(world)
    world.later(days=2)
    why = refusal(lambda: read_saved_view_from(file, world.ceremony.root, now=world.now))
    assert isinstance(why, ExpiredMetadata)
    assert "targets expired" in str(why)


def _spoil(role: str) -> Callable[[dict[str, Any]], None]:
    def change(files: dict[str, Any]) -> None:
        (path,) = (path for path in files if path.endswith(f"{role}.json"))
        files[path] = files[path].replace(b'"version":', b'"version": ')

    return change


def _drop(ending: str) -> Callable[[dict[str, Any]], None]:
    def change(files: dict[str, Any]) -> None:
        (path,) = (path for path in files if path.endswith(ending))
        del files[path]

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_spoil("snapshot"), id="another snapshot"),
        pytest.param(_spoil(CRATE), id="another crate role"),
        pytest.param(_drop("timestamp.json"), id="no timestamp"),
        pytest.param(_drop("snapshot.json"), id="no snapshot"),
        pytest.param(lambda files: files.update({"metadata/2.root.json": files["metadata/1.root.json"]}), id="a root"),
    ],
)
def test_what_was_changed_on_the_way_is_refused(
    world: World, file: bytes, change: Callable[[dict[str, Any]], None]
) -> None:
    def look() -> object:
        return read_saved_view_from(edited(file, change), world.ceremony.root, now=world.now).repository.role(CRATE)

    assert isinstance(refusal(look), CarnetError)


def test_from_another_root_nothing_is_believed(world: World, file: bytes) -> None:
    stranger = make_ceremony(name="other").root
    assert isinstance(refusal(lambda: read_saved_view_from(file, stranger, now=world.now)), ThresholdNotMet)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"_type":"carnet-view","version":1,"files":{"a":1}}'])
def test_what_is_no_saved_view_is_called_so(world: World, data: bytes) -> None:
    assert isinstance(refusal(lambda: read_saved_view_from(data, world.ceremony.root, now=world.now)), FormatError)


def test_an_older_file_than_one_that_was_taken_is_refused(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    trust = TrustDirectory.create(tmp_path / "trust", world.ceremony.root, "http://registry.test/")
    old = saved(world, NAME)
    world.claim()
    new = saved(world, NAME)
    assert read_saved_view(old, trust, now=world.now).repository.version(CRATE) is None
    assert read_saved_view(new, trust, now=world.now).repository.version(CRATE) == 1
    why = refusal(lambda: read_saved_view(old, TrustDirectory.open(trust.path), now=world.now))
    assert isinstance(why, RollbackDetected)
    assert isinstance(why, MetadataError)


def test_roles_that_nobody_renewed_come_along_and_are_told(tmp_path: Path) -> None:
    """A neighbour's shard says of them what there is; without their files nobody could sign it."""
    world = World.make(tmp_path)
    over = NOW + timedelta(days=10)
    proposal = world.claim_proposal()
    for role in (OWNER, CRATE):
        proposal = edited_draft(proposal, role, lambda signed: signed.update(expires=at(over)))
    world.submit(signed(world, proposal))
    assert read_saved_view_from(saved(world, NAME), world.ceremony.root, now=world.now).expired == ()
    later(world, days=11)
    data = saved(world, NAME)
    found = read_saved_view_from(data, world.ceremony.root, now=world.now)
    assert found.expired == ((CRATE, over), (OWNER, over))
    ours, theirs = (view.claimed_files([SHARD]) for view in (found.repository, world.fresh()))
    assert {role: file.raw for role, file in ours.items()} == {role: file.raw for role, file in theirs.items()}
    assert isinstance(refusal(lambda: found.repository.role(CRATE)), ExpiredMetadata), "no build takes it for all that"
    assert saved(world), "all of the registry, one expired claim among it"


def test_an_expired_role_that_somebody_else_signed_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World.make(tmp_path)
    world.claim()
    honest = TrustedRepository.claimed_files

    def forged(view: TrustedRepository, shards: Iterable[str]) -> dict[str, RoleFile[Targets]]:
        return {role: replace(file, signatures=()) for role, file in honest(view, shards).items()}

    monkeypatch.setattr(TrustedRepository, "claimed_files", forged)
    assert isinstance(refusal(lambda: saved(world, NAME)), ThresholdNotMet)


def sign_again(world: World, role: str, *, ends: timedelta) -> None:
    file = world.fresh().role(role)
    keys = [person("alice"), person("bob")] if role == OWNER else world.ceremony.holders[:2]
    body = {**file.body, "version": file.signed.version + 1, "expires": at(world.now + ends)}
    world.publish_roles({role: sign_role(body, keys)})


@pytest.mark.parametrize("role", [paths.CLAIMS, SHARD, OWNER])
def test_what_people_sign_is_not_out_of_date_for_as_long_as_a_timestamp(tmp_path: Path, role: str) -> None:
    """Ninety days are what holds whoever has the online keys: in a file they are not a hundred and four."""
    world = World.make(tmp_path)
    world.claim()
    sign_again(world, role, ends=timedelta(days=2))
    file = saved(world, NAME)
    found = read_saved_view_from(file, world.ceremony.root, now=world.now + timedelta(days=2, seconds=-1))
    assert found.ended > timedelta(0)
    assert found.repository.role(role)
    afterwards = read_saved_view_from(file, world.ceremony.root, now=world.now + timedelta(days=3)).repository
    with pytest.raises(ExpiredMetadata, match="expired at 2026-11-25"):
        afterwards.role(role)
