"""`carnet trust`, `verify` and `explain` as people run them, against a signed repository on loopback."""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.crates.locks import BRANCH, CRATES_IO, LEAF, locked, package, write_lock
from tests.support.machines.cargo import Machine
from tests.support.registries.mirror_process import MirrorDirectory, serving
from tests.support.registries.signed import SignedRegistry
from tests.support.worlds.ceremony import make_ceremony
from tests.support.worlds.claims import World
from tests.support.worlds.release import synthetic

from carnet.cargo.crate import read_crate
from carnet.cargo.names import CrateName
from carnet.tuf import paths
from carnet_mirror.state.store import Store
from carnet_mirror.writing import publish, writing
from carnet_signer.metadata.new_roles import Change
from carnet_signer.proposals import ownership


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# --- trust ---


def test_trust_add_shows_the_fingerprint_and_the_keys(tmp_path: Path, registry: SignedRegistry) -> None:
    machine = Machine(tmp_path)
    root = tmp_path / "root.json"
    root.write_bytes(registry.root)
    done = machine.carnet("trust", "add", registry.url, "--root", str(root))
    assert done.returncode == 0, done.stderr
    assert "fingerprint" in done.stdout
    assert "2 of these 3 keys" in done.stdout
    assert machine.carnet_home.stat().st_mode & 0o777 == 0o700
    again = machine.carnet("trust", "add", registry.url, "--root", str(root))
    assert again.returncode == 0
    assert "is trusted already, from this root on; nothing was changed" in again.stdout


def test_a_root_below_its_threshold_is_not_trusted(tmp_path: Path, registry: SignedRegistry) -> None:
    machine = Machine(tmp_path)
    root = json.loads(registry.root)
    root["signatures"] = root["signatures"][:1]
    (tmp_path / "root.json").write_text(json.dumps(root))
    done = machine.carnet("trust", "add", registry.url, "--root", str(tmp_path / "root.json"))
    assert done.returncode == 2
    assert "signed by 1 of its 3 keys, 2 are needed" in done.stderr
    assert machine.carnet("trust", "status").returncode == 2


def test_another_fingerprint_than_the_expected_is_not_trusted(tmp_path: Path, registry: SignedRegistry) -> None:
    machine = Machine(tmp_path)
    (tmp_path / "root.json").write_bytes(registry.root)
    add = ("trust", "add", registry.url, "--root", str(tmp_path / "root.json"), "--fingerprint")
    assert machine.carnet(*add, "00" * 32).returncode == 2
    right = hashlib.sha256(registry.root).hexdigest()
    for cut in (f"{right[:16]}\N{HORIZONTAL ELLIPSIS}", right[:-1].upper()):
        done = machine.carnet(*add, cut)
        assert done.returncode == 2
        assert f"is cut off: it has {len(cut.rstrip(chr(0x2026)))} of 64 digits" in done.stderr
    assert machine.carnet(*add, hashlib.sha256(registry.root).hexdigest()).returncode == 0


def test_trust_status(machine: Machine, registry: SignedRegistry) -> None:
    done = machine.carnet("trust", "status")
    assert done.returncode == 0, done.stderr
    assert registry.url in done.stdout
    (status,) = objects(machine.carnet("trust", "status", "--message-format", "json").stdout)
    assert status["roles"]["root"]["version"] == 1
    registry.served["metadata/timestamp.json"] = b"{}"
    broken = machine.carnet("trust", "status", "--message-format", "json")
    assert broken.returncode == 1
    assert objects(broken.stdout)[0]["error"]["kind"] == "format-error"


def test_a_home_that_others_can_write_is_refused(machine: Machine) -> None:
    machine.carnet_home.chmod(0o777)
    done = machine.carnet("trust", "status")
    assert done.returncode == 2
    assert "can be written by somebody else" in done.stderr


# --- verify: a lock ---


def test_a_lock_of_known_crates_is_allowed(machine: Machine, registry: SignedRegistry) -> None:
    write_lock(machine, locked(LEAF, BRANCH))
    done = machine.carnet("verify")
    assert done.returncode == 0, done.stderr
    assert "leaf@1.0.0    registry" in done.stdout
    assert "app@0.1.0     your own" in done.stdout
    assert "2 crates: 2 allowed, 0 refused" in done.stdout
    assert not [path for path in registry.requests if "download" in path]


def test_json_results_are_as_documented(machine: Machine) -> None:
    write_lock(machine, locked(LEAF))
    found = objects(machine.carnet("verify", "--message-format", "json").stdout)
    assert found[0] == {
        "reason": "crate",
        "name": "leaf",
        "version": "1.0.0",
        "source": "crates-io",
        "allowed": True,
        "level": "registry",
        "sha256": read_crate(LEAF).sha256,
        "findings": [],
        "error": None,
    }
    assert [one["reason"] for one in found] == ["crate", "crate", "summary"]
    assert found[1]["source"] == "path"
    assert found[2]["allowed"] is True


