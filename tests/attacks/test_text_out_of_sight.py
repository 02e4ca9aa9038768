"""Somebody whose text stands beside what others sign or read, and who means to hide the rest, or to look like it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.claims import NAME, World, refusal
from tests.support.worlds.signing import Desk

from carnet import strictjson
from carnet.claims.holders import ClaimFacts
from carnet.errors import FormatError
from carnet.tuf.tree import roles_of
from carnet_cli.report.signing import SCREEN, words_as_text
from carnet_cli.terminal import output
from carnet_signer.proposals import review
from carnet_signer.proposals.proposal import MAX_EVIDENCE, MAX_EVIDENCE_LINE, Proposal, Request, draft
from carnet_signer.proposals.review import Words

_, OWNER, _ = roles_of(NAME)
INVISIBLE = (
    "\u200b",
    "\u202e",
    "\u2066",
    "\ufeff",
    "\u3164",
    "\u115f",
    "\u2800",
    "\u034f",
    "\ufe0f",
    "\U000e0100",
    "\x9b",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.make(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def claim(world: World) -> Proposal:
    return world.claim_proposal()


# --- what is long ---


@pytest.mark.parametrize("evidence", [("x",) * (MAX_EVIDENCE + 1), ("x" * (MAX_EVIDENCE_LINE + 1),)])
def test_a_request_cannot_push_what_matters_out_of_sight(claim: Proposal, evidence: tuple[str, ...]) -> None:
    read = Request.from_bytes(replace(claim.request, evidence=("x" * MAX_EVIDENCE_LINE,) * MAX_EVIDENCE).to_bytes())
    assert len(read.evidence) == MAX_EVIDENCE
    with pytest.raises(FormatError, match="lines of evidence"):
        replace(claim.request, evidence=evidence)
    whole = strictjson.parse_object(claim.request.to_bytes(), "request.json", max_bytes=10**6)
    with pytest.raises(FormatError, match="lines of evidence"):
        Request.from_bytes(strictjson.encode({**whole, "evidence": [*evidence]}))


def test_a_width_of_spaces_begins_no_line_that_looks_like_ours(world: World, claim: Proposal) -> None:
    request = replace(claim.request, evidence=("I am the author" + " " * 300 + "!!! nothing odd\u3000\u2003was found",))
    said = review.describe(replace(claim, request=request), now=world.now)[-1].lines
    assert said[-1] == "they say: I am the author !!! nothing odd was found"


def test_what_is_alarming_is_said_again_below_a_long_list() -> None:
    long = tuple(f"demo-lib@1.0.{number}" for number in range(SCREEN))
    words = [Words("THIS IS A TAKEOVER", ("of all",), alarm=True), Words("versions", long)]
    assert words_as_text(words).splitlines()[-1] == "!!! LOOK AGAIN ABOVE: THIS IS A TAKEOVER"
    assert "LOOK AGAIN" not in words_as_text([words[0], Words("versions", long[:3])])
    assert "LOOK AGAIN" not in words_as_text([words[1]])


def test_whoever_signs_a_ceremony_reads_again_what_stood_above(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk.make(tmp_path / "desk", monkeypatch, world.ceremony.root, world.store.read, lambda: world.now)
    folder = tmp_path / "cer"
    folder.mkdir()
    for role, data in world.ceremony.files.items():
        signed: Any = json.loads(data)["signed"]
        signed["x-more"] = 1
        (folder / f"1.{role}.json").write_bytes(strictjson.encode({"signed": signed, "signatures": []}))
    ran = desk.sign(folder, world.ceremony.holders[0], "--sign-again", group="root")
    assert ran.status == 0, ran
    assert "!!! LOOK AGAIN ABOVE, at 2" in ran.err, ran.err


# --- what is not seen ---


@pytest.mark.parametrize("char", INVISIBLE)
def test_what_nobody_sees_is_shown_as_an_escape(char: str) -> None:
    shown = output.plain(f"ali{char}ce")
    assert shown.isascii()
    assert shown.startswith("ali\\")


@pytest.mark.parametrize("char", [*(char for char in INVISIBLE if not char.isprintable()), "\U000e0001"])
def test_json_steers_no_terminal(capsys: pytest.CaptureFixture[str], char: str) -> None:
    output.emit_json({"owner": f"ali{char}ce", "ä": "ä"})
    out = capsys.readouterr().out
    assert char not in out
    assert "ä" in out
    assert json.loads(out) == {"owner": f"ali{char}ce", "ä": "ä"}


@pytest.mark.parametrize(
    "registry", ["", "crates-i\u043e", "crates-io ", "crates-io\u200b", "crates io", "c\n", "c" * 65]
)
def test_a_registry_has_an_id_that_looks_like_no_other(claim: Proposal, registry: str) -> None:
    assert ClaimFacts.of(claim.drafts[OWNER].signed).registry == "crates-io"
    signed: Any = strictjson.parse_object(claim.drafts[OWNER].message, OWNER, max_bytes=10**7)
    signed["carnet"]["registry"] = registry
    assert isinstance(refusal(lambda: ClaimFacts.of(draft(OWNER, signed).signed)), FormatError)
