"""What was moved is remembered in its new place once it is what the mirror needs, or nothing is changed."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.test_mirror_crash import Killer, in_child
from tests.support.registries.mirror_process import now_in_seconds, quiet
from tests.support.worlds.ceremony import make_ceremony, make_key
from tests.support.worlds.online import OracleSigner
from tests.unit.mirror.test_backup import Site

from carnet.errors import ConfigError, SigningError, StorageError
from carnet_cli.commands.registry.online_signer import OnlineSettings, signed_last
from carnet_mirror.backup.relocate import NewPlace, relocate
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.state.store import Store
from carnet_mirror.upkeep import sign_again
from carnet_signer.online.memory import copy_memory, versions_in


class Named(OracleSigner):
    """It says which key it has, as the signer's process does in its first line."""

    keyids: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("relocate"), make_ceremony(bit_length=1, now=now_in_seconds()))
    site.make()
    shutil.copytree(site.memory, site.folder / "older")
    with Store.open(site.mirror, write=True) as store:
        with site.signer() as signer:
            sign_again(store, signer, now=site.now)
        with store.change():
            OnlineSettings("/before/online", site.memory).remember(store)
    return site


@pytest.fixture
def site(template: Site, tmp_path: Path) -> Site:
    shutil.copytree(template.folder, tmp_path / "site")
    return Site(tmp_path / "site", template.ceremony)


def moved(site: Site, memory: str = "memory", key: str = "online", before: str | None = None) -> None:
    @contextlib.contextmanager
    def connect() -> Iterator[Named]:
        signer = Named(make_key(key), site.folder / memory)
        signer.keyids = (make_key(key).public_key.keyid,)
        try:
            yield signer
        finally:
            signer.close()

    def place(_: Store) -> NewPlace:
        known = {} if before is None else versions_in(copy_memory(site.folder / before))
        return NewPlace(connect, OnlineSettings("/after/online", site.folder / memory).remember, known)

    relocate(site.mirror, place, now=site.now)


def remembered(site: Site) -> tuple[str | None, str | None]:
    with Store.open(site.mirror) as store:
        return store.setting("online-key"), store.setting("online-memory")


def test_what_was_moved_is_remembered_and_once_more_changes_nothing(site: Site) -> None:
    before = site.versions()
    for _ in range(2):
        moved(site, before="older")
        assert remembered(site) == ("/after/online", str(site.folder / "memory"))
    assert site.versions() == before, "nothing is signed"
    with Store.open(site.mirror, write=True) as store, site.signer() as signer:
        sign_again(store, signer, now=site.now)


@pytest.mark.parametrize(
    ("memory", "key", "before", "said"),
    [
        ("memory", "another", None, "this is not the mirror's online key"),
        ("older", "online", None, "its memory is lost, or an older copy"),
        ("new", "online", None, "its memory is lost, or an older copy"),
        ("memory", "online", "newer", "the memory that is named ends with timestamp 2, and .* knows of timestamp 3"),
    ],
)
def test_another_key_or_an_older_memory_changes_nothing(
    memory: str, key: str, before: str | None, said: str, site: Site
) -> None:
    """The last: a publish that was given up is in the memory that was left behind, and nothing published says so."""
    if before is not None:
        shutil.copytree(site.memory, site.folder / before)
        log = site.folder / before / "signed.log"
        log.write_bytes(
            log.read_bytes() + log.read_bytes().splitlines(True)[-1].replace(b'"version":2', b'"version":3')
        )
    first = remembered(site)
    with pytest.raises(SigningError, match=said) as no:
        moved(site, memory, key, before)
    assert no.value.hint
    assert remembered(site) == first


def test_beside_a_serve_nothing_is_changed(site: Site) -> None:
    """It has started a signer with the key as it lay before, and would go on with that."""
    with Store.open(site.mirror), pytest.raises(StorageError, match="is in use"):
        moved(site)
    with pytest.raises(ConfigError, match="holds no mirror"):
        relocate(site.folder / "older", lambda _: pytest.fail("nothing to ask about"), now=site.now)


def test_killed_it_remembers_one_of_both_and_goes_through_again(site: Site) -> None:
    counting = Killer(0)
    shutil.copytree(site.mirror, site.folder / "kept")
    with counting.armed(None):
        moved(site)
    shutil.rmtree(site.mirror)
    for point in (counting.seen // 2, counting.seen):
        shutil.copytree(site.folder / "kept", site.mirror)

        def killed(point: int = point) -> None:
            with Killer(point).armed(None):
                moved(site)

        in_child(killed)
        assert remembered(site)[0] in {"/before/online", "/after/online"}
        moved(site)
        assert remembered(site)[0] == "/after/online"
        shutil.rmtree(site.mirror)


# --- what a person says of it ---


def test_what_is_not_said_stays_and_a_memory_beside_the_key_is_found(tmp_path: Path) -> None:
    before = OnlineSettings("/before/online", Path("/before/memory"), example_keys=True)
    key, memory = tmp_path / "online", tmp_path / "online.memory"
    assert before.moved(str(key), None, None).memory == Path("/before/memory")
    memory.mkdir()
    assert before.moved(str(key), None, None) == OnlineSettings(str(key), memory, example_keys=True)
    assert before.moved(None, tmp_path, None) == OnlineSettings("/before/online", tmp_path, example_keys=True)
    socket = before.moved(None, None, tmp_path / "sock")
    assert socket == OnlineSettings(socket=tmp_path / "sock", example_keys=True)
    assert socket.moved(str(key), None, None) == OnlineSettings(str(key), memory, example_keys=True)


@pytest.mark.parametrize(
    ("before", "said", "words"),
    [
        (
            OnlineSettings("/a/online", Path("/a/memory")),
            (None, None, None),
            "remembers --online-key /a/online --memory",
        ),
        (OnlineSettings("/a/online", Path("/a/memory")), ("/b", None, Path("/s")), "which online key"),
        (OnlineSettings(socket=Path("/s")), (None, Path("/m"), None), "runs by itself"),
        (OnlineSettings(socket=Path("/s")), ("pkcs11:token=t;object=o", None, None), "where the signer remembers"),
    ],
)
def test_what_is_said_wrongly(
    before: OnlineSettings, said: tuple[str | None, Path | None, Path | None], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        before.moved(*said)


# --- what `fsck` says where the two disagree ---


@pytest.mark.parametrize(
    ("memory", "problem"),
    [
        ("memory", None),
        ("older", "ends with timestamp 1, and 2 is published: it is lost, or an older copy"),
        ("nowhere", "ends with timestamp 0, and 2 is published"),
        ("another", "that it names another snapshot than is published: it is another mirror's"),
    ],
)
def test_fsck_says_when_memory_and_state_disagree(memory: str, problem: str | None, site: Site) -> None:
    """It asks for no passphrase: of a signer that does not run it reads the memory."""
    if memory == "another":
        shutil.copytree(site.memory, site.folder / memory)
        log = site.folder / memory / "signed.log"
        log.write_bytes(re.sub(rb'("file":)"[0-9a-f]{64}"', rb'\1"' + b"0" * 64 + b'"', log.read_bytes()))
    with Store.open(site.mirror, write=True) as store:
        with store.change():
            OnlineSettings("/before/online", site.folder / memory).remember(store)
        report = fsck(store, now=site.now, progress=quiet, signed=signed_last(site.mirror, store))
    assert [one.where for one in report.problems] == ([] if problem is None else ["the online signer's memory"])
    assert problem is None or problem in report.problems[0].what
