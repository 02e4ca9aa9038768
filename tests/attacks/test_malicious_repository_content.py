"""A repository whose author means harm: it runs nothing where a release is recorded, and leads no path outside.

Each way to run something is first shown to work with plain git or plain cargo, so that a test cannot pass by accident.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.own import running_registry
from tests.support.worlds.release import from_repository, git, make_repository

from carnet.digests import sha256_hex
from carnet.errors import CarnetError, ConfigError, FormatError, RuleViolation, SigningError
from carnet.intoto.steps import TagRecord
from carnet.level import Level
from carnet_signer.steps import gitsource, sandbox
from carnet_signer.steps.gitsource import read_commit
from carnet_signer.steps.packaging import Toolchain, export, find_toolchain
from carnet_signer.steps.record import record_package, record_review, record_tag, record_test

MANIFEST = b'[package]\nname = "demo-lib"\nversion = "0.1.0"\nedition = "2021"\ndescription = "d"\nlicense = "MIT"\n'
LIBRARY = {"Cargo.toml": MANIFEST, "src/lib.rs": b"pub fn hello() {}\n", ".gitignore": b"target\nCargo.lock\n"}


@pytest.fixture
def evil(tmp_path: Path) -> tuple[Path, Path]:
    """A program that leaves a mark when it runs, and the mark."""
    mark = tmp_path / "ran"
    program = tmp_path / "evil.sh"
    program.write_text(f'#!/bin/sh\ntouch {mark}\ncase $1 in *rustc) exec "$@";; esac\ncat 2>/dev/null\nexit 0\n')
    program.chmod(0o755)
    return program, mark


@pytest.fixture(scope="session")
def toolchain() -> Toolchain:
    return find_toolchain()


# --- git ---


@pytest.fixture
def hostile(tmp_path: Path, evil: tuple[Path, Path]) -> Path:
    """Everything in a repository's configuration and attributes that names a program."""
    program, _ = evil
    repository = make_repository(
        tmp_path / "hostile", {**LIBRARY, ".gitattributes": b"* filter=x diff=x merge=x\n*.rs ident\n"}
    )
    for key, value in {
        "core.fsmonitor": str(program),
        "core.hooksPath": str(tmp_path / "hooks"),
        "core.sshCommand": str(program),
        "core.pager": str(program),
        "core.editor": str(program),
        "core.gitProxy": str(program),
        "core.askPass": str(program),
        "core.alternateRefsCommand": str(program),
        "filter.x.clean": str(program),
        "filter.x.smudge": str(program),
        "filter.x.process": str(program),
        "diff.x.textconv": str(program),
        "diff.x.command": str(program),
        "diff.external": str(program),
        "uploadpack.packObjectsHook": str(program),
        "protocol.ext.allow": "always",
        "credential.helper": f"!{program}",
        "remote.origin.url": f"ext::{program}",
        "remote.origin.promisor": "true",
        "remote.origin.uploadpack": str(program),
        "extensions.partialClone": "origin",
        "gpg.program": str(program),
    }.items():
        git(repository, "config", key, value)
    git(repository, "config", "core.repositoryFormatVersion", "1")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "fsmonitor-watchman"):
        (hooks / hook).write_bytes(program.read_bytes())
        (hooks / hook).chmod(0o755)
    return repository


def test_nothing_that_a_repository_configures_runs(hostile: Path, evil: tuple[Path, Path]) -> None:
    _, mark = evil
    tree = read_commit(hostile, "v1")
    assert tree.files["src/lib.rs"].data == LIBRARY["src/lib.rs"]
    assert not mark.exists()
    git(hostile, "status")  # the control: plain git does run it
    assert mark.exists()


