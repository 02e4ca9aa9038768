"""`carnet release assemble`: a tarball is read once, from the file that the user names to the folder."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.crates.archives import honest_crate
from tests.support.machines.parses import counting
from tests.support.worlds.claims import NAME, World
from tests.support.worlds.release import synthetic

from carnet.cargo.crate import read_crate
from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.tuf import paths
from carnet_cli.commands.maintain import proposal_folders, release
from carnet_cli.config import home
from carnet_signer.proposals import ownership, review
from carnet_signer.proposals.proposal import load
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.view import View

MADE = synthetic(crate=CrateId.of(str(NAME), "0.1.0"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A registry that the command looks at without a network, at its own time."""
    world = World.make(tmp_path)
    world.claim(layout=ownership.NewLayout(MADE.layout_file, MADE.terms))
    view = View(world.fresh(), ReadFetcher(world.store.read), "http://localhost/")
    monkeypatch.setattr(proposal_folders, "looking", lambda _: nullcontext(view))
    monkeypatch.setattr(home, "now", lambda: world.now)
    return world


def test_a_tarball_is_read_once_from_the_command_to_the_folder(world: World, tmp_path: Path) -> None:
    tarball, links, folder = tmp_path / "demo-lib-0.1.0.crate", tmp_path / "links", tmp_path / "release"
    tarball.write_bytes(MADE.tarball)
    links.mkdir()
    for step, envelopes in MADE.bundle().links.items():
        for number, envelope in enumerate(envelopes):
            (links / f"{step}.{number}.link").write_bytes(envelope.to_bytes())
    arguments = [str(tarball), "-o", str(folder), "--bundle-from", str(links)]
    with counting() as counts:
        done = CliRunner().invoke(release.assemble, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert counts[MADE.crate.sha256] == 1
    proposal = load(folder)
    assert {counts[sha256_hex(line.removesuffix(b"\n"))] for line in proposal.lines.values()} == {1}
    assert proposal.targets[paths.crate_path(MADE.crate.id)] == MADE.tarball
    path = paths.crate_path(MADE.crate.id)
    other = read_crate(honest_crate(str(NAME), "0.1.0"), strict=True)
    for crates in ({}, {path: MADE.crate}, {path: other}):
        with counting() as counts:
            review.lint(replace(proposal, crates=crates), now=world.now)
        assert counts[MADE.crate.sha256] == 1, "what came in the folder, was read less strictly or is another is read"
    assert not MADE.crate.strict
