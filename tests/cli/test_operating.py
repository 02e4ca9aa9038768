"""The run book's commands, page by page, against a real mirror: what is typed on the day was typed before."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.command import carnet
from tests.support.registries.mirror_process import Tarballs, now_in_seconds, quiet
from tests.support.worlds.ceremony import PASSPHRASE, Ceremony, DirectOnlineSigner, make_ceremony, make_key
from tests.support.worlds.online import OracleSigner

from carnet.errors import RollbackDetected
from carnet.tuf import paths
from carnet_cli.commands.registry.online_signer import OnlineSettings
from carnet_cli.config.mirror_file import read_mirror_file
from carnet_mirror.export import export
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.state.records import StoredVersion
from carnet_mirror.state.store import Store
from carnet_mirror.sync.sync import sync
from carnet_mirror.upkeep import make_mirror
from carnet_signer.metadata.publish import Change, SignerAbove, publish
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.refresh import refresh
from carnet_verifier.tuf.repository import TrustedRepository

BOOK = (Path(__file__).parent.parent.parent / "docs/operating.md").read_text()
PAGES = {page.partition("\n")[0]: page for page in re.split(r"^## ", BOOK, flags=re.MULTILINE)[1:]}
FIRST = "Move to another folder"


@dataclass
class Site:
    """A machine with a mirror, and a client that has looked at it.

    Attributes:
        folder: Where commands are typed.
        ceremony: Who decides about the mirror.
        client: What the client remembers.
        addresses: Where the book's addresses are here.
        said: What the commands of each page said.
    """

    folder: Path
    ceremony: Ceremony
    client: TrustDirectory
    addresses: dict[str, str] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)

    def look(self, mirror: str = "mirror", client: TrustDirectory | None = None) -> TrustedRepository:
        """What a client does before each build; and what it looks at is sound."""
        with Store.open(self.folder / mirror) as store:
            assert fsck(store, now=now_in_seconds(), progress=quiet).problems == []
            return refresh(client or self.client, ReadFetcher(store.served), now=now_in_seconds())

    def look_as_another(self, mirror: str) -> TrustedRepository:
        """The same, by a client that has seen as much and is asked about this mirror only."""
        place = self.folder / f"client-of-{mirror}"
        shutil.copytree(self.client.path, place)
        return self.look(mirror, TrustDirectory.open(place))

    def type(self, page: str) -> str:
        """The commands of a page, in order, as they stand there."""
        blocks = re.findall(r"^```console\n(.*?)^```", PAGES[page], flags=re.DOTALL | re.MULTILINE)
        commands = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
        assert commands
        self.said[page] = "".join(self._run(command) for command in commands)
        return self.said[page]

    def _run(self, command: str) -> str:
        for there, here in self.addresses.items():
            command = command.replace(there, here)
        words = shlex.split(command)
        if words[0] == "mv":
            Path(words[1]).rename(words[2])
            return ""
        assert words[0] == "carnet"
        ran = carnet(*words[1:])
        assert ran.status == 0, ran
        return ran.out


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all pages: each leaves the mirror as sound as it was. It begins elsewhere: the first page moves it."""
    upstream = Tarballs([honest_crate("one")])
    folder, now = tmp_path_factory.mktemp("book"), now_in_seconds()
    ceremony = make_ceremony(bit_length=1, now=now)
    site = Site(folder, ceremony, TrustDirectory.create(folder / "client", ceremony.root, "http://localhost/"))
    (folder / "passphrase").write_bytes(PASSPHRASE + b"\n")
    (folder / "passphrase").chmod(0o600)
    (folder / "1.root.json").write_bytes(ceremony.root)
    for name, key in zip(("alice", "bob", "carol"), ceremony.holders, strict=True):
        replace(key, name=name).store(folder)
    for name in ("dave", "erin", "frank", "grace", "online-2", "online-3"):
        make_key(name).store(folder)
    (folder / "ceremony").mkdir()
    for role, data in ceremony.files.items():
        (folder / "ceremony" / paths.metadata_name(role, 1)).write_bytes(data)
    (folder / "vendored/index/3/o").mkdir(parents=True)
    (folder / "vendored/index/3/o/one").write_bytes(b"".join(upstream.lines(upstream.packages[0])))
    (folder / "vendored/one-0.1.0.crate").write_bytes(honest_crate("one"))
    old = folder / "old"
    old.mkdir()
    ceremony.online.store(old)
    settings = OnlineSettings.told(str(old / "online"), None, None)
    signer = OracleSigner(ceremony.online, old / "online.memory")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CARNET_HOME", str(folder / "home"))
        make_mirror(old / "mirror", ceremony.files, lambda: nullcontext(signer), settings.remember, now=now)
        with Store.open(old / "mirror", write=True) as store:
            sync(store, signer, upstream, upstream.packages, now=now, progress=quiet)
        signer.close()
        site.look("old/mirror")
        site.type(FIRST)
        with web(site):
            assert (
                carnet("trust", "add", site.addresses["https://crates.example.org"], "--root", "1.root.json").status
                == 0
            )
            yield site


