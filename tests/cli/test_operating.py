"""The run book's commands, page by page, against a real mirror: what is typed on the day was typed before."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.command import carnet
from tests.support.registries.mirror_process import Tarballs, now_in_seconds, quiet
from tests.support.worlds.ceremony import PASSPHRASE, Ceremony, make_ceremony
from tests.support.worlds.online import OracleSigner

from carnet.tuf import paths
from carnet_cli.commands.registry.online_signer import OnlineSettings
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.state.store import Store
from carnet_mirror.sync.sync import sync
from carnet_mirror.upkeep import make_mirror
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
        said: What the commands of each page said.
    """

    folder: Path
    ceremony: Ceremony
    client: TrustDirectory
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
        self.said[page] = "".join(self._run(shlex.split(command)) for command in commands)
        return self.said[page]

    def _run(self, words: list[str]) -> str:
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
    folder, now = tmp_path_factory.mktemp("book"), now_in_seconds()
    ceremony = make_ceremony(bit_length=1, now=now)
    site = Site(folder, ceremony, TrustDirectory.create(folder / "client", ceremony.root, "http://localhost/"))
    (folder / "passphrase").write_bytes(PASSPHRASE + b"\n")
    (folder / "passphrase").chmod(0o600)
    (folder / "ceremony").mkdir()
    for role, data in ceremony.files.items():
        (folder / "ceremony" / paths.metadata_name(role, 1)).write_bytes(data)
    old = folder / "old"
    old.mkdir()
    ceremony.online.store(old)
    settings = OnlineSettings.told(str(old / "online"), None, None)
    signer = OracleSigner(ceremony.online, old / "online.memory")
    upstream = Tarballs([honest_crate("one")])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CARNET_HOME", str(folder / "home"))
        make_mirror(old / "mirror", ceremony.files, lambda: nullcontext(signer), settings.remember, now=now)
        with Store.open(old / "mirror", write=True) as store:
            sync(store, signer, upstream, upstream.packages, now=now, progress=quiet)
        signer.close()
        site.look("old/mirror")
        site.type(FIRST)
        yield site


def follows(site: Site, said: str) -> None:
    """The mirror is sound, and a client that knew it before follows."""
    site.look()


def restored(site: Site, said: str) -> None:
    assert site.look_as_another("again").trusted.timestamp.signed.version > 90
    site.look()


def taken_down(site: Site, said: str) -> None:
    assert "taken down: one@0.1.0: the mirror's operator took it down on " in said
    site.look()


AFTER: dict[str, Callable[[Site, str], None]] = {
    "Back up, and restore": restored,
    "Take down a malicious version": taken_down,
}


@pytest.mark.parametrize("page", PAGES)
def test_each_page(page: str, site: Site) -> None:
    AFTER.get(page, follows)(site, site.said.get(page) or site.type(page))