def test_an_absent_object_is_not_fetched(hostile: Path, evil: tuple[Path, Path]) -> None:
    _, mark = evil
    blob = git(hostile, "rev-parse", "v1:src/lib.rs")
    (hostile / ".git/objects" / blob[:2] / blob[2:]).unlink()
    mark.unlink(missing_ok=True)
    with pytest.raises(SigningError, match=f"object {blob[:12]} is not in the repository"):
        read_commit(hostile, "v1")
    assert not mark.exists()
    plain = subprocess.Popen(
        ["git", "cat-file", "-p", blob],
        cwd=hostile,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + 20
    while not mark.exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(plain.pid, signal.SIGKILL)  # it would wait for the answer for ever
    plain.wait()
    assert mark.exists()  # plain git asks the promisor remote for it


@pytest.mark.cargo
def test_nothing_of_gits_runs_while_packaging(hostile: Path, evil: tuple[Path, Path], toolchain: Toolchain) -> None:
    _, mark = evil
    tagged = record_tag(hostile, "v1", "", toolchain)
    record_package(hostile, tagged.link, tagged.crate, toolchain)
    assert not mark.exists()


def test_a_replaced_object_is_not_what_was_committed(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", LIBRARY)
    (repository / "other").write_bytes(b"pub fn evil() {}\n")
    other = git(repository, "hash-object", "-w", "other")
    git(repository, "replace", git(repository, "rev-parse", "v1:src/lib.rs"), other)
    assert git(repository, "cat-file", "-p", "v1:src/lib.rs") == "pub fn evil() {}"  # what plain git shows
    assert read_commit(repository, "v1").files["src/lib.rs"].data == LIBRARY["src/lib.rs"]


def test_an_object_store_that_lies_is_found(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", LIBRARY)
    blob = git(repository, "rev-parse", "v1:src/lib.rs")
    place = repository / ".git/objects" / blob[:2] / blob[2:]
    place.chmod(0o644)
    lie = b"pub fn evil() {}\n"
    place.write_bytes(zlib.compress(b"blob %d\0" % len(lie) + lie))
    assert git(repository, "cat-file", "--batch-check=%(objectsize)", "--batch-all-objects")  # git itself reads it
    with pytest.raises(SigningError, match="does not hash to its id"):
        read_commit(repository, "v1")


def tree_commit(repository: Path, *entries: tuple[str, bytes, str]) -> str:
    """A commit whose tree has the entries that are given, whatever git thinks of them."""
    raw = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)
    (repository / "tree").write_bytes(raw)
    tree = git(repository, "hash-object", "-t", "tree", "-w", "--literally", "tree")
    return git(repository, "commit-tree", "-m", "x", tree)


@pytest.mark.parametrize(
    "name", [b"..", b".", b".git", b".GIT", b"git~1", b"a\\b", b"a\nb", b"\xff", b"../../etc/passwd", b"a/b"]
)
def test_a_path_without_a_safe_place_is_refused(tmp_path: Path, name: bytes) -> None:
    repository = make_repository(tmp_path / "r", LIBRARY)
    blob = git(repository, "rev-parse", "v1:src/lib.rs")
    good = tree_commit(repository, ("100644", b"lib.rs", blob))
    assert list(read_commit(repository, good).files) == ["lib.rs"]
    with pytest.raises(FormatError):
        read_commit(repository, tree_commit(repository, ("100644", name, blob)))


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", LIBRARY)
    blob = git(repository, "rev-parse", "v1:src/lib.rs")
    folder = git(repository, "rev-parse", "v1:src")
    twice = tree_commit(repository, ("120000", b"a", blob), ("40000", b"a", folder))
    with pytest.raises(FormatError, match="twice"):
        read_commit(repository, twice)


def test_an_odd_mode_is_refused(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", LIBRARY)
    blob = git(repository, "rev-parse", "v1:src/lib.rs")
    with pytest.raises(FormatError, match="mode 20644"):
        read_commit(repository, tree_commit(repository, ("20644", b"tty", blob)))


def test_folders_that_repeat_themselves_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two entries a level, a hundred levels: more folders than anyone can walk, in a few kilobytes of objects."""
    monkeypatch.setattr("carnet.git.limits.MAX_ENTRIES", 1000)
    repository = make_repository(tmp_path / "r", LIBRARY)
    commits: list[str] = []
    (repository / "empty").write_bytes(b"")
    tree = git(repository, "hash-object", "-t", "tree", "-w", "empty")
    for _ in range(12):
        commits.append(tree_commit(repository, ("40000", b"a", tree), ("40000", b"b", tree)))
        tree = git(repository, "rev-parse", f"{commits[-1]}^{{tree}}")
    assert read_commit(repository, commits[5]).files == {}
    with pytest.raises(FormatError, match="more than 1000 entries"):
        read_commit(repository, commits[-1])


def test_an_object_that_is_too_large_is_never_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make_repository(tmp_path / "r", {**LIBRARY, "zeros": bytes(8_000_000)})
    assert len(read_commit(repository, "v1").files["zeros"].data) == 8_000_000
    monkeypatch.setattr(gitsource, "MAX_SOURCE", 1_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="bytes"):
            read_commit(repository, "v1")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_links_stay_inside(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a key")
    repository = make_repository(
        tmp_path / "r",
        {**LIBRARY, "docs/a.md": b"a\n", "deep/down/b.md": b"b\n"},
        links={
            "absolute": str(secret),
            "rooted": "/src/lib.rs",
            "beyond": "../src/lib.rs",
            "up": "../secret",
            "sneaky": "docs/../../secret",
            "loop": "loop",
            "ring": "docs/ring",
            "docs/ring": "../ring",
            "hop": "up",
            "everything": ".",
            "copy": "docs/a.md",
            "folder": "deep",
            "deep/back": "down/b.md",
            "through": "folder/down/b.md",
        },
    )
    tree = read_commit(repository, "v1")
    files = tree.resolved()
    inside = {"copy", "folder/down/b.md", "folder/back", "deep/back", "through"}
    plain = {*LIBRARY, "docs/a.md", "deep/down/b.md"}
    assert set(files) == plain | inside
    assert files["copy"].data == b"a\n"
    assert files["through"].data == b"b\n"
    assert sum("leads outside or nowhere" in note for note in tree.notes) == 10
    export(tree, tmp_path / "out")
    for place in (tmp_path / "out").rglob("*"):
        assert place.resolve().is_relative_to((tmp_path / "out").resolve())


def test_submodules_are_part_of_the_source_where_they_are_present(tmp_path: Path) -> None:
    inner = make_repository(tmp_path / "inner", {"vendor.c": b"int x;\n"})
    outer = make_repository(tmp_path / "outer", LIBRARY)
    git(outer, "submodule", "--quiet", "add", "--name", "oddly named", str(inner), "vendor/lib")
    git(outer, "commit", "--quiet", "-m", "add a submodule")
    present = read_commit(outer, "HEAD")
    assert present.files["vendor/lib/vendor.c"].data == b"int x;\n"
    assert present.notes == ()
    git(tmp_path, "clone", "--quiet", "--no-recurse-submodules", str(outer), "bare")
    absent = read_commit(tmp_path / "bare", "HEAD")
    assert set(absent.files) == {*LIBRARY, ".gitmodules"}
    assert any("submodule vendor/lib is absent" in note for note in absent.notes)


@pytest.mark.parametrize("revision", ["nothing", "--help", "HEAD:src", ""])
def test_revisions_that_are_none(tmp_path: Path, revision: str) -> None:
    repository = make_repository(tmp_path / "r", LIBRARY)
    with pytest.raises(ConfigError):
        read_commit(repository, revision)
    with pytest.raises(ConfigError):
        read_commit(tmp_path, "HEAD")


# --- cargo ---


def booby_trapped(program: Path) -> dict[str, bytes]:
    config = f"""
[build]
rustc = "{program}"
rustc-wrapper = "{program}"
[registry]
global-credential-providers = ["{program}"]
[credential-alias]
x = ["{program}"]
[source.crates-io]
replace-with = "here"
[source.here]
directory = "{program.parent}"
[alias]
package = ["run"]
[env]
RUSTC_WRAPPER = {{ value = "{program}", force = true }}
[net]
git-fetch-with-cli = true
"""
    # With the resolver of edition 2024 cargo asks rustc for its version whenever it resolves dependencies.
    manifest = MANIFEST.replace(b"2021", b"2024") + b'[dependencies]\nleaf = "1"\n'
    return {
        **LIBRARY,
        "Cargo.toml": manifest,
        ".cargo/config.toml": config.encode(),
        "rust-toolchain.toml": f'[toolchain]\npath = "{program.parent / "toolchain"}"\n'.encode(),
        "build.rs": f'fn main() {{ std::fs::write("{program.parent / "ran"}", "").unwrap(); }}\n'.encode(),
    }


@pytest.mark.cargo
def test_nothing_of_the_source_runs_while_tagging_and_packaging(
    tmp_path: Path, evil: tuple[Path, Path], toolchain: Toolchain
) -> None:
    program, mark = evil
    for name in ("cargo", "rustc"):
        fake = tmp_path / "toolchain" / "bin" / name
        fake.parent.mkdir(parents=True, exist_ok=True)
        fake.write_bytes(program.read_bytes())
        fake.chmod(0o755)
    repository = make_repository(tmp_path / "trap", booby_trapped(program))
    with running_registry() as registry:
        registry.add(honest_crate("leaf", "1.0.0"))
        release = from_repository(repository, toolchain, index=registry.url)
    assert not mark.exists()
    assert release.check().level is Level.REPRODUCED
    assert not mark.exists()
    # The control: the same cargo, started in the work tree, does run it.
    subprocess.run(
        [str(toolchain.cargo), "package", "--offline", "--allow-dirty"],
        cwd=repository,
        capture_output=True,
        check=False,
    )
    assert mark.exists()


@pytest.mark.cargo
def test_a_configuration_in_the_repository_is_not_even_read(tmp_path: Path, toolchain: Toolchain) -> None:
    repository = make_repository(tmp_path / "r", {**LIBRARY, ".cargo/config.toml": b"this is no toml"})
    assert from_repository(repository, toolchain).check().level is Level.REPRODUCED
    plain = [str(toolchain.cargo), "package", "--list", "--offline"]
    done = subprocess.run(plain, cwd=repository, capture_output=True, text=True, check=False)
    assert "could not parse TOML" in done.stderr  # the control


@pytest.mark.cargo
def test_a_configuration_above_the_scratch_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toolchain: Toolchain
) -> None:
    repository = make_repository(tmp_path / "r", LIBRARY)
    shared = tmp_path / "shared"
    (shared / ".cargo").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    assert record_tag(repository, "v1", "", toolchain).crate.stem == "demo-lib-0.1.0"
    (shared / ".cargo" / "config.toml").write_text('[build]\nrustc-wrapper = "evil"\n')
    with pytest.raises(ConfigError, match=r"config.toml would act on cargo"):
        record_tag(repository, "v1", "", toolchain)


@pytest.mark.cargo
def test_a_readme_from_outside_the_repository_does_not_get_into_a_release(tmp_path: Path, toolchain: Toolchain) -> None:
    """cargo copies a readme from anywhere: a repository could have the packager publish a file of theirs."""
    secret = tmp_path / "id_ed25519"
    secret.write_text("PRIVATE KEY")
    up = "../" * 12 + str(secret).lstrip("/")
    manifest = MANIFEST + f'readme = "{up}"\n'.encode()
    repository = make_repository(tmp_path / "r", {**LIBRARY, "Cargo.toml": manifest})
    try:
        release = from_repository(repository, toolchain)
    except CarnetError:
        return  # cargo did not follow it
    assert b"PRIVATE KEY" in b"".join(entry.data for entry in release.crate.entries)  # what cargo does
    with pytest.raises(RuleViolation, match="id_ed25519 is in no tagged file"):
        release.check()


@pytest.mark.cargo
def test_a_workspace_outside_the_repository_is_refused(tmp_path: Path, toolchain: Toolchain) -> None:
    (tmp_path / "Cargo.toml").write_text('[workspace]\nmembers = ["r"]\n')
    manifest = MANIFEST + f'workspace = "{"../" * 12}{str(tmp_path).lstrip("/")}"\n'.encode()
    repository = make_repository(tmp_path / "r", {**LIBRARY, "Cargo.toml": manifest})
    with pytest.raises(CarnetError):
        record_tag(repository, "v1", "", toolchain)


@pytest.mark.cargo
def test_a_repository_that_changed_after_the_tag_is_found(tmp_path: Path, toolchain: Toolchain) -> None:
    repository = make_repository(tmp_path / "r", LIBRARY)
    tagged = record_tag(repository, "v1", "", toolchain)
    # The work tree does not matter, only the commit does.
    (repository / "src/lib.rs").write_bytes(b"pub fn changed() {}\n")
    assert record_review(repository, tagged.link, tagged.crate).link.materials == tagged.link.products
    path = "demo-lib-0.1.0/src/src/lib.rs"
    dishonest = {**tagged.link.products, path: sha256_hex(b"pub fn evil() {}\n")}
    record = TagRecord.from_link(tagged.link, tagged.crate)
    forged = replace(record, files={**record.files, "src/lib.rs": dishonest[path]}).link(tagged.crate)
    with pytest.raises(SigningError, match=r"src/lib.rs differs"):
        record_review(repository, forged, tagged.crate)


# --- the crate's own tests ---


@pytest.mark.cargo
def test_a_failed_test_is_recorded_as_failed(tmp_path: Path, toolchain: Toolchain) -> None:
    repository = make_repository(tmp_path / "r", LIBRARY)
    tagged = record_tag(repository, "v1", "", toolchain)
    environment = {"PATH": os.environ["PATH"]}
    for number, (command, status) in enumerate([(["true"], 0), (["false"], 1), (["sh", "-c", "kill -9 $$"], 137)]):
        scratch = tmp_path / f"scratch{number}"
        scratch.mkdir()
        recorded = record_test(repository, tagged.link, tagged.crate, command, environment, scratch=scratch)
        assert recorded.link.return_value == status
        assert (scratch / "source/Cargo.lock").exists()
    with pytest.raises(ConfigError, match="no program"):
        sandbox.run(["there-is-no-such-program"], tmp_path, environment, kind="none")


@pytest.mark.root
@pytest.mark.parametrize("sandbox_kind", ["none", *sandbox.SANDBOXES], indirect=True)
def test_nothing_that_a_test_started_is_alive_when_a_key_is_opened(tmp_path: Path, sandbox_kind: sandbox.Kind) -> None:
    mark = tmp_path / "late"
    script = f"(sleep 1; touch {mark}) & echo started"
    outcome = sandbox.run(["sh", "-c", script], tmp_path, {"PATH": os.environ["PATH"]}, kind=sandbox_kind)
    assert (outcome.status, outcome.output) == (0, "started\n")
    time.sleep(1.3)
    assert not mark.exists()


@pytest.mark.root
def test_a_test_sees_neither_the_environment_nor_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox_kind: sandbox.Kind
) -> None:
    monkeypatch.setenv("CARNET_PASSPHRASE", "secret")
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "release.key").write_text("PRIVATE")
    work = tmp_path / "work"
    work.mkdir()
    look = [sys.executable, "-c", f"import os; print(sorted(os.environ), os.listdir({str(keys)!r}))"]
    seen = sandbox.run(look, work, {"PATH": os.environ["PATH"]}, kind="none").output
    assert "release.key" in seen  # the control: without a sandbox it is in plain sight
    hidden = sandbox.run(look, work, {"PATH": os.environ["PATH"]}, hide=[keys], kind=sandbox_kind)
    assert hidden.status == 0, hidden.output
    assert "release.key" not in hidden.output
    assert "CARNET_PASSPHRASE" not in hidden.output


@pytest.mark.root
def test_a_test_does_not_lift_what_hides_the_keys(tmp_path: Path, sandbox_kind: sandbox.Kind) -> None:
    """What is mounted over the keys is mounted by a namespace that the command must have no say in."""
    keys, work = tmp_path / "keys", tmp_path / "work"
    keys.mkdir()
    work.mkdir()
    (keys / "release.key").write_text("PRIVATE")
    lift = ["sh", "-c", f"umount {keys} 2>/dev/null; umount -l {keys} 2>/dev/null; echo ran > here; ls {keys}"]
    outcome = sandbox.run(lift, work, {"PATH": os.environ["PATH"]}, hide=[keys], kind=sandbox_kind)
    assert (outcome.status, outcome.output) == (0, "")
    assert (work / "here").read_text() == "ran\n"
