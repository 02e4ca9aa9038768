"""The run book's commands, page by page, against a real mirror: what is typed on the day was typed before."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.cli.test_lost_state import Site
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import Tarballs, now_in_seconds, quiet
from tests.support.worlds.ceremony import PASSPHRASE, make_ceremony
from tests.support.worlds.online import OracleSigner

from carnet.tuf import paths
from carnet_mirror.state.store import Store
from carnet_mirror.sync.sync import sync

BOOK = (Path(__file__).parent.parent.parent / "docs/operating.md").read_text()
PAGES = {page.partition("\n")[0]: page for page in re.split(r"^## ", BOOK, flags=re.MULTILINE)[1:]}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One for all pages: each leaves the mirror as sound as it was."""
    site = Site(tmp_path_factory.mktemp("book"))
    ceremony = make_ceremony(bit_length=1, now=now_in_seconds())
    (site.folder / "ceremony").mkdir()
    for role, data in ceremony.files.items():
        (site.folder / "ceremony" / paths.metadata_name(role, 1)).write_bytes(data)
    ceremony.online.store(site.folder)
    (site.folder / "passphrase").write_bytes(PASSPHRASE + b"\n")
    (site.folder / "passphrase").chmod(0o600)
    site.signing("init", "mirror", "--ceremony", "ceremony", "--online-key", "online")
    signer, upstream = OracleSigner(ceremony.online, site.folder / "online.memory"), Tarballs([honest_crate("one")])
    with Store.open(site.mirror, write=True) as store:
        sync(store, signer, upstream, upstream.packages, now=now_in_seconds(), progress=quiet)
    signer.close()
    return site


@pytest.mark.parametrize("page", PAGES)
def test_each_page(page: str, site: Site) -> None:
    blocks = re.findall(r"^```console\n(.*?)^```", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    commands = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    assert commands
    if not site.mirror.exists():  # the page before has moved it
        (site.folder / "moved").rename(site.mirror)
    said = ""
    for command in commands:
        words = shlex.split(command)
        if words[0] == "mv":
            (site.folder / words[1]).rename(site.folder / words[2])
            continue
        assert words[:2] == ["carnet", "mirror"], command
        done = site.carnet(*words[2:])
        said += done.stdout
    if "takedown" in PAGES[page]:
        assert "taken down: one@0.1.0: the mirror's operator took it down on " in said
