"""Refusals that no honest mirror and no other test comes near: disks and networks that fail halfway."""

from __future__ import annotations

import os
import ssl
import threading
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.worlds.ceremony import NOW
from tests.support.worlds.claims import NAME, World

from carnet.cargo.index_file import IndexLine
from carnet.cargo.names import CrateId
from carnet.errors import CarnetError, ExpiredMetadata, FormatError, MetadataMismatch, TransportError
from carnet.tuf import paths
from carnet_verifier import admit
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.fetch import _Crew
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.net.spool import IN_MEMORY, Spool
from carnet_verifier.net.wire import Wire
from carnet_verifier.outcomes import Judged
from carnet_verifier.policy.policy import Policy
from carnet_verifier.releases.published_versions import read_published_versions
from carnet_verifier.tuf import saved_view
from carnet_verifier.tuf.repository import TrustedRepository
from carnet_verifier.tuf.roletree import RoleTree
from carnet_verifier.tuf.view import View

LOST = TransportError("the mirror is gone")


# --- nothing is decided ---


def fails() -> None:
    raise LOST


def test_a_look_up_that_decides_nothing_is_no_refusal_of_a_crate() -> None:
    assert isinstance(admit._tried(lambda: admit._found(FormatError("x"))), FormatError)
    with pytest.raises(TransportError):
        admit._tried(fails)


