"""From `carnet layout new` to the review of a claim: where the keys of the people come from who carry steps out."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support.worlds.ceremony import PASSPHRASE
from tests.support.worlds.claims import NAME, World
from tests.support.worlds.release import key

from carnet_cli.commands.maintain import claim, layout, proposal_folders
from carnet_cli.config import home
from carnet_signer.proposals.proposal import Proposal, load
from carnet_signer.proposals.review import describe
from carnet_signer.steps.layout_files import terms_path
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.view import View

SAID = "; whoever drafted this says that it is from "
PEOPLE = (("tag", "alice"), ("tag", "bob"), ("package", "packager"))


def run(command: object, *words: object) -> Result:
    return CliRunner().invoke(command, list(map(str, words)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.make(tmp_path_factory.mktemp("registry"))


@pytest.fixture
def place(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everybody's keys and a signed layout, where commands see the registry without a network."""

    view = View(world.fresh(), ReadFetcher(world.store.read), "http://localhost/")
    monkeypatch.setattr(proposal_folders, "looking", lambda _: nullcontext(view))
    monkeypatch.setattr(home, "now", lambda: world.now)
    (tmp_path / "passphrase").write_bytes(PASSPHRASE + b"\n")
    (tmp_path / "passphrase").chmod(0o600)
    for name in ("owner", *(who for _, who in PEOPLE)):
        key(name).store(tmp_path)
    may = [word for step, who in PEOPLE for word in ("--may", step, f"{who}=functionary {who}.pub")]
    made = run(layout.new, "--template", "minimal", *may, "-o", tmp_path / "layout.toml")
    assert made.exit_code == 0, made.output
    assert sign(tmp_path, "layout.toml").exit_code == 0
    return tmp_path


def sign(place: Path, file: str, who: str = "owner") -> Result:
    secret = ("--passphrase-file", place / "passphrase")
    return run(layout.sign, place / file, "--key", place / f"functionary {who}", *secret)


def claimed(place: Path) -> Proposal:
    """What `carnet claim new` drafts with the layout; alice owns with the key that she tags with, in another file."""
    owner = place / "alice at home.pub"
    owner.write_bytes((place / "functionary alice.pub").read_bytes())
    team = ("--owner", f"alice={owner}", "--owners-threshold", 1)
    team += ("--release-key", f"owner={place / 'functionary owner.pub'}", "--release-threshold", 1)  # type: ignore[assignment]
    done = run(claim.new, NAME, "-o", place / "claim", *team, "--layout", place / "layout.json")
    assert done.exit_code == 0, done.output
    return load(place / "claim")


def people(proposal: Proposal, world: World) -> list[str]:
    (words,) = [words for words in describe(proposal, now=world.now) if words.title == "the layout of releases"]
    return sorted(line for line in words.lines if ": ed25519 key " in line)


def test_those_who_sign_a_claim_read_where_the_keys_of_its_layout_come_from(world: World, place: Path) -> None:
    proposal = claimed(place)
    ids = {who: key(who).public_key.keyid for _, who in PEOPLE}
    assert people(proposal, world) == [
        f"alice: ed25519 key {ids['alice']}{SAID}'alice at home.pub'",  # what a flag names is nearer than a layout
        f"bob: ed25519 key {ids['bob']}{SAID}'functionary bob.pub'",
        f"packager: ed25519 key {ids['packager']}{SAID}'functionary packager.pub'",
    ]
    for role, draft in proposal.drafts.items():
        assert b"functionary" not in draft.message, f"{role}: it is a word, and nobody signs it"


def test_so_do_those_who_sign_the_layout_after_the_first(place: Path) -> None:
    for shown in (sign(place, "layout.json", "bob").output, run(layout.show, place / "layout.json").output):
        for _, who in PEOPLE:
            assert f"{who}: ed25519 key {key(who).public_key.keyid}{SAID}'functionary {who}.pub'\n" in shown
    machine = json.loads(run(layout.show, place / "layout.json", "--message-format", "json").output)
    assert machine["origins"][key("bob").public_key.keyid] == "functionary bob.pub"


def change(change: Callable[[dict[str, object]], object], place: Path) -> None:
    terms = terms_path(place / "layout.json")
    document = json.loads(terms.read_bytes())
    change(document)
    terms.write_text(json.dumps(document))


@pytest.mark.parametrize("said", ["bob.pub\nalice: ed25519 key 00", "\u202ebup.bob", 3])
def test_what_could_be_taken_for_words_of_carnets_is_refused(said: object, place: Path) -> None:
    change(lambda document: document.update(origins={key("bob").public_key.keyid: said}), place)
    done = sign(place, "layout.json", "bob")
    assert done.exit_code != 0
    assert "something else than a short, plain name" in str(done.exception)


def test_without_them_nothing_is_said(world: World, place: Path) -> None:
    """As of a layout that another program wrote."""
    change(lambda document: document.pop("origins"), place)
    assert [SAID in line for line in people(claimed(place), world)] == [True, False, False]