def test_another_checksum_in_the_lock_is_refused(machine: Machine) -> None:
    text = locked(LEAF)
    write_lock(machine, text)
    assert machine.carnet("verify").returncode == 0
    write_lock(machine, text.replace(read_crate(LEAF).sha256, "ab" * 32))
    done = machine.carnet("verify")
    assert done.returncode == 1
    assert "leaf@1.0.0 has checksum abab" in done.stderr
    assert "refused" in done.stdout


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (package("leaf", "9.9.9", CRATES_IO, "00" * 32), "leaf@9.9.9 is not in the signed index"),
        (package("absent", "1.0.0", CRATES_IO, "00" * 32), "absent is not in the signed index"),
        (package("forked", "1.0.0", "git+https://example.com/x?rev=1#0123"), "which no signed metadata vouches for"),
        (package("corp", "1.0.0", "sparse+https://example.com/", "00" * 32), "which no signed metadata vouches for"),
    ],
)
def test_one_refusal_refuses_the_lock_and_shows_the_others(machine: Machine, more: str, said: str) -> None:
    write_lock(machine, locked(BRANCH, more=more))
    done = machine.carnet("verify")
    assert done.returncode == 1
    assert said in done.stderr
    assert "branch@0.2.0" in done.stdout
    assert "2 crates: 1 allowed, 1 refused" in done.stdout


def test_a_git_source_is_allowed_by_an_exception_with_a_reason(machine: Machine) -> None:
    lock = machine.path / "app/Cargo.lock"
    lock.parent.mkdir()
    lock.write_text(locked(LEAF, more=package("forked", "1.0.0", "git+https://example.com/x?rev=1#0123")))
    day = (datetime.now(UTC) + timedelta(days=30)).date()
    text = f'[[exception]]\ncrates = "forked"\nrule = "git"\nreason = "our own fork"\nexpires = {day}\n'
    (lock.parent / "carnet.toml").write_text(text)
    assert machine.carnet("verify", str(lock)).returncode == 1, "a project's own reason is none"
    machine.configure(text)
    done = machine.carnet("verify", str(lock))
    assert done.returncode == 0, done.stderr
    assert "our own fork" in done.stderr


def test_the_policy_beside_the_lock_and_flags_decide(machine: Machine) -> None:
    write_lock(machine, locked(LEAF))
    done = machine.carnet("verify", "--least-level", "maintainer")
    assert done.returncode == 1
    assert "1 crate: 0 allowed, 1 refused" in done.stdout
    (machine.path / "carnet.toml").write_text('[[ban]]\ncrates = "leaf"\nreason = "abandoned"\n')
    done = machine.carnet("verify")
    assert done.returncode == 1
    assert "leaf@1.0.0 is banned by the policy: abandoned" in done.stderr
    assert "hint: `cargo carnet update` takes no banned version" in done.stderr
    (machine.path / "carnet.toml").write_text("least-level = 3\n")
    assert machine.carnet("verify").returncode == 2


def test_a_yanked_crate_is_warned_of(machine: Machine, registry: SignedRegistry) -> None:
    write_lock(machine, locked(LEAF))
    registry.yank("leaf", "1.0.0")
    done = machine.carnet("verify")
    assert done.returncode == 0
    assert "warning: leaf@1.0.0 was yanked by the registry [yanked]" in done.stderr


def test_tampered_index_files_are_refused_one_by_one(machine: Machine, registry: SignedRegistry) -> None:
    write_lock(machine, locked(LEAF, BRANCH))
    target = next(path for path in registry.publication.files if path.startswith("targets/index/le/af/"))
    registry.served[target] = lambda data: data.replace(b'"yanked":false', b'"yanked":true ')
    done = machine.carnet("verify")
    assert done.returncode == 1
    assert "2 crates: 1 allowed, 1 refused" in done.stdout


def test_when_the_mirror_is_away_nothing_is_decided(machine: Machine, registry: SignedRegistry) -> None:
    write_lock(machine, locked(LEAF))
    assert machine.carnet("verify").returncode == 0
    registry.served["metadata/timestamp.json"] = None
    done = machine.carnet("verify")
    assert done.returncode == 3
    assert done.stdout == ""


