"""Copies of crates on this machine, and folders that are replaced as a whole: what systems and mirrors may answer."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import World

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import line_from_crate
from carnet.cargo.names import CrateId
from carnet.errors import CarnetError, ConfigError, FormatError, MetadataMismatch, StorageError, TransportError
from carnet_verifier.cargo import compared, copies, stamps, vendoring, whole_folder
from carnet_verifier.cargo.localregistry import Kept
from carnet_verifier.cargo.vendored import Checksums
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.route import Route
from carnet_verifier.net.wire import tls_context

LEAF = honest_crate("leaf", "1.0.0")
CRATE = read_crate(LEAF)
AWAY = TransportError("the server is away")
ABSENT = TransportError("answered 404", status=404)


def attributed(sha256: str = CRATE.sha256) -> Any:
    return SimpleNamespace(crate=CRATE.id, sha256=sha256)


# --- copies ---


def test_a_kept_tarball_is_the_one_that_is_vouched_for() -> None:
    assert compared._kept_of(LEAF, attributed()) == Kept.of(CRATE)
    with pytest.raises(MetadataMismatch, match="is not the one that is vouched for"):
        compared._kept_of(LEAF, attributed("0" * 64))


@pytest.mark.parametrize(
    ("answer", "state"), [(ABSENT, "undecided"), (FormatError("no tarball"), "undecided"), (AWAY, None)]
)
def test_what_a_mirror_does_not_give_is_undecided_and_a_mirror_that_is_away_ends_it(
    answer: Exception, state: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compared, "fetch_each", lambda *_: {CRATE.id: answer})
    copy: Any = SimpleNamespace(crate=CRATE.id)
    asked: Any = SimpleNamespace(repository=None)
    looking = compared._compare_fetched([(attributed(), [copy])], asked)
    if state is None:
        with pytest.raises(TransportError, match="away"):
            list(looking)
    else:
        (found,) = looking
        assert (found.state, found.error) == (state, answer)


@pytest.mark.parametrize("step", ["vouch", "attribute"])
def test_a_mirror_that_is_away_decides_nothing_about_a_copy(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: object) -> None:
        raise AWAY

    steps: Mapping[str, Any] = {"vouch": lambda item: item, "attribute": lambda vouched: vouched, step: away}
    monkeypatch.setattr(compared, "Metadata", lambda *_, **__: SimpleNamespace(**steps))
    asked: Any = SimpleNamespace(repository=None, checksums={}, now=datetime.now(UTC), index_files=None)
    copy: Any = SimpleNamespace(crate=CRATE.id, kind="tarball")
    with pytest.raises(TransportError, match="away"):
        list(compared._compare_some({CRATE.id: [copy]}, asked))


def test_a_folder_that_cannot_be_looked_into_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert copies._entries(tmp_path / "absent") == []

    def refuse(_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StorageError, match="cannot be looked into: permission denied"):
        copies._entries(tmp_path)


@pytest.mark.parametrize("files", ['{"a":1}', '{"a":null}', '{"a":["0"],"b":"0"}'])
def test_a_list_of_checksums_has_digests_alone(files: str) -> None:
    with pytest.raises(FormatError, match="something else than digests"):
        Checksums.from_bytes(b'{"package":null,"files":%s}' % files.encode())


@pytest.mark.parametrize("kept", [None, honest_crate("leaf", "1.0.0", extra="# other")])
def test_what_is_vendored_is_what_was_admitted(kept: bytes | None) -> None:
    registry: Any = SimpleNamespace(read=lambda crate, sha256: kept)
    admission: Any = SimpleNamespace(crate=CRATE.id, sha256=CRATE.sha256)
    with pytest.raises(MetadataMismatch, match="is not kept any more"):
        vendoring._data(registry, admission)


def test_what_is_vendored_has_the_dependencies_that_its_index_line_says() -> None:
    registry: Any = SimpleNamespace(read=lambda crate, sha256: LEAF)
    other = honest_crate("leaf", "1.0.0", extra='[dependencies]\ntwig = "1"\n')
    for data, same in ((LEAF, True), (other, False)):
        line = line_from_crate(read_crate(data), pubtime=None)
        admission: Any = SimpleNamespace(
            crate=CRATE.id, sha256=CRATE.sha256, line=line, attributed=SimpleNamespace(let_in=None)
        )
        if same:
            assert vendoring._read(registry, admission).id == CrateId.of("leaf", "1.0.0")
        else:
            with pytest.raises(CarnetError, match="the index promises"):
                vendoring._read(registry, admission)


# --- folders that are replaced ---


def replace_with(target: Path, text: str) -> None:
    with whole_folder.replacing(target) as new:
        (new / "file").write_text(text)


def test_a_system_that_exchanges_nothing_renames_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "vendor"
    replace_with(target, "old")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace())
    replace_with(target, "new")
    assert (target / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["vendor"]


def test_a_system_that_refuses_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(FileNotFoundError):
        whole_folder._exchange(tmp_path / "one", tmp_path / "absent")
    target = tmp_path / "vendor"
    replace_with(target, "old")

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(whole_folder, "_exchange", refuse)
    with pytest.raises(StorageError):
        replace_with(target, "new")
    assert (target / "file").read_text() == "old"


# --- what else the system may say ---


def test_a_file_that_cannot_be_written_back_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "_libc_function", lambda name: lambda *_: -1)
    with pytest.raises(OSError):  # noqa: PT011  -- whichever
        stamps.write_back(0)


def test_a_pinned_root_that_is_gone_is_told(tmp_path: Path) -> None:
    world = World.make(tmp_path / "world")
    trust = TrustDirectory.create(tmp_path / "trust", world.ceremony.root, "http://localhost/")
    assert trust.pinned == world.ceremony.root
    (trust.path / "pinned-root.json").unlink()
    with pytest.raises(StorageError, match="it is missing"):
        _ = trust.pinned


@pytest.mark.parametrize(("text", "why"), [(None, "there is no such file"), ("x", "no certificate in PEM form")])
def test_authorities_that_cannot_be_used_are_named(tmp_path: Path, text: str | None, why: str) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=why):
        tls_context(Route(ca_file=str(file)))