def test_a_crate_whose_tarball_is_not_to_be_had_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not refused either, and those after it are not looked at as if nothing had happened."""
    crate = CrateId.of("demo", "0.1.0")
    judged: Any = Judged.__new__(Judged)
    for name, value in (("waits_for_bytes", True), ("attributed", SimpleNamespace(crate=crate))):
        monkeypatch.setattr(Judged, name, value, raising=False)
    monkeypatch.setattr(admit, "_tried", lambda call: judged)
    monkeypatch.setattr(admit, "fetch_each", lambda repository, waiting, kept: {crate: LOST})
    monkeypatch.setattr(admit, "_look_up", lambda repository, wanted: ({}, {}))
    monkeypatch.setattr(admit, "_download_indexes", lambda repository, targets, cache: {})
    repository: Any = object()
    with pytest.raises(TransportError, match="the mirror is gone"):
        list(admit.admit_all(repository, [admit.Wanted(crate)], Policy(), None, now=NOW))


def answering(*answers: bytes | TransportError) -> Any:
    return SimpleNamespace(get_many=lambda wanted, **_: list(answers))


def test_files_that_are_fetched_together_are_all_there_or_none() -> None:
    repository = TrustedRepository.__new__(TrustedRepository)
    repository._fetcher = answering(b"a", b"b")
    assert [read() for read in repository.download_unlisted(["a", "b"], max_bytes=10)] == [b"a", b"b"]
    late: Any = [b"a", b"b"]
    repository._fetcher = SimpleNamespace(get_many=lambda wanted, **_: late)
    _, second = repository.download_unlisted(["a", "b"], max_bytes=10)
    late[1] = LOST  # an answer that came, and cannot be read back
    with pytest.raises(TransportError, match="the mirror is gone"):
        second()


def test_roles_that_are_fetched_together_are_all_there_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = RoleTree.__new__(RoleTree)
    tree._fetcher = answering(LOST)
    monkeypatch.setattr(RoleTree, "_role_url", lambda self, name: name)
    monkeypatch.setattr(RoleTree, "_most", lambda self, name: 10)
    tree._trusted = SimpleNamespace(meta=lambda name: None, read_promised=lambda *_: None)  # type: ignore[assignment]
    with pytest.raises(TransportError, match="the mirror is gone"):
        tree.files_of(["claims-00"])


# --- networks and disks ---


def test_a_call_that_is_over_asks_for_nothing_more() -> None:
    crew: Any = _Crew.__new__(_Crew)
    crew._lock, crew._asking, crew._failure = threading.Lock(), [], None
    connection: Any = object()
    crew.starts(connection)
    crew._failure = LOST
    with pytest.raises(TransportError, match="the call is over"):
        crew.starts(connection)


def test_a_large_answer_is_given_back_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool()
    spool.write(bytes(IN_MEMORY + 1))
    assert spool.on_disk
    assert len(spool.read()) == IN_MEMORY + 1
    assert spool._file is not None
    os.ftruncate(spool._file, IN_MEMORY)
    with pytest.raises(TransportError, match="is shorter than it was"):
        spool.read()

    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(TransportError, match="cannot be read back: Input/output error"):
        spool.read()


def test_a_broken_record_of_tls_is_no_end_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    wire: Any = Wire.__new__(Wire)
    wire.truncated = False
    tls: Any = SimpleNamespace(engine=None)

    def broken(self: Any, tls: Any, call: Any) -> bytes:
        error = ssl.SSLError(1, "bad record mac")
        error.reason = "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
        raise error

    monkeypatch.setattr(Wire, "_through", broken)
    with pytest.raises(ssl.SSLError, match="bad record mac"):
        wire._receive_tls(tls)
    assert not wire.truncated


# --- what is published, and what was saved of it ---


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    from tests.support.crates.archives import honest_crate

    world = World.make(tmp_path_factory.mktemp("world"))
    world.add(honest_crate(str(NAME), "0.9.0"))
    return world


def test_a_tarball_that_a_claim_would_adopt_is_the_one_in_the_signed_index(world: World) -> None:
    tarballs = {"good": None, "another": b"another"}

    def read(kind: str) -> Any:
        def get(path: str, *, max_bytes: int) -> bytes:
            line: IndexLine = world.index().lines[0]
            assert path == paths.download_path(line.id)
            stored = world.store.crates.version(line.id)
            assert stored is not None
            data = world.store.files.published(stored.path)
            assert data is not None
            return tarballs[kind] or world.store.files.read(data)

        return SimpleNamespace(repository=world.fresh(), fetcher=SimpleNamespace(get=get))

    found = read_published_versions(read("good"), NAME, lambda *_: nullcontext(lambda number: None))
    assert found is not None
    assert len(found.index.lines) == 1
    with pytest.raises(MetadataMismatch, match="is not the one in its signed index"):
        read_published_versions(read("another"), NAME, lambda *_: nullcontext(lambda number: None))


@pytest.mark.parametrize("delegations", [None, SimpleNamespace(succinct=None)])
def test_an_index_without_bins_says_nothing_of_a_crate(delegations: Any) -> None:
    index = SimpleNamespace(signed=SimpleNamespace(delegations=delegations))
    repository: Any = SimpleNamespace(role=lambda name: index)
    with pytest.raises(MetadataMismatch, match="index does not delegate to hash bins"):
        saved_view._bin_of(repository, NAME)


def test_a_saved_view_is_not_read_by_a_clock_that_went_back(world: World, tmp_path: Path) -> None:
    view = View(world.fresh(), ReadFetcher(world.store.read), "http://registry.test/")
    file = saved_view.save_view(view, [], [])
    trust = TrustDirectory.create(tmp_path / "trust", world.ceremony.root, "http://registry.test/")
    saved_view.read_saved_view(file, trust, now=world.now)
    trust.remember_refresh(world.now + timedelta(days=400))
    with pytest.raises(CarnetError, match="clock"):
        saved_view.read_saved_view(file, trust, now=world.now)


@pytest.mark.parametrize("ended", [paths.ROOT, paths.TARGETS])
def test_the_grace_of_a_saved_view_is_for_what_is_signed_online(
    world: World, ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What people sign has to be good now, not only at the moment before the timestamp ended."""

    def checked(role: str, signed: Any, now: Any) -> None:
        if role == ended:
            raise ExpiredMetadata(f"{role} ended")

    file = saved_view.save_view(View(world.fresh(), ReadFetcher(world.store.read), "http://x/"), [], [])
    assert saved_view.read_saved_view_from(file, world.ceremony.root, now=world.now)
    monkeypatch.setattr(saved_view, "check_unexpired", checked)
    with pytest.raises(ExpiredMetadata, match=ended):
        saved_view.read_saved_view_from(file, world.ceremony.root, now=world.now)