@pytest.mark.parametrize("text", ["\x00\xff", "version = 99\n", "[[package]]\nname = 3\n"])
def test_what_is_no_lock(machine: Machine, text: str) -> None:
    write_lock(machine, text)
    done = machine.carnet("verify")
    assert done.returncode == 2  # the lock is the user's own file; refused (1) is what is judged
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("streams", "status", "said"),
    [
        (">/dev/full", 3, "error: the results cannot be written: no space left on device\n"),
        (">&-", 0, ""),
        (">/dev/null 2>&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
        (">/dev/null 2>/dev/full", 0, ""),
    ],
)
@pytest.mark.parametrize("command", ["verify", "verify --message-format json"])
def test_results_that_cannot_be_written(
    machine: Machine, registry: SignedRegistry, command: str, streams: str, status: int, said: str
) -> None:
    """Also by way of the streams that a caller closed: the next connection would get their numbers."""
    write_lock(machine, locked(LEAF, BRANCH))
    main = "from carnet_cli.start import main; main()"
    done = machine.run("sh", "-c", f'exec "$0" -c "{main}" {command} {streams}', sys.executable, cwd=machine.path)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


def test_a_missing_lock_and_a_missing_trust(machine: Machine, tmp_path: Path) -> None:
    done = machine.carnet("verify")
    assert done.returncode == 2
    assert "Cargo.lock does not exist\nhint: `cd` to a project of cargo's" in done.stderr
    (machine.path / "Cargo.toml").write_text('[package]\nname = "app"\nversion = "0.1.0"\n')
    for command in (("verify",), ("vendor",), ("policy", "init")):
        done = machine.carnet(*command)
        assert done.returncode == 2
        assert "Cargo.lock does not exist\nhint: `cargo carnet generate-lockfile` makes one" in done.stderr
    assert "hint: name a Cargo.lock, a .crate file or NAME@VERSION" in machine.carnet("verify", "leaf").stderr
    write_lock(machine, locked(LEAF))
    alone = machine.carnet("verify", env={"CARNET_HOME": str(tmp_path / "empty")})
    assert alone.returncode == 2
    assert "carnet trust add" in alone.stderr


# --- verify: a tarball, one crate ---


def test_a_tarball(machine: Machine) -> None:
    file = machine.path / "leaf-1.0.0.crate"
    file.write_bytes(LEAF)
    done = machine.carnet("verify", str(file))
    assert done.returncode == 0, done.stderr
    assert "leaf@1.0.0 is allowed at level registry" in done.stdout
    file.write_bytes(honest_crate("leaf", "1.0.0", source="pub fn evil() {}"))
    other = machine.carnet("verify", str(file))
    assert other.returncode == 1
    assert "has checksum" in other.stderr
    file.write_bytes(LEAF[:-5])
    assert machine.carnet("verify", str(file)).returncode == 1


def test_one_crate(machine: Machine) -> None:
    done = machine.carnet("verify", "leaf@1.0.0", "--message-format", "json")
    assert done.returncode == 0, done.stderr
    assert objects(done.stdout)[0]["level"] == "registry"
    refused = machine.carnet("verify", "leaf@2.0.0")
    assert refused.returncode == 1
    assert "carnet explain leaf@2.0.0" in refused.stderr
    assert "`carnet mirror sync DIR leaf@=2.0.0`" in refused.stderr
    assert "`carnet mirror sync DIR nothing`" in machine.carnet("verify", "nothing@1.0.0").stderr
    assert machine.carnet("verify", "leaf@").returncode == 2


# --- explain ---


