"""`carnet layout` and `carnet record` as people run them, one after another, on a repository of their own."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.cargo import Machine
from tests.support.machines.container import container
from tests.support.registries.signed import SignedRegistry
from tests.support.worlds.ceremony import PASSPHRASE
from tests.support.worlds.release import DID, WHO, git, key, make_repository

from carnet.cargo.crate import read_crate
from carnet.intoto.bundle import Bundle
from carnet.intoto.dsse import Envelope
from carnet.intoto.duties import Terms
from carnet.intoto.values import Link
from carnet.level import Level
from carnet_verifier.provenance.provenance import OwnedLayout, Provenance, check_provenance

LEAF = honest_crate("leaf", "1.0.0")
MANIFEST = """[package]
name = "demo-lib"
version = "0.1.0"
edition = "2021"
description = "a small library"
license = "MIT"
"""
LIBRARY = {
    "Cargo.toml": MANIFEST.encode(),
    "src/lib.rs": b"pub fn two() -> u8 { 2 }\n#[test]\nfn counts() { assert_eq!(two(), 2) }\n",
    ".gitignore": b"/target\n/Cargo.lock\n",
}


class Team:
    """A machine where everybody's keys happen to lie, and the commands they type."""

    def __init__(self, path: Path) -> None:
        self.machine = Machine(path)
        self.keys = path / "keys"
        self.keys.mkdir(mode=0o700)
        self.links = path / "links"
        secret = path / "passphrase"
        secret.write_bytes(PASSPHRASE + b"\n")
        secret.chmod(0o600)
        self.secret = ["--passphrase-file", str(secret)]
        for name in dict.fromkeys([*(who for names in WHO.values() for who in names), "owner"]):
            key(name).store(self.keys)

    def key(self, name: str) -> str:
        return str(self.keys / f"functionary {name}")

    def record(self, step: str, who: str, *more: str, source: Path) -> CompletedProcess[str]:
        common = ["--source", str(source), "-o", str(self.links), "--key", self.key(who), *self.secret]
        return self.machine.carnet("record", step, *common, *more)

    def layout(self, path: Path, template: str = "release") -> Path:
        may = [
            word
            for step, people in WHO.items()
            for who in people
            for word in ("--may", step, f"{who}={os.path.relpath(self.key(who) + '.pub', path)}")
            if template == "release" or step in ("tag", "package") or word not in ("--may", step)
        ]
        made = self.machine.carnet("layout", "new", "--template", template, *may, "-o", str(path / "layout.toml"))
        assert made.returncode == 0, made.stderr
        return path / "layout.toml"

    def check(self, layout: Path, tarball: Path) -> Provenance:
        links: dict[str, list[Envelope]] = {}
        for place in sorted(self.links.glob("*.link")):
            envelope = Envelope.from_bytes(place.read_bytes())
            links.setdefault(Link.from_payload(envelope.payload).name, []).append(envelope)
        bundle = Bundle(layout.read_bytes(), {step: tuple(found) for step, found in links.items()})
        terms = Terms.from_custom(json.loads(layout.with_name("layout.terms.json").read_text()))
        owned = OwnedLayout(layout.read_bytes(), terms, 1)
        return check_provenance(read_crate(tarball.read_bytes()), [owned], bundle, accepted_at=datetime.now(UTC))


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


