"""Where keys come from, as whoever drafted a claim says: shown to those who sign, and never more than a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.worlds.ceremony import NOW
from tests.support.worlds.claims import NAME, World, person

from carnet import strictjson
from carnet.errors import FormatError
from carnet.times import written
from carnet_signer.keys.public import origin, write_public_key
from carnet_signer.proposals.proposal import Request, load, save
from carnet_signer.proposals.review import describe


def request(**origins: str) -> Request:
    return Request("claim", NAME, written(NOW), origins=origins)


def test_a_request_keeps_them(tmp_path: Path) -> None:
    made = request(abc="alice.pub (alice@laptop)")
    assert Request.from_bytes(made.to_bytes()) == made
    assert b"origins" not in request().to_bytes()


@pytest.mark.parametrize("said", ["", "x" * 121, "a\nb", "a\x1b[2Kb", "\u202egpj.bup", "a\u200bb"])
def test_what_could_be_taken_for_something_else_is_refused(said: str) -> None:
    document = strictjson.parse_object(request(abc="x").to_bytes(), "request", max_bytes=10_000)
    for origins in ({"abc": said}, {"abc": 3}, ["abc"]):
        with pytest.raises(FormatError):
            Request.from_bytes(strictjson.encode({**document, "origins": origins}))


def test_those_who_sign_are_shown_whose_word_it_is(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    proposal = world.claim_proposal()
    alice = person("alice").public_key.keyid
    told = {"origins": {alice: "alice.pub (trust me)", "00" * 32: "stranger.pub"}}
    folder = tmp_path / "folder"
    save(proposal, folder)
    file = folder / "request.json"
    file.write_bytes(
        strictjson.encode({**strictjson.parse_object(file.read_bytes(), "request", max_bytes=9999), **told})
    )
    lines = [line for words in describe(load(folder), now=world.now) for line in words.lines]
    (line,) = [one for one in lines if "trust me" in one]
    assert alice in line
    assert "whoever drafted this says that it is from 'alice.pub (trust me)'" in line
    assert not any("stranger" in one for one in lines)


def test_a_files_name_and_comment(tmp_path: Path) -> None:
    ours = tmp_path / "alice.pub"
    write_public_key(ours, person("alice").public_key)
    assert origin(ours) == "alice.pub"
    theirs = tmp_path / "id_ed25519"
    theirs.with_suffix(".pub").write_text("ssh-ed25519 AAAA alice@\u202elaptop\n")
    said = origin(theirs.with_suffix(".pub"))
    assert said.startswith("id_ed25519.pub (alice@")
    assert "\u202e" not in said
    long = tmp_path / ("x" * 200 + ".pub")
    write_public_key(long, person("bob").public_key)
    assert len(origin(long)) == 120