@contextmanager
def web(site: Site) -> Iterator[None]:
    """The folder's exports on a web server; the mirror's own is brought up to date whenever somebody looks."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/served/metadata/timestamp.json":
                with Store.open(site.folder / "mirror") as store:
                    export(store, site.folder / "served", site.addresses["https://crates.example.org"])
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site.folder))) as server:
        for name, folder in (("crates", "served"), ("replica", "replica"), ("new", "www-2")):
            site.addresses[f"https://{name}.example.org"] = f"http://127.0.0.1:{server.server_port}/{folder}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def follows(site: Site, said: str) -> None:
    """The mirror is sound, and a client that knew it before follows."""
    site.look()


def restored(site: Site, said: str) -> None:
    assert site.look_as_another("again").trusted.timestamp.signed.version > 90
    site.look()


def taken_down(site: Site, said: str) -> None:
    assert "taken down: one@0.1.0: the mirror's operator took it down on " in said
    site.look()


def fooled(site: Site) -> None:
    """A thief shows the client another state, under versions that the mirror does not come to in a hundred years."""
    shutil.copytree(site.folder / "mirror", site.folder / "thief")
    thief = DirectOnlineSigner(site.ceremony.online)
    with Store.open(site.folder / "thief", write=True) as store:
        signer = SignerAbove(thief, dict.fromkeys(("timestamp", "snapshot", "index-0", "index-1"), 10**9))
        with store.change():
            publish(store, signer, Change(), now=now_in_seconds(), whole=True)
    site.look("thief")
    with pytest.raises(RollbackDetected):
        site.look()


def stolen(site: Site, said: str) -> None:
    assert site.look().trusted.timestamp.signed.version < 10**9


def left(site: Site, said: str) -> None:
    holders = {key.keyid for key in site.look().trusted.root.signed.roles["root"].keys}
    assert holders == {key.public_key.keyid for key in (*site.ceremony.holders[:2], make_key("dave"))}


def begun_anew(site: Site, said: str) -> None:
    assert "version 1" in said
    site.look()
    assert [str(one.id) for one in versions(site, "mirror-2")] == ["one@0.1.0"]


def served_again(site: Site, said: str) -> None:
    assert said.count("one@0.1.0") >= 3
    assert "from test" in said
    (site.folder / "mirror/mirror.toml").write_text(
        re.findall(r"^```toml\n(.*?)^```", BOOK, re.DOTALL | re.MULTILINE)[0]
    )
    assert read_mirror_file(site.folder / "mirror").pull is not None
    site.look()


def versions(site: Site, mirror: str) -> list[StoredVersion]:
    with Store.open(site.folder / mirror) as store:
        assert fsck(store, now=now_in_seconds(), progress=quiet).problems == []
        return store.crates.all_versions()


BEFORE: dict[str, Callable[[Site], None]] = {"The online key was stolen": fooled}
AFTER: dict[str, Callable[[Site, str], None]] = {
    "A holder leaves": left,
    "Back up, and restore": restored,
    "Take down a malicious version": taken_down,
    "The online key was stolen": stolen,
    "The root threshold is lost": begun_anew,
    "The upstream was compromised": served_again,
}


@pytest.mark.parametrize("page", PAGES)
def test_each_page(page: str, site: Site) -> None:
    if page in BEFORE:
        BEFORE[page](site)
    AFTER.get(page, follows)(site, site.said.get(page) or site.type(page))
