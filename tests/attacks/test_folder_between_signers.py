"""Somebody who had a folder before the next signer: what they put into it leads nowhere, and holds nobody up.

Control: the same folder without it is read, also by way of a link that the signer made for themselves.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.worlds.ceremony import make_ceremony
from tests.support.worlds.claims import World
from tests.support.worlds.release import key, synthetic

from carnet import folder as folders
from carnet.errors import CarnetError, ConfigError
from carnet.intoto.dsse import Envelope
from carnet.intoto.values import Link
from carnet_signer.ceremony import folder as ceremony_folder
from carnet_signer.proposals.proposal import load, save
from carnet_signer.steps.links import find_tag, read_links

Read = Callable[[Path], object]


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    """A pipe or a device that is opened the usual way never answers."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Read]]:
    made = tmp_path_factory.mktemp("folders")
    world = World.make(made / "world")
    save(world.claim_proposal(), made / "proposal")
    ceremony = make_ceremony(bit_length=1)
    ceremony_folder.create(made / "ceremony", {"1.root.json": ceremony.root})
    (made / "links" / "alice").mkdir(parents=True)
    release = synthetic()
    for step, links in release.links.items():
        for who, link in links:
            (made / "links" / "alice" / f"{step}.{who}.link").write_bytes(_signed(who, link))
    return {
        "proposal": (made / "proposal", load),
        "ceremony": (made / "ceremony", ceremony_folder.read),
        "links": (made / "links", read_links),
    }


def _signed(who: str, link: Link) -> bytes:
    envelope = Envelope(link.to_payload())
    return envelope.with_signature(key(who).sign(envelope.message)).to_bytes()


KINDS = ("proposal", "ceremony", "links")


@pytest.mark.parametrize("kind", KINDS)
def test_the_honest_folder_is_read_also_by_way_of_a_link(
    kind: str, honest: dict[str, tuple[Path, Read]], tmp_path: Path
) -> None:
    place, read = honest[kind]
    read(place)
    (tmp_path / "mine").symlink_to(place)
    read(tmp_path / "mine")


FILES = {
    "proposal": ("request.json", "roles/owner.demo_lib.json", "base/claims.json", "targets/put", "lines/put"),
    "ceremony": ("1.root.json", "2.root.json", "1.targets.json"),
    "links": ("x.link", "alice/x.link", "alice/tag.alice.link"),
}
FOLDERS = {"proposal": ("roles", "base", "targets", "lines", "targets/layouts"), "links": ("alice", "bob")}


def _put(made: Path, name: str, what: Path, kind: str) -> None:
    place = made / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    if kind == "link":
        place.symlink_to(what)
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "huge":
        with place.open("wb") as file:
            file.truncate(1 << 33)
    else:
        place.symlink_to("/dev/zero")


@pytest.mark.parametrize("how", ["link", "pipe", "device", "huge"])
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FILES.items() for name in names])
def test_a_file_that_is_none_is_refused(
    kind: str, name: str, how: str, honest: dict[str, tuple[Path, Read]], tmp_path: Path
) -> None:
    place, read = honest[kind]
    made = shutil.copytree(place, tmp_path / "made")
    secret = tmp_path / "secret"
    secret.write_bytes((place / "request.json").read_bytes() if kind == "proposal" else b"{}")
    _put(made, name, secret, how)
    words = {"link": "symbolic link", "device": "symbolic link", "pipe": "not a regular file", "huge": "larger than"}
    with pytest.raises(ConfigError, match=words[how]):
        read(made)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FOLDERS.items() for name in names])
def test_a_folder_that_leads_elsewhere_is_refused(
    kind: str, name: str, honest: dict[str, tuple[Path, Read]], tmp_path: Path
) -> None:
    """Also when what it leads to is a whole and honest folder of the signer's own."""
    place, read = honest[kind]
    made = shutil.copytree(place, tmp_path / "made")
    elsewhere = shutil.copytree(made / name, tmp_path / "elsewhere") if (made / name).exists() else tmp_path
    shutil.rmtree(made / name, ignore_errors=True)
    (made / name).parent.mkdir(exist_ok=True)
    (made / name).symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(ConfigError, match="symbolic link"):
        read(made)


def test_the_tag_that_is_looked_for_is_no_link(honest: dict[str, tuple[Path, Read]], tmp_path: Path) -> None:
    tag = next((honest["links"][0] / "alice").glob("tag.*.link"))
    (tmp_path / "demo.tag.alice.link").symlink_to(tag)
    with pytest.raises(ConfigError, match="symbolic link"):
        find_tag(tmp_path)
    (tmp_path / "demo.tag.alice.link").unlink()
    shutil.copy(tag, tmp_path / "demo.tag.alice.link")
    assert find_tag(tmp_path) == tmp_path / "demo.tag.alice.link"


def test_a_folder_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MOST_ENTRIES", 50)
    for number in range(51):
        (tmp_path / f"{number}.link").touch()
    with pytest.raises(ConfigError, match="more files"):
        folders.read_folder(tmp_path, max_bytes=10)
    deep = tmp_path / "deep"
    (deep / "/".join("d" * 30)).mkdir(parents=True)
    with pytest.raises(ConfigError, match="more files and folders"):
        folders.read_folder(deep, max_bytes=10)


@pytest.mark.parametrize("name", ["nothing", "file", "file/x", "a\x00b", "loop"])
def test_what_is_no_folder_is_an_error_of_ours(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for read in (load, ceremony_folder.read, read_links):
        with pytest.raises(CarnetError):
            read(tmp_path / name)
