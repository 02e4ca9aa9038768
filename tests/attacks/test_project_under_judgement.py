"""A project under judgement: its files lower nothing that a flag, the environment, the machine or the user asks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.command import Ran, carnet
from tests.support.machines.gatebox import BRANCH, LEAF, LOCK, GateBox, gate_box
from tests.support.registries.signed import SignedRegistry

from carnet.cargo.crate import read_crate
from carnet_cli.config import places

DAY = (datetime.now(UTC) + timedelta(days=30)).date()
ASKS = '[policy]\nleast-level = "provenance"\n'
WEAK = {
    "the rule switched off": '[rules]\nlevel = "allow"\n',
    "the rule only warned of": '[rules]\nlevel = "warn"\n',
    "a lower level": '[policy]\nleast-level = "registry"\n',
    "a lower level of every crate": '[[require]]\ncrates = "*"\nleast-level = "registry"\n',
    "an exception for all": f'[[exception]]\ncrates = "*"\nrule = "level"\nreason = "x"\nexpires = {DAY}\n',
    "an exception by name": f'[[exception]]\ncrates = "leaf"\nrule = "level"\nreason = "x"\nexpires = {DAY}\n',
    "an exception by version": f'[[exception]]\ncrates = "leaf@1.*"\nrule = "level"\nreason = "x"\nexpires = {DAY}\n',
    "an exception that it lets itself make": (
        '[project]\nmay-except = ["level"]\n'
        f'[[exception]]\ncrates = "*"\nrule = "level"\nreason = "x"\nexpires = {DAY}\n'
    ),
}
FLOORS = ("flag", "environment", "machine", "user")


class Desk:
    """A machine whose user, administrator and environment may each say something, and a cloned project."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch, self._flags = folder, patch, list[str]()
        self.project, self.user, self.machine = folder / "work/app", folder / "home/.config/carnet", folder / "etc"
        self.project.mkdir(parents=True)

    def says(self, floor: str, text: str = ASKS) -> None:
        """Let one of the floor's voices ask for the level `provenance`."""
        if floor == "flag":
            self._flags = ["--least-level", "provenance"]
        elif floor == "environment":
            self._patch.setenv("CARNET_LEAST_LEVEL", "provenance")
        else:
            folder = self.machine if floor == "machine" else self.user
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / "carnet.toml").write_text(text)
            (folder / "carnet.toml").chmod(0o600)

    def verify(self, target: object = "Cargo.lock") -> Ran:
        return carnet("verify", *self._flags, target)

    def works(self, target: object = "Cargo.lock") -> Ran:
        ran = self.verify(target)
        assert ran.status == 0, ran
        return ran

    def refused(self, target: object = "Cargo.lock") -> Ran:
        ran = self.verify(target)
        assert ran.status == 1, ran
        assert "the policy asks for provenance [level], says " in ran.err, ran
        return ran


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, SignedRegistry]]:
    registry = SignedRegistry()
    registry.add(LEAF, BRANCH)
    folder = tmp_path_factory.mktemp("trusting")
    with registry.serving(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("CARNET_HOME", str(folder / "carnet"))
        (folder / "root.json").write_bytes(registry.root)
        assert carnet("trust", "add", registry.url, "--root", folder / "root.json").status == 0
        yield folder / "carnet", registry


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusting: tuple[Path, SignedRegistry]) -> Desk:
    one = Desk(tmp_path, monkeypatch)
    for name in [name for name in os.environ if name.startswith(("CARNET_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CARNET_HOME", str(trusting[0]))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(places, "MACHINE", one.machine)
    monkeypatch.setattr(places, "MACHINE_OWNER", os.geteuid())
    checksums = {"leaf": read_crate(LEAF).sha256, "branch": read_crate(BRANCH).sha256}
    (one.project / "Cargo.lock").write_text(LOCK.format(**checksums))
    monkeypatch.chdir(one.project)
    return one


@pytest.mark.parametrize("floor", FLOORS)
def test_a_projects_file_lowers_nothing(desk: Desk, floor: str) -> None:
    desk.works()
    desk.says(floor)
    desk.refused()
    for name, text in WEAK.items():
        (desk.project / "carnet.toml").write_text(text)
        ran = desk.refused()
        told = "of every crate" in name or f"{desk.project / 'carnet.toml'}" in ran.err
        assert told, (name, ran)


def test_the_user_lets_projects_except_a_rule(desk: Desk) -> None:
    """The control: what the user says counts, and so do a project's exceptions that the user lets it make."""
    (desk.project / "carnet.toml").write_text(WEAK["an exception for all"])
    desk.says("user", ASKS + '[project]\nmay-except = ["yanked"]\n')
    desk.refused()
    desk.says("user", ASKS + '[project]\nmay-except = ["level"]\n')
    assert "excused until" in desk.works().err
    desk.says("user", ASKS + WEAK["an exception by name"].replace("leaf", "*"))
    (desk.project / "carnet.toml").unlink()
    desk.works()


def test_a_project_excepts_from_what_it_alone_asks(desk: Desk) -> None:
    """So that asking for more is not a trap; of what the floor asks as well, nothing is excused."""
    (desk.project / "carnet.toml").write_text(ASKS + WEAK["an exception for all"])
    assert "excused until" in desk.works().err
    desk.says("user", '[policy]\nleast-level = "maintainer"\n')
    desk.refused()


def test_what_the_machine_lets_projects_except_the_user_can_withhold(desk: Desk) -> None:
    (desk.project / "carnet.toml").write_text(WEAK["an exception for all"])
    desk.says("machine", ASKS + '[project]\nmay-except = ["level", "yanked"]\n')
    desk.works()
    desk.says("user", '[project]\nmay-except = ["yanked"]\n')
    desk.refused()


def test_a_project_may_ask_for_more(desk: Desk) -> None:
    desk.says("user", '[policy]\nleast-level = "registry"\n')
    desk.works()
    (desk.project / "carnet.toml").write_text(ASKS)
    assert f"says {desk.project / 'carnet.toml'}" in desk.refused().err


def _above(desk: Desk) -> Path:
    return desk.project.parent / "carnet.toml"


def _member(desk: Desk) -> Path:
    member = desk.project / "members/one"
    member.mkdir(parents=True)
    return member / "carnet.toml"


def _linked(desk: Desk) -> Path:
    """`carnet.toml` is a link out of the project, to whatever lies on the machine."""
    elsewhere = desk.folder / "elsewhere.toml"
    (desk.project / "carnet.toml").symlink_to(elsewhere)
    return elsewhere


def _linked_folder(desk: Desk) -> Path:
    """The project itself is reached by a link, and its file lies where the link leads."""
    (desk.folder / "link").symlink_to(desk.project)
    os.chdir(desk.folder / "link")
    return desk.project / "carnet.toml"


@pytest.mark.parametrize("place", [_above, _member, _linked, _linked_folder])
@pytest.mark.parametrize("name", ["the rule switched off", "an exception for all"])
def test_wherever_the_project_puts_its_file(desk: Desk, place: Callable[[Desk], Path], name: str) -> None:
    desk.works()
    desk.says("user")
    place(desk).write_text(WEAK[name])
    desk.refused()
    if place is _member:
        os.chdir(desk.project / "members/one")
    desk.refused(desk.project / "Cargo.lock")
    desk.refused("leaf@1.0.0")


@pytest.mark.parametrize("by", ["--config", "CARNET_CONFIG"])
def test_a_file_of_the_projects_that_somebody_names_is_still_the_projects(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """A file elsewhere is the word of whoever names it; one that comes with the code is not."""
    own = desk.folder / "own.toml"
    own.write_text(WEAK["the rule switched off"])
    (desk.project / "ci").mkdir()
    (desk.project / "ci/lax.toml").write_text(WEAK["the rule switched off"])
    (desk.project / "ci/link.toml").symlink_to(own)
    desk.says("user")

    def named(path: Path) -> int:
        if by == "CARNET_CONFIG":
            monkeypatch.setenv(by, str(path))
            return carnet("verify").status
        return carnet("verify", by, path).status

    assert named(own) == 0
    assert named(desk.project / "ci/lax.toml") == 1
    assert named(Path("ci/lax.toml")) == 1
    assert named(desk.project / "ci/link.toml") == 1


@pytest.mark.parametrize("home", [".", "", "app", "above"])
def test_a_users_file_that_comes_with_the_project_is_the_projects(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    """A CI whose HOME is the checkout, whose program may be in a folder below it, or names no place at all."""
    desk.says("machine")
    checkout = desk.project.parent if home == "above" else desk.project
    (checkout / ".git").mkdir()
    folder = checkout / ".config/carnet"
    folder.mkdir(parents=True)
    (folder / "carnet.toml").write_text(WEAK["an exception for all"] + '[project]\nmay-except = ["level"]\n')
    (folder / "carnet.toml").chmod(0o600)
    folder.chmod(0o700)
    monkeypatch.setenv("HOME", str(checkout) if home in ("app", "above") else home)
    ran = desk.refused()
    assert ("lies in the project: it can only ask for more" in ran.err) == (home in ("app", "above"))
    monkeypatch.setenv("XDG_CONFIG_HOME", ".config")
    desk.refused()


@pytest.mark.parametrize("command", ["verify", "explain", "policy explain"])
@pytest.mark.parametrize("by", ["--config", "CARNET_CONFIG", "HOME", "XDG_CONFIG_HOME"])
def test_a_folder_in_the_project_gives_its_files_no_other_rank(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, by: str, command: str
) -> None:
    """Such as a member of the workspace, in which there is no lock."""
    member = desk.project / "members/one"
    member.mkdir(parents=True)
    folder = desk.project / ".config/carnet"
    folder.mkdir(mode=0o700, parents=True)
    (folder / "carnet.toml").write_text(WEAK["an exception for all"])
    (folder / "carnet.toml").chmod(0o600)
    monkeypatch.chdir(member)
    named = []
    if by == "--config":
        named = [by, "../../.config/carnet/carnet.toml"]
    else:
        values = {"HOME": desk.project, "XDG_CONFIG_HOME": desk.project / ".config"}
        monkeypatch.setenv(by, str(values.get(by, folder / "carnet.toml")))
    ran = carnet(*command.split(), "leaf@1.0.0", "--least-level", "provenance", *named)
    assert ran.status == 1, ran
    assert "lies in the project: it can only ask for more" in ran.err


@pytest.mark.parametrize("command", ["verify", "explain", "policy explain"])
def test_a_project_is_one_whichever_folder_of_it_a_command_runs_in(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """What builds refuse, no other command calls allowed."""
    (desk.project / "carnet.toml").write_text(ASKS)
    (desk.project / "src/bin").mkdir(parents=True)
    monkeypatch.chdir(desk.project / "src/bin")
    ran = carnet(*command.split(), "leaf@1.0.0")
    assert ran.status == 1, ran
    assert f"says {desk.project / 'carnet.toml'}" in ran.out + ran.err


def test_a_home_folder_is_no_project(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a command that runs in it, about a crate and no lock, is judged by the user's own word."""
    desk.says("machine")
    desk.says("user", WEAK["an exception for all"])
    monkeypatch.chdir(desk.folder / "home")
    (desk.folder / "home/.git").mkdir()
    assert "excused until" in desk.works("leaf@1.0.0").err


def test_a_project_chooses_no_repository(
    desk: Desk, trusting: tuple[Path, SignedRegistry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that the user trusts, the one whose word is worth less is not the project's to take."""
    lax = SignedRegistry("lax")
    lax.add(LEAF, honest_crate("evil", "1.0.0"))
    home = desk.folder / "two"
    with lax.serving():
        monkeypatch.setenv("CARNET_HOME", str(home))
        for number, one in enumerate((trusting[1], lax)):
            (desk.folder / f"root{number}.json").write_bytes(one.root)
            assert carnet("trust", "add", one.url, "--root", desk.folder / f"root{number}.json").status == 0
        (desk.project / "carnet.toml").write_text(f'repository = "{lax.url}"\n')
        ran = desk.verify("evil@1.0.0")
        assert ran.status == 2
        assert "more than one repository is trusted, and the project alone asks for" in ran.err
        desk.says("user", f'repository = "{trusting[1].url}"\n')
        ran = desk.verify("evil@1.0.0")
        assert ran.status == 1
        assert "evil is not in the signed index" in ran.err
        assert f"does not count: {trusting[1].url} is asked for" in ran.err
        desk.says("user", f'[project]\nmay-choose = ["{lax.url}"]\n')
        desk.works("evil@1.0.0")


def test_explain_says_who_decided(desk: Desk) -> None:
    desk.says("user")
    (desk.project / "carnet.toml").write_text(WEAK["the rule switched off"])
    ran = carnet("explain", "leaf@1.0.0")
    assert ran.status == 1
    assert f"the policy asks for provenance [level], says {desk.user / 'carnet.toml'}" in ran.out


# --- the gate ---


@contextmanager
def _gate(tmp_path: Path) -> Iterator[GateBox]:
    (tmp_path / "machine").mkdir()
    with gate_box(tmp_path / "machine") as box:
        yield box


@pytest.mark.cargo
def test_the_gate_asks_what_the_user_asks(tmp_path: Path) -> None:
    with _gate(tmp_path) as box:
        (box.project / "carnet.toml").write_text(WEAK["the rule switched off"])
        assert "says CARNET_LEAST_LEVEL" in box.refused("check", env={"CARNET_LEAST_LEVEL": "provenance"})
        (box.project / "carnet.toml").write_text(WEAK["an exception for all"])
        file = box.machine.configure(ASKS)
        assert f"[level], says {file}" in box.refused("check")
        file.unlink()
        box.works("fetch")