def good(done: CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def bad(done: CompletedProcess[str], status: int, said: str) -> None:
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert any(line.startswith("error: ") and said in line for line in done.stderr.splitlines()), done.stderr


@pytest.mark.cargo
def test_a_release_through_all_its_steps(team: Team, tmp_path: Path) -> None:
    source = make_repository(tmp_path / "demo-lib", LIBRARY)
    written = team.layout(tmp_path)
    good(team.machine.carnet("layout", "lint", str(written)))
    good(team.machine.carnet("layout", "sign", str(written), "--key", team.key("owner"), *team.secret))
    layout = written.with_suffix(".json")
    assert "tag        1 of 2: alice, bob" in good(team.machine.carnet("layout", "show", str(layout)))
    # Who signs somebody else's file reads what it says, and whose keys these are.
    second = team.machine.carnet("layout", "sign", str(layout), "--key", team.key("alice"), *team.secret)
    for who in ("alice", "bob"):
        from_file = f"; whoever drafted this says that it is from 'functionary {who}.pub'"
        assert f"\n{who}: ed25519 key {key(who).public_key.keyid}{from_file}\n" in second.stderr, second.stderr
    assert "tag        1 of 2: alice, bob" in second.stderr

    bad(team.record("review", "carol", source=source), 2, "there is no tag's link")
    good(team.record("tag", "alice", "--revision", "v1", source=source))
    commit = git(source, "rev-parse", "v1^{commit}").strip()
    for who in DID["review"]:
        reviewed = team.record("review", who, source=source)
        assert good(reviewed)
        assert f"at commit {commit}, tagged in" in reviewed.stderr, "another commit may begin with the same digits"
    good(team.record("test", "ci", "--", "cargo", "test", "--offline", "--quiet", source=source))
    made = good(team.record("package", "packager", "--message-format", "json", source=source))
    tarball = Path(json.loads(made)["files"]["demo-lib-0.1.0.crate"])
    assert team.check(layout, tarball).level is Level.PROVENANCE
    for who in DID["rebuild"]:
        good(team.record("rebuild", who, source=source))
    found = team.check(layout, tarball)
    assert found.level is Level.REPRODUCED
    assert {step.name: step.people for step in found.steps} == dict(DID)


@pytest.mark.cargo
def test_a_failed_test_is_recorded_and_says_so(team: Team, tmp_path: Path) -> None:
    source = make_repository(tmp_path / "demo-lib", LIBRARY)
    good(team.record("tag", "alice", source=source))
    done = team.record("test", "ci", "--", "sh", "-c", "echo 'the moon is \033[1mmissing'; false", source=source)
    assert done.returncode == 1
    assert "the moon is \\x1b[1mmissing" in done.stderr, "what failed is shown, and nothing that a terminal obeys"
    link = Link.from_payload(Envelope.from_bytes(next(team.links.glob("*.test.*")).read_bytes()).payload)
    assert link.return_value == 1


@pytest.mark.cargo
@pytest.mark.root
def test_where_no_sandbox_can_be_had_the_test_runs_and_the_reason_is_told(team: Team, tmp_path: Path) -> None:
    source = make_repository(tmp_path / "demo-lib", LIBRARY)
    good(team.record("tag", "alice", source=source))
    with_ci = ["--source", str(source), "-o", str(team.links), "--key", team.key("ci"), *team.secret]
    carnet = [str(Path(sys.executable).parent / "carnet"), "record", "test", *with_ci]
    done = team.machine.run(*container([*carnet, "--", "cargo", "test", "--offline", "--quiet"]))
    good(done)
    assert "cargo ended with exit status 0 (no sandbox)\n" in done.stderr
    assert "warning: the tests ran without a sandbox: bwrap " in done.stderr
    assert "; unshare does not work: " in done.stderr
    assert "hint: install bubblewrap where user namespaces are allowed" in done.stderr
    link = Link.from_payload(Envelope.from_bytes(next(team.links.glob("*.test.*")).read_bytes()).payload)
    assert link.byproducts["sandbox"] == "none"


@pytest.mark.cargo
@pytest.mark.root
@pytest.mark.parametrize("key_lies", ["beside", "above"])
def test_a_member_of_a_workspace_is_tested_with_its_doctests(
    team: Team, tmp_path: Path, sandbox_kind: str, key_lies: str
) -> None:
    """cargo writes to the workspace's own target folder, rustdoc to /tmp; keys may lie above the temporary folder."""
    files = {
        "Cargo.toml": b'[workspace]\nmembers = ["lib"]\nresolver = "2"\n',
        "lib/Cargo.toml": MANIFEST.encode(),
        "lib/src/lib.rs": b"//! ```\n//! assert_eq!(demo_lib::two(), 2);\n//! ```\npub fn two() -> u8 { 2 }\n",
    }
    source = make_repository(tmp_path / "demo-lib", files)
    good(team.record("tag", "alice", "--package-dir", "lib", source=source))
    tools = tmp_path / "tools"
    tools.mkdir()
    for other in {"bwrap", "unshare"} - {sandbox_kind}:
        (tools / other).write_text("#!/bin/sh\nexit 1\n")
        (tools / other).chmod(0o755)
    team.machine.environment["PATH"] = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    if key_lies == "above":
        team.machine.environment["TMPDIR"] = str(team.keys / "tmp")
        (team.keys / "tmp").mkdir()
    done = team.record("test", "ci", "--", "cargo", "test", "--offline", source=source)
    good(done)
    assert f"cargo ended with exit status 0 (sandbox: {sandbox_kind})" in done.stderr


@pytest.mark.cargo
def test_the_working_folder_is_not_hidden_for_a_key_that_is_in_no_file(team: Team, tmp_path: Path) -> None:
    source = make_repository(tmp_path / "demo-lib", LIBRARY)
    good(team.record("tag", "alice", source=source))
    desk = tmp_path / "desk"
    (desk / "bin").mkdir(parents=True)
    team.machine.environment["PATH"] = f"{desk}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    common = ["--source", str(source), "-o", str(team.links), "--key", "pkcs11:token=none;object=none"]
    done = team.machine.carnet("record", "test", *common, "--", "ls", f"{desk}/bin", cwd=desk)
    assert "ls ended with exit status 0 " in done.stderr


@pytest.mark.cargo
def test_dependencies_come_through_the_verifying_proxy(team: Team, tmp_path: Path) -> None:
    files = {**LIBRARY, "Cargo.toml": f'{MANIFEST}[dependencies]\nleaf = "1"\n'.encode()}
    source = make_repository(tmp_path / "demo-lib", files)
    bad(team.record("tag", "alice", source=source), 3, "cargo generate-lockfile failed")
    registry = SignedRegistry()
    registry.add(LEAF)
    with registry.serving():
        team.machine.trust(registry.root, registry.url)
        good(team.record("tag", "alice", source=source))
        good(team.record("package", "packager", source=source))
        bad(team.record("package", "packager", "--offline", source=source), 3, "cargo package failed")
    crate = read_crate((team.links / "demo-lib-0.1.0.crate").read_bytes())
    assert b"https://github.com/rust-lang/crates.io-index" in (crate.file("Cargo.lock") or b"")


@pytest.mark.cargo
def test_a_tarball_with_a_file_of_the_packagers_is_not_signed(team: Team, tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("of the packager's")
    readme = f"{'../' * 12}{str(secret).lstrip('/')}"
    files = {**LIBRARY, "Cargo.toml": f'{MANIFEST}readme = "{readme}"\n'.encode()}
    source = make_repository(tmp_path / "demo-lib", files)
    good(team.record("tag", "alice", source=source))
    bad(team.record("package", "packager", source=source), 1, "secret.md is in no tagged file")
    assert not list(team.links.glob("*.package.*"))
    assert not list(team.links.glob("*.crate"))


@pytest.mark.cargo
def test_what_people_get_wrong(team: Team, tmp_path: Path) -> None:
    source = make_repository(tmp_path / "demo-lib", LIBRARY)
    bad(team.record("tag", "alice", "--revision", "v9", source=source), 2, "no revision 'v9'")
    bad(team.record("tag", "alice", source=tmp_path), 2, "is not a git repository")
    bad(team.record("tag", "alice", source=tmp_path / "missing"), 2, "there is no folder")
    bad(team.record("tag", "alice", "--package-dir", "lib", source=source), 2, "the commit has no lib/Cargo.toml")
    bad(team.record("tag", "alice", "--toolchain", "1.0.0", source=source), 2, "1.0.0 is asked for, and this is cargo")
    bad(team.record("tag", "alice", "--index", "http://x/", source=source), 2, "not a sparse index")
    good(team.record("tag", "alice", source=source))
    bad(team.record("review", "carol", "--tag", str(source / "Cargo.toml"), source=source), 2, "is not JSON")
    ran = tmp_path / "ran"
    words = ("sh", "-c", f"touch {ran}", os.fsdecode(b"\xff"))
    bad(team.record("test", "ci", "--", *words, source=source), 1, "the test command cannot be written as JSON")
    assert not ran.exists(), "what cannot be recorded is not run first"
    other = make_repository(tmp_path / "other", {**LIBRARY, "src/lib.rs": b"pub fn evil() {}\n"})
    bad(team.record("review", "carol", source=other), 2, "the repository has no revision")
    git(source, "tag", "again")
    good(team.record("tag", "bob", source=source))
    bad(team.record("review", "carol", source=source), 2, "there are 2 tag links")


def test_a_layout_that_is_unsafe_is_not_signed(team: Team, tmp_path: Path) -> None:
    written = team.layout(tmp_path)
    written.write_text(written.read_text().replace('"REQUIRE P.crate", "CREATE P.crate", "DISALLOW *"', '"CREATE P.*"'))
    done = team.machine.carnet("layout", "lint", str(written))
    bad(done, 1, "step package: products: the rules must end in DISALLOW *")
    assert len(done.stderr.splitlines()) >= 3
    bad(team.machine.carnet("layout", "sign", str(written), "--key", team.key("owner"), *team.secret), 1, "unsafe")
    assert not written.with_suffix(".json").exists()


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("valid-days", "valid-dayz"), "unknown key 'valid-dayz'"),
        (('by = ["alice", "bob"]', 'by = ["mallory"]'), "'mallory', who is not under [people]"),
        (("threshold = 2", 'threshold = "2"'), "threshold must be int"),
        (('"BIND"', '"BLIND"'), "is not an artifact rule"),
        (("[people]", "people"), "is not TOML"),
        (("valid-days = 730", "valid-days = 0"), "valid-days must be"),
    ],
)
def test_a_layout_with_a_mistake_says_which(team: Team, tmp_path: Path, edit: tuple[str, str], said: str) -> None:
    written = team.layout(tmp_path)
    assert edit[0] in written.read_text()
    written.write_text(written.read_text().replace(*edit))
    bad(team.machine.carnet("layout", "lint", str(written)), 2, said)
