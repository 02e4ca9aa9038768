"""A mirror is written into one file, and a mirror made of it goes on above all that clients have seen."""

from __future__ import annotations

import contextlib
import io
import shutil
import sqlite3
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from tests.integration.test_mirror_crash import Killer, in_child
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import Tarballs, now_in_seconds, quiet
from tests.support.worlds.ceremony import Ceremony, make_ceremony
from tests.support.worlds.changes import next_version
from tests.support.worlds.online import OracleSigner

from carnet.digests import sha256_hex
from carnet.errors import CarnetError, ConfigError, FormatError, RollbackDetected, SigningError, StorageError
from carnet_mirror.backup.archive import HEADER
from carnet_mirror.backup.backup import BackedUp, backup
from carnet_mirror.backup.restore import GIVEN_UP, MARK, OnlineMeans, Restored, Seen, restore
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.state.store import Store
from carnet_mirror.sync.sync import sync
from carnet_mirror.upkeep import make_mirror, sign_again
from carnet_mirror.writing import publish, writing
from carnet_signer.metadata.publish import Change as Published
from carnet_signer.metadata.publish import SignerAbove
from carnet_signer.online.memory import copy_memory, versions_in
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.refresh import refresh


class Site:
    """A machine with a mirror, and clients with memories; the online signer's rules and memory are the real ones."""

    def __init__(self, folder: Path, ceremony: Ceremony) -> None:
        self.folder = folder
        self.ceremony = ceremony
        self.mirror = folder / "mirror"
        self.memory = folder / "memory"
        self.now = now_in_seconds()

    @contextlib.contextmanager
    def signer(self) -> Iterator[OracleSigner]:
        signer = OracleSigner(self.ceremony.online, self.memory)
        try:
            yield signer
        finally:
            signer.close()

    def make(self) -> None:
        make_mirror(self.mirror, self.ceremony.files, self.signer, remember, now=self.now)

    def add(self, name: str) -> None:
        upstream = Tarballs([honest_crate(name)])
        with Store.open(self.mirror, write=True) as store, self.signer() as signer:
            sync(store, signer, upstream, upstream.packages, now=self.now, progress=quiet)

    def look(self, name: str) -> None:
        """What a client with a memory does before each build."""
        place = self.folder / name
        trust = (
            TrustDirectory.open(place)
            if place.exists()
            else TrustDirectory.create(place, self.ceremony.root, "http://localhost/")
        )
        with Store.open(self.mirror) as store:
            refresh(trust, ReadFetcher(store.served), now=self.now)

    def versions(self) -> tuple[int, int]:
        """Of timestamp and snapshot."""
        with Store.open(self.mirror) as store:
            timestamp = UnverifiedView(store).timestamp
        return timestamp.version, timestamp.snapshot.version

    def backup(self, file: Path) -> BackedUp:
        with Store.open(self.mirror) as store:
            return backup(store, file, lambda: copy_memory(self.memory), now=self.now, progress=quiet)

    def restore(
        self,
        file: Path,
        seen: Mapping[str, int] | None = None,
        roles: Mapping[str, bytes] | None = None,
        into: Path | None = None,
    ) -> Restored:
        def means(_: Store) -> OnlineMeans:
            known = versions_in(copy_memory(self.memory)) if self.memory.exists() else {}
            return OnlineMeans(self.signer, remember, known)

        known = Seen(seen or {}, [] if roles is None else [roles])
        return restore(file, into or self.mirror, means, versions_in, known, now=self.now, progress=quiet)

    def sound(self) -> None:
        with Store.open(self.mirror) as store:
            assert fsck(store, now=self.now, progress=quiet).problems == []


def remember(store: Store) -> None:
    store.put_setting("online-key", "/keys/online")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Last week a back-up was made; yesterday a client looked, after two crates more and a timestamp."""
    site = Site(tmp_path_factory.mktemp("backup"), make_ceremony(bit_length=2, now=now_in_seconds()))
    site.make()
    site.add("one")
    site.look("early")
    site.backup(site.folder / "week.tar")
    site.add("two")
    site.add("three")
    with Store.open(site.mirror, write=True) as store, site.signer() as signer:
        sign_again(store, signer, now=site.now)
    site.look("late")
    return site


@pytest.fixture
def site(template: Site, tmp_path: Path) -> Site:
    shutil.copytree(template.folder, tmp_path / "site")
    return Site(tmp_path / "site", template.ceremony)


@pytest.fixture
def given(template: Site, tmp_path: Path) -> Site:
    """An archive that somebody may have changed, on a machine that has the signer's memory."""
    shutil.copy(week(template), tmp_path)
    shutil.copytree(template.memory, tmp_path / "memory")
    return Site(tmp_path, template.ceremony)


