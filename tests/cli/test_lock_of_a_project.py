"""The lock that a command is about: a workspace's, an empty one, one without checksums, and what else it names."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.locks import CRATES_IO, LEAF, package
from tests.support.machines.cargo import Machine

from carnet.cargo.crate import read_crate

FORK = "git+https://example.com/leaf?rev=1#0123"
OTHER = "registry+https://other.example/index"
SHA256 = read_crate(LEAF).sha256


@dataclass
class App:
    """A project, in a folder that holds nothing of the user's."""

    machine: Machine
    path: Path

    def carnet(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return self.machine.carnet(*arguments, cwd=cwd or self.path)

    def configure(self, text: str) -> None:
        self.machine.configure(text)


@pytest.fixture
def app(machine: Machine) -> App:
    folder = machine.path / "app"
    folder.mkdir()
    return App(machine, folder)


def write_lock(folder: Path, *packages: str) -> None:
    (folder / "Cargo.lock").write_text("version = 4\n\n" + package("app", "0.1.0") + "".join(packages))


def allow(machine: App, rule: str) -> None:
    day = (datetime.now(UTC) + timedelta(days=30)).date()
    machine.configure(f'[[exception]]\ncrates = "leaf"\nrule = "{rule}"\nreason = "our fork"\nexpires = {day}\n')


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# --- which lock ---


@pytest.fixture
def member(app: App) -> Path:
    (app.path / "Cargo.toml").write_text('[workspace]\nmembers = ["crates/a"]\n')
    folder = app.path / "crates" / "a"
    folder.mkdir(parents=True)
    (folder / "Cargo.toml").write_text('[package]\nname = "a"\nversion = "0.1.0"\n')
    return folder


def test_in_a_member_it_is_the_lock_of_the_workspace(app: App, member: Path) -> None:
    write_lock(app.path, package("leaf", "1.0.0", CRATES_IO, SHA256))
    write_lock(member, package("absent", "9.9.9", CRATES_IO, SHA256))  # a stale one, which cargo does not read
    done = app.carnet("verify", "--message-format", "json", cwd=member)
    assert done.returncode == 0, done.stderr
    assert f"is checked by the lock of its workspace, {app.path}/Cargo.lock" in done.stderr
    assert objects(done.stdout)[-1]["lock"] == f"{app.path}/Cargo.lock"
    assert app.carnet("verify", str(member)).returncode == 0
    assert app.carnet("verify", "Cargo.lock", cwd=member).returncode == 1  # named, it is the one that is meant
    assert "the lock pins the same sha256" in app.carnet("explain", "leaf@1.0.0", cwd=member).stdout


def test_a_folder_is_looked_at_from_where_it_is_and_not_from_how_it_is_spelled(app: App, member: Path) -> None:
    """Above `app/../other` stands what is above `other`: the lock of `app`, which is good, says nothing of it."""
    write_lock(app.path, package("leaf", "1.0.0", CRATES_IO, SHA256))
    other, link = app.path.parent / "other", app.path.parent / "link"
    other.mkdir()
    link.symlink_to(member)
    for spelled in ("../other", f"{app.path}/../other", f"{member}/../../../other", ".."):
        done = app.carnet("verify", spelled)
        assert done.returncode == 2, done.stdout
        assert "Cargo.lock does not exist" in done.stderr
    write_lock(other, package("absent", "9.9.9", CRATES_IO, SHA256))
    assert "absent" in app.carnet("verify", "../other").stderr
    for inside in (str(link), f"{link}/.."):
        done = app.carnet("verify", inside, cwd=other)
        assert done.returncode == 0, done.stderr
        assert f"is checked by the lock of its workspace, {app.path}/Cargo.lock" in done.stderr


def test_a_member_is_held_to_the_policy_of_the_workspace(app: App, member: Path) -> None:
    write_lock(app.path, package("leaf", "1.0.0", CRATES_IO, SHA256))
    (app.path / "carnet.toml").write_text('[[ban]]\ncrates = "leaf"\nreason = "no"\n')
    for command in (
        ["verify"],
        ["verify", "leaf@1.0.0"],
        ["explain", "leaf@1.0.0"],
        ["policy", "explain", "leaf@1.0.0"],
    ):
        done = app.carnet(*command, cwd=member)
        assert done.returncode == 1, command
        assert "banned by the policy: no" in done.stdout + done.stderr, command


def test_what_comes_with_a_member_decides_nothing_by_naming_a_root_elsewhere(tmp_path: Path, machine: Machine) -> None:
    """CI names a file of the checkout; a member whose root is outside of it must not make that file one's own."""
    project, outside = tmp_path / "checkout", tmp_path / "outside"
    for folder in (project, outside):
        folder.mkdir()
    (project / "Cargo.toml").write_text('[package]\nname = "a"\nversion = "0.1.0"\nworkspace = "../outside"\n')
    (outside / "Cargo.toml").write_text('[workspace]\nmembers = ["../checkout"]\n')
    write_lock(outside, package("leaf", "1.0.0", FORK))
    (project / "ci.toml").write_text('[rules]\ngit = "allow"\n')
    machine.environment["CARNET_CONFIG"] = str(project / "ci.toml")
    done = machine.carnet("verify", cwd=project)
    assert done.returncode == 1, done.stdout
    assert "lies in the project: it can only ask for more" in done.stderr


# --- what it names ---


@pytest.mark.parametrize(
    ("source", "rule"), [(FORK, "git"), (OTHER, "other-registry"), ("sparse+https://other.example/", "other-registry")]
)
def test_what_comes_from_elsewhere_is_explained_as_it_is_judged(app: App, source: str, rule: str) -> None:
    write_lock(app.path, package("leaf", "1.0.0", source))
    commands = (["verify"], ["verify", "leaf@1.0.0"], ["explain", "leaf@1.0.0"], ["policy", "explain", "leaf@1.0.0"])
    for command in commands:
        done = app.carnet(*command)
        assert done.returncode == 1, command
        assert f"[{rule}]" in done.stdout + done.stderr, command
    allow(app, rule)
    for command in commands:
        done = app.carnet(*command)
        assert done.returncode == 0, (command, done.stderr)
    shown = app.carnet("explain", "leaf@1.0.0")
    assert "allowed by the policy, not vouched for" in shown.stdout
    assert f"taken from {source}" in shown.stdout
    (chain,) = objects(app.carnet("explain", "leaf@1.0.0", "--message-format", "json").stdout)
    assert (chain["source"], chain["allowed"], chain["level"]) == ("foreign", True, None)


def test_a_name_alone_means_the_one_version_that_the_lock_has(app: App) -> None:
    write_lock(app.path, package("leaf", "1.0.0", CRATES_IO, SHA256))
    assert app.carnet("explain", "leaf").stdout == app.carnet("explain", "leaf@1.0.0").stdout
    absent = app.carnet("explain", "twig")
    assert (absent.returncode, "names no version" in absent.stderr) == (2, True)
    write_lock(app.path, package("leaf", "1.0.0"), package("leaf", "2.0.0", CRATES_IO))
    several = app.carnet("explain", "leaf")
    assert several.returncode == 2
    assert "Cargo.lock has several versions of leaf" in several.stderr
    assert "hint: name one: leaf@1.0.0, leaf@2.0.0" in several.stderr


def test_two_packages_of_one_name_and_version_are_both_explained(app: App) -> None:
    write_lock(app.path, package("leaf", "1.0.0", CRATES_IO, SHA256), package("leaf", "1.0.0", FORK))
    done = app.carnet("explain", "leaf@1.0.0", "--message-format", "json")
    assert done.returncode == 1
    assert [(one["source"], one["allowed"]) for one in objects(done.stdout)] == [
        ("crates-io", True),
        ("foreign", False),
    ]
    assert app.carnet("verify", "leaf@1.0.0").returncode == 1
    allow(app, "git")
    assert app.carnet("explain", "leaf@1.0.0").returncode == 0
    assert app.carnet("verify", "leaf@1.0.0").returncode == 0


def test_ones_own_package_is_explained_as_that(app: App) -> None:
    write_lock(app.path)
    assert "app@0.1.0: your own" in app.carnet("explain", "app@0.1.0").stdout
    assert "is your own" in app.carnet("verify", "app@0.1.0").stdout


def test_a_checksum_is_held_against_a_crate_that_is_asked_for_by_name(app: App) -> None:
    write_lock(app.path, package("leaf", "1.0.0", CRATES_IO, "00" * 32))
    for command in (["verify", "leaf@1.0.0"], ["explain", "leaf@1.0.0"], ["policy", "explain", "leaf@1.0.0"]):
        done = app.carnet(*command)
        assert done.returncode == 1, command
        assert "in the lock" in done.stdout + done.stderr, command


# --- what it leaves out ---


def test_a_missing_checksum_is_told_and_taken_from_the_signed_index(app: App) -> None:
    write_lock(app.path, package("leaf", "1.0.0", CRATES_IO))
    done = app.carnet("verify", "--message-format", "json")
    assert done.returncode == 0, done.stderr
    leaf = next(one for one in objects(done.stdout) if one.get("name") == "leaf")
    assert leaf["sha256"] == SHA256
    assert [finding["rule"] for finding in leaf["findings"]] == ["no-checksum"]
    assert f"the signed index says {SHA256}" in app.carnet("explain", "leaf@1.0.0").stdout
    app.configure('[rules]\nno-checksum = "deny"\n')
    assert app.carnet("verify").returncode == 1
    assert app.carnet("explain", "leaf@1.0.0").returncode == 1
    write_lock(app.path)  # what no lock names has no checksum to miss
    assert app.carnet("verify", "leaf@1.0.0").returncode == 0


@pytest.mark.parametrize("text", ["", "# @generated by cargo\nversion = 4\n"])
def test_a_lock_without_a_package_is_told(app: App, text: str) -> None:
    (app.path / "Cargo.lock").write_text(text)
    done = app.carnet("verify", "--message-format", "json")
    assert done.returncode == 0, done.stderr
    assert "warning: Cargo.lock names no package at all: nothing was checked [empty-lock]" in done.stderr
    assert len(objects(done.stdout)[-1]["remarks"]) == 1
    app.configure('[rules]\nempty-lock = "deny"\n')
    denied = app.carnet("verify")
    assert denied.returncode == 1
    assert "cargo generate-lockfile" in denied.stderr
    app.configure('[rules]\nempty-lock = "allow"\n')
    assert "warning" not in app.carnet("verify").stderr


def test_a_lock_of_ones_own_packages_alone_is_told(app: App) -> None:
    write_lock(app.path)
    app.configure('[rules]\nempty-lock = "deny"\n')
    done = app.carnet("verify")
    assert done.returncode == 0
    assert "names the project's own packages alone: there was nothing to check" in done.stderr