def test_explain_draws_the_chain_of_an_admitted_crate(machine: Machine) -> None:
    done = machine.carnet("explain", "leaf@1.0.0", env={"PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("leaf@1.0.0: allowed at level registry")
    for part in ("✓ root", "✓ timestamp", "✓ snapshot", "✓ targets", "✓ index/le/af/leaf", "signed by 2 of 3 keys"):
        assert part in done.stdout
    assert f"claims-{CrateName('leaf').shard}" in done.stdout
    assert "nobody has claimed the name" in done.stdout


def test_explain_shows_where_it_stopped_and_who_can_mend_it(machine: Machine) -> None:
    done = machine.carnet("explain", "leaf@2.0.0", env={"PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 1
    assert "✗ index line 2.0.0" in done.stdout
    assert "who can mend it: the mirror's operator" in done.stdout
    assert "· your policy" in done.stdout
    by_policy = machine.carnet("explain", "leaf@1.0.0", "--least-level", "maintainer")
    assert by_policy.returncode == 1
    assert "at level registry, the policy asks for maintainer" in by_policy.stdout


def test_explain_sees_the_lock_of_the_folder(machine: Machine) -> None:
    write_lock(machine, locked(LEAF).replace(read_crate(LEAF).sha256, "cd" * 32))
    done = machine.carnet("explain", "leaf@1.0.0", "--message-format", "json")
    assert done.returncode == 1
    (chain,) = objects(done.stdout)
    failed = [link for link in chain["links"] if link["state"] == "failed"]
    assert failed[0]["error"]["kind"] == "metadata-mismatch"
    assert chain["allowed"] is False


def test_names_of_paths_are_the_ones_of_the_trust_model() -> None:
    assert paths.index_path(CrateName("leaf")) == "index/le/af/leaf"


# --- without the parser ---

# A profiler, so that the end is an orderly one.
_TELL = "import atexit, sys; sys.setprofile(lambda *_: None); atexit.register(lambda: print('click' in sys.modules))\n"
_START = "from carnet_cli.start import main; main()"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["Cargo.lock"],
        ["."],
        [""],
        ["leaf-1.0.0.crate"],
        ["leaf@1.0.0"],
        ["nothing@1.0.0"],
        ["leaf@x"],
        ["missing.lock"],
        ["two", "words"],
    ],
)
def test_what_has_no_flags_comes_to_the_same_with_the_parser_and_without(machine: Machine, words: list[str]) -> None:
    write_lock(machine, locked(LEAF, BRANCH))
    (machine.path / "leaf-1.0.0.crate").write_bytes(LEAF)
    plain = machine.carnet("verify", *words)
    parsed = machine.carnet("verify", "--message-format", "human", *words)
    assert (plain.returncode, plain.stdout, plain.stderr) == (parsed.returncode, parsed.stdout, parsed.stderr)
    assert plain.returncode == {"leaf-1.0.0.crate": 0, "leaf@1.0.0": 0, "nothing@1.0.0": 1, "leaf@x": 2}.get(
        " ".join(words), 2 if "missing.lock" in words or len(words) > 1 else 0
    )


@pytest.mark.parametrize(
    ("words", "parsed"),
    [(["verify"], False), (["verify", "leaf@1.0.0"], False), (["verify", "--help"], True), (["--version"], True)],
)
def test_the_parser_is_loaded_where_there_is_something_to_parse(
    machine: Machine, words: list[str], parsed: bool
) -> None:
    write_lock(machine, locked(LEAF))
    done = machine.run(sys.executable, "-c", _TELL + _START, *words)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, str(parsed)), done.stderr


def test_completion_is_the_parsers(machine: Machine) -> None:
    done = machine.run(sys.executable, "-c", _START, "verify", env={"_CARNET_COMPLETE": "bash_source"})
    assert "complete" in done.stdout


def test_the_lowest_level_is_not_remembered(machine: Machine) -> None:
    """Nothing is below it that the memory could refuse."""
    write_lock(machine, locked(LEAF, BRANCH))
    assert machine.carnet("verify").returncode == 0
    assert machine.carnet("verify", "leaf@1.0.0").returncode == 0
    (seen,) = machine.carnet_home.glob("trust/*/seen.json")
    assert set(json.loads(seen.read_bytes())) == {"refreshed"}


# --- python-tuf, in-toto and securesystemslib are the mirror's and the signer's ---

_WITHOUT = "import sys; sys.modules.update(dict.fromkeys(('tuf', 'in_toto', 'securesystemslib')))"


def test_nothing_of_the_three_libraries_is_needed_to_verify(machine: Machine, registry: SignedRegistry) -> None:
    write_lock(machine, locked(LEAF, BRANCH))
    python = (sys.executable, "-c")
    done = machine.run(*python, f"{_WITHOUT}; from carnet_cli.start import main; main()", "verify")
    assert done.returncode == 0, done.stderr
    assert "2 crates: 2 allowed, 0 refused" in done.stdout
    for name in ("tuf.api.metadata", "in_toto.verifylib", "securesystemslib.signer"):
        blocked = machine.run(*python, f"{_WITHOUT}; import {name}")
        assert "ModuleNotFoundError" in blocked.stderr, "the block is no block"


def test_nor_where_a_crate_is_claimed_and_has_evidence(tmp_path: Path) -> None:
    """Claims, thresholds, links and rules: from a mirror that took the release with both libraries' agreement."""
    now = datetime.now(UTC).replace(microsecond=0)
    ceremony = make_ceremony(bit_length=1, now=now)
    online, release = ceremony.signer(), synthetic().with_layout(expires=now + timedelta(days=300))
    (tmp_path / "machine").mkdir()
    with Store.create(tmp_path / "mirror") as store:
        with writing(store, online, now=now):
            publish(store, online, Change(roles=ceremony.files), now=now)
        world = World(tmp_path, ceremony, online, store, now)
        world.claim(layout=ownership.NewLayout(release.layout_file, release.terms))
        world.release(tarball=release.tarball, bundle=release.bundle())
    machine = Machine(tmp_path / "machine")
    with serving(MirrorDirectory(tmp_path / "mirror", ceremony, online, now)) as mirror:
        machine.trust(mirror.root, mirror.url)
        write_lock(machine, locked(release.tarball))
        script = f"{_WITHOUT}; from carnet_cli.start import main; main()"
        done = machine.run(sys.executable, "-c", script, "verify")
    assert done.returncode == 0, done.stderr
    assert "demo-lib@0.1.0  reproduced" in done.stdout