def week(site: Site) -> Path:
    return site.folder / "week.tar"


# --- what is written ---


def test_it_holds_one_published_state_and_is_for_its_owner_alone(site: Site) -> None:
    file = site.folder / "now.tar"
    done = site.backup(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (done.crates, done.versions, done.size) == (3, 3, file.stat().st_size)
    assert (done.header.timestamp, done.header.snapshot) == site.versions()
    with tarfile.open(file) as tar:
        names = tar.getnames()
    assert names[:2] == [HEADER, "mirror.db"]
    assert {name.partition("/")[0] for name in names[2:]} == {"memory", "metadata", "targets", "blobs"}
    with pytest.raises(ConfigError, match="exists"):
        site.backup(file)


def test_what_is_staged_is_not_in_it_and_a_writer_is_not_waited_for(site: Site) -> None:
    file = site.folder / "now.tar"
    with Store.open(site.mirror, write=True) as store, store.change():
        store.stage_tarballs([honest_crate("unpublished")])
        store.seal(99, b"{}")
        site.backup(file)
        store.drop()
    with tarfile.open(file) as tar:
        assert not [name for name in tar.getnames() if sha256_hex(honest_crate("unpublished")) in name]
        assert "metadata/99.snapshot.json" not in tar.getnames()


def test_a_damaged_file_is_told_when_the_back_up_is_made(site: Site) -> None:
    blob = next((site.mirror / "blobs").glob("*/*"))
    blob.write_bytes(b"\0" * blob.stat().st_size)
    with pytest.raises(FormatError, match="not the ones that were published"):
        site.backup(site.folder / "now.tar")
    assert not (site.folder / "now.tar").exists()
    assert not list(site.folder.glob(".carnet-*"))


# --- restored while clients have seen more ---


def test_a_plain_copy_of_last_week_is_refused_by_clients_and_by_the_signer(site: Site) -> None:
    """What a restore is for: without it, nothing that is signed ever goes past what was signed since."""
    shutil.rmtree(site.mirror)
    shutil.rmtree(site.memory)
    with tarfile.open(week(site)) as tar:
        for member in filter(tarfile.TarInfo.isfile, tar):
            place = site.mirror / member.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(tar.extractfile(member).read())  # type: ignore[union-attr]
    (site.mirror / "memory").rename(site.memory)
    with pytest.raises(RollbackDetected):
        site.look("late")
    with Store.open(site.mirror, write=True) as store, site.signer() as signer:
        sign_again(store, signer, now=site.now)
    with pytest.raises(RollbackDetected):
        site.look("late")


def test_the_signers_own_memory_knows_what_was_seen(site: Site) -> None:
    timestamp, snapshot = site.versions()
    shutil.rmtree(site.mirror)
    restored = site.restore(week(site))
    assert site.versions() == (restored.published.timestamp, restored.published.snapshot)
    assert site.versions() > (timestamp, snapshot)
    site.sound()
    assert {role for role in restored.published.roles if role.startswith("index-")} == {f"index-{n}" for n in range(4)}
    goes_on(site)


def test_without_that_memory_it_asks_what_clients_have_seen_and_signs_past_it(site: Site) -> None:
    timestamp, snapshot = site.versions()
    shutil.rmtree(site.mirror)
    shutil.rmtree(site.memory)
    with pytest.raises(ConfigError, match="say what clients have seen") as asked:
        site.restore(week(site))
    assert "--seen timestamp=N --seen snapshot=N" in asked.value.hint
    assert not site.mirror.exists()
    assert not site.memory.exists()
    with pytest.raises(ConfigError, match="say what clients have seen"):
        site.restore(week(site), {"timestamp": timestamp})
    site.restore(week(site), {"timestamp": timestamp, "snapshot": snapshot})
    assert site.versions()[0] > timestamp
    assert site.versions()[1] > snapshot
    goes_on(site)


def goes_on(site: Site) -> None:
    """Neither the client of last week nor that of yesterday is refused, now or after the next publish."""
    for client in ("early", "late"):
        site.look(client)
    site.add("two")
    for client in ("early", "late"):
        site.look(client)


def test_too_little_said_is_what_clients_refuse(site: Site) -> None:
    """The control: it is `--seen` that makes the difference, and nothing is guessed."""
    shutil.rmtree(site.mirror)
    shutil.rmtree(site.memory)
    site.restore(week(site), {"timestamp": 1, "snapshot": 1})
    with pytest.raises(RollbackDetected):
        site.look("late")


def test_bins_that_publishes_which_were_given_up_had_pushed_ahead(site: Site) -> None:
    """Clients remember each bin's version through the snapshot; nobody can say those, and they may leap."""
    with Store.open(site.mirror, write=True) as store, site.signer() as signer:
        bins = dict.fromkeys((f"index-{number}" for number in range(4)), 50)
        with writing(store, signer, now=site.now):
            publish(store, SignerAbove(signer, bins), Published(), now=site.now, whole=True)
    site.look("late")
    timestamp, snapshot = site.versions()
    shutil.rmtree(site.mirror)
    shutil.rmtree(site.memory)
    site.restore(week(site), {"timestamp": timestamp, "snapshot": snapshot})
    with Store.open(site.mirror) as store:
        assert UnverifiedView(store).snapshot.meta["index-0"].version > GIVEN_UP
    site.look("late")


def test_a_memory_older_than_the_back_up_is_told(site: Site) -> None:
    site.backup(site.folder / "now.tar")
    shutil.rmtree(site.memory)
    shutil.rmtree(site.mirror)
    site.memory.mkdir()
    with tarfile.open(week(site)) as tar:
        for name in tar.getnames():
            if name.startswith("memory/"):
                content = tar.extractfile(name)
                assert content is not None
                (site.memory / name.removeprefix("memory/")).write_bytes(content.read())
    with pytest.raises(SigningError, match="its memory is an older copy"):
        site.restore(site.folder / "now.tar", {"timestamp": 99, "snapshot": 99})
    assert not site.mirror.exists()


# --- what people signed since ---


def test_what_holders_signed_since_has_to_be_brought(site: Site) -> None:
    roles = {"targets": next_version(site.ceremony, "targets")}
    with Store.open(site.mirror, write=True) as store, site.signer() as signer:
        sign_again(store, signer, now=site.now, roles=roles)
    site.look("late")
    shutil.rmtree(site.mirror)
    with pytest.raises(StorageError, match=r"older than what people signed since .*: targets 2") as lacking:
        site.restore(week(site))
    assert "--ceremony FOLDER" in lacking.value.hint
    assert not site.mirror.exists()
    site.restore(week(site), roles=roles)
    site.look("late")


def test_a_root_that_clients_have_seen_has_to_be_brought(site: Site) -> None:
    shutil.rmtree(site.mirror)
    with pytest.raises(StorageError, match="root 2 was seen"):
        site.restore(week(site), {"root": 2})


# --- a hostile archive ---


Change = Callable[[str, bytes], list[tuple[tarfile.TarInfo, bytes]]]


def rewritten(file: Path, change: Change) -> None:
    with tarfile.open(file) as old:
        members = [(member.name, old.extractfile(member).read()) for member in old]  # type: ignore[union-attr]
    with tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as new:
        for name, data in members:
            for info, content in change(name, data):
                info.size = len(content)
                new.addfile(info, io.BytesIO(content))


def member(name: str, data: bytes, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o600
    return info, data


def instead(part: str, *others: tuple[tarfile.TarInfo, bytes]) -> Change:
    return lambda name, data: list(others) if name.startswith(part) else [member(name, data)]


def before(part: str, other: tuple[tarfile.TarInfo, bytes]) -> Change:
    return lambda name, data: [other, member(name, data)] if name.startswith(part) else [member(name, data)]


def altered(name: str, old: bytes, new: bytes) -> Change:
    """Of members whose names begin so, these bytes are others; the end of all bytes where nothing is named."""

    def change(found: str, data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
        if found.startswith(name):
            data = data.replace(old, new) if old else data[:-1] + new
        return [member(found, data)]

    return change


def twice(name: str, data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [member(name, data)] * (2 if name.startswith("targets/") else 1)


ROOT = "metadata/1.root.json"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (instead(ROOT, member(ROOT, b"", tarfile.SYMTYPE, "/etc/passwd")), "a symbolic link"),
        (instead(ROOT, member(ROOT, b"", tarfile.LNKTYPE, "mirror.db")), "a hard link"),
        (before(ROOT, member("../evil", b"x")), "'../evil' stands where"),
        (before("blobs/", member("/etc/evil", b"x")), "'/etc/evil' stands where"),
        (instead(ROOT), "stands where"),
        (altered("blobs/", b"", b"x"), "another sha256"),
        (altered("targets/", b"", b"xx"), "are expected"),
        (altered("mirror.db", b"", b"x"), "another sha256"),
        (twice, "nothing asks for it"),
        (instead(HEADER, member(HEADER, b"{}")), "fields of a back-up"),
        (altered(HEADER, b'backup":1', b'backup":2'), "format 2"),
        (altered(HEADER, b'"path":"memory', b'"path":"..'), "lists something"),
    ],
)
def test_what_is_no_back_up_leaves_nothing_behind(change: Change, said: str, given: Site) -> None:
    rewritten(week(given), change)
    refused(given, said)


@pytest.mark.parametrize(("data", "said"), [(b"", "cut off"), (b"\0" * 4096, "it ends where"), (b"x" * 1024, "header")])
def test_a_file_that_is_none(data: bytes, said: str, given: Site) -> None:
    week(given).write_bytes(data)
    refused(given, said)


def test_a_file_that_is_cut_off_or_goes_on(given: Site) -> None:
    data = week(given).read_bytes()
    week(given).write_bytes(data[: len(data) // 1024 * 512])
    refused(given, "cut off|announces more")
    week(given).write_bytes(data + b"x" * 512)
    refused(given, "behind its end mark")


def refused(site: Site, said: str, kind: type[CarnetError] = ConfigError) -> None:
    """Into a new folder; the signer's memory is that of the site's own mirror, and is not written to."""
    around = {path.name for path in site.folder.iterdir()}
    with pytest.raises(kind, match=said) as no:
        site.restore(week(site), into=site.folder / "new")
    assert no.value.hint
    assert {path.name for path in site.folder.iterdir()} == around


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE files SET path = '../../evil' WHERE path LIKE 'blobs/%'", "names the file|stands where"),
        ("CREATE TRIGGER evil AFTER INSERT ON settings BEGIN DELETE FROM files; END", "other tables"),
        ("DELETE FROM versions", "no sound mirror"),
        ("DELETE FROM files WHERE path LIKE 'targets/%'", "nothing asks for it"),
    ],
)
def test_a_database_that_somebody_edited(statement: str, said: str, given: Site) -> None:
    """Its sha256 is only the archive's word: what counts is what is signed."""

    def change(name: str, data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
        if name == "mirror.db":
            return [member(name, edited)]
        if name == HEADER:
            data = data.replace(sha256_hex(original).encode(), sha256_hex(edited).encode())
            data = data.replace(f'"length":{len(original)}'.encode(), f'"length":{len(edited)}'.encode())
        return [member(name, data)]

    with tarfile.open(week(given)) as tar:
        content = tar.extractfile("mirror.db")
        assert content is not None
        original = content.read()
    path = given.folder / "edited.db"
    path.write_bytes(original)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(f"{statement}; PRAGMA journal_mode=DELETE")
    edited = path.read_bytes()
    path.unlink()
    rewritten(week(given), change)
    refused(given, said, CarnetError)


def test_a_mirror_of_other_holders(site: Site) -> None:
    """Whoever swaps the archive has not the online key that its root names."""
    site.ceremony = make_ceremony(bit_length=2, now=site.now, name="other ")
    shutil.rmtree(site.memory)
    shutil.rmtree(site.mirror)
    with pytest.raises(SigningError, match="not one that the delegator"):
        site.restore(week(site), {"timestamp": 9, "snapshot": 9})
    assert not site.mirror.exists()


# --- the folder ---


def test_a_folder_that_holds_something(site: Site) -> None:
    with pytest.raises(ConfigError, match="holds a mirror already"):
        site.restore(week(site))
    site.sound()
    shutil.rmtree(site.mirror)
    site.mirror.mkdir()
    (site.mirror / "letter").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        site.restore(week(site))
    assert (site.mirror / "letter").read_text() == "mine"


def test_killed_it_begins_again_and_there_is_no_mirror_before_the_end(site: Site) -> None:
    shutil.rmtree(site.mirror)
    shutil.copytree(site.memory, site.folder / "kept")
    counting = Killer(0)
    with counting.armed(None):
        site.restore(week(site))
    for point in (3, counting.seen // 2):
        for folder in (site.mirror, site.memory):
            shutil.rmtree(folder)
        shutil.copytree(site.folder / "kept", site.memory)

        def killed(point: int = point) -> None:
            with Killer(point).armed(None):
                site.restore(week(site))

        in_child(killed)
        if not (site.mirror / "mirror.db").exists():
            assert (site.mirror / MARK).exists() or not list(site.mirror.glob("*"))
            site.restore(week(site))
        site.sound()
        site.look("late")
