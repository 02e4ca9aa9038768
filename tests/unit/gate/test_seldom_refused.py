"""The gate's refusals, each by itself: what its integration tests see only with cargo around it, or never."""

from __future__ import annotations

import errno
import json
import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.worlds.ceremony import NOW

from carnet.cargo.lockfile import LockedPackage
from carnet.cargo.names import CrateId
from carnet.errors import ConfigError, FormatError, MetadataMismatch, PolicyRefused, StorageError, TransportError
from carnet_gate import admission, config, gate, home, loopback, outputs, project, sources
from carnet_gate.args import parse
from carnet_gate.cargo import Cargo, find_cargo
from carnet_gate.choosing.resolving import Resolved
from carnet_gate.comparison import marks, permissions, state, surroundings
from carnet_gate.confinement import landlock, protection
from carnet_gate.confinement.protection import Confinement, Means, Protection
from carnet_gate.gate import Gate
from carnet_verifier.cargo import checkouts, localregistry
from carnet_verifier.cargo.checkouts import Checkout
from carnet_verifier.cargo.localregistry import MARKER, Poisoned, Unfinished
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action
from carnet_verifier.policy.rules.runs import read_only_home

FOLDER, LINK, FILE = 0o040000, 0o120000, 0o100644
COMMIT = "0" * 40


def no(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


# --- what git has checked out ---


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    (tmp_path / ".git").mkdir()
    (tmp_path / MARKER).touch()
    (tmp_path / "src").mkdir()
    found = Checkout(tmp_path, COMMIT, {"src": (FOLDER, COMMIT)}, {"": b""})
    found.compare()
    return found


def test_a_repository_that_is_elsewhere_is_not_looked_into(checkout: Checkout) -> None:
    (checkout.path / ".git").rmdir()
    (checkout.path / ".git").write_text("gitdir: /elsewhere\n")
    with pytest.raises(Poisoned, match=r"\.git is not a folder"):
        checkout.read(COMMIT, "")


@pytest.mark.parametrize("name", ["", ".", "..", ".git", ".GIT", "a/b", "twice"])
def test_an_entry_that_git_itself_refuses_is_no_path(
    checkout: Checkout, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads(monkeypatch, [(FILE, "twice", COMMIT), (FILE, name, COMMIT)])
    with pytest.raises(FormatError, match="which git itself refuses"):
        checkout.read(COMMIT, "")


def reads(monkeypatch: pytest.MonkeyPatch, entries: list[tuple[int, str, str]], most: int = 1000) -> None:
    objects = SimpleNamespace(
        get=lambda oid, kind: b"",
        get_all=lambda oids, kind: [b"" for _ in oids],
        width=20,
        limits=SimpleNamespace(entries=most),
    )
    monkeypatch.setattr(checkouts, "GitObjects", lambda git_dir: nullcontext(objects))
    monkeypatch.setattr(checkouts, "tree_of", lambda commit: COMMIT)
    monkeypatch.setattr(checkouts, "tree_entries", lambda data, width: iter(entries))


def test_a_commit_has_no_end_of_entries_and_no_end_of_folders(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.entries.clear()
    reads(monkeypatch, [(FOLDER, "down", COMMIT)])  # a tree that holds itself: no real one can
    with pytest.raises(FormatError, match="more than 1000 entries, or folders below 100 others"):
        checkout.read(COMMIT, "")
    checkout.entries.clear()
    reads(monkeypatch, [(FILE, str(number), COMMIT) for number in range(3)], most=2)
    with pytest.raises(FormatError, match="more than 2 entries"):
        checkout.read(COMMIT, "")


def test_gits_own_folder_and_cargos_mark_are_what_they_are(checkout: Checkout, tmp_path: Path) -> None:
    for name, other in ((".git", "is a link or device"), (MARKER, "is a link or device")):
        kept = (checkout.path / name).rename(tmp_path.parent / f"{tmp_path.name}-{name}")
        (checkout.path / name).symlink_to(kept)
        with pytest.raises(Poisoned, match=other):
            checkout._compare_own(name)
        with pytest.raises((Poisoned, ConfigError)):
            checkout.compare()
        (checkout.path / name).unlink()
        kept.rename(checkout.path / name)


@pytest.mark.parametrize("name", [".git", MARKER])
def test_a_link_in_the_place_of_gits_own_is_found_in_the_first_look(
    checkout: Checkout, tmp_path: Path, name: str
) -> None:
    kept = (checkout.path / name).rename(tmp_path.parent / f"{tmp_path.name}-{name}")
    (checkout.path / name).symlink_to(kept)
    fresh = Checkout(checkout.path, COMMIT, dict(checkout.entries), {"": b""})
    fresh._mark = lambda repository: b""  # type: ignore[method-assign]
    assert [path for path, _ in fresh.differences({})] == [name]


def test_a_path_is_not_longer_than_systems_take(checkout: Checkout) -> None:
    checkout._add("x" * 4096, "x", FILE, COMMIT)
    with pytest.raises(FormatError, match="has a path of 4097 letters"):
        checkout._add("x" * 4097, "x", FILE, COMMIT)


@pytest.mark.parametrize("mode", [FOLDER, 0o160000, LINK, FILE, 0o010644, 0o020644])
def test_an_entry_is_of_its_kind(checkout: Checkout, mode: int) -> None:
    """A folder is none of these, and what is no file, folder, link or submodule is nothing that git has."""
    place = checkout.path / "entry"
    if mode in (FOLDER, 0o160000):
        place.write_text("x")
    else:
        place.mkdir()
    checkout.entries["entry"] = mode, COMMIT
    with pytest.raises(Poisoned, match="is not what the commit"):
        checkout._compare_entry("entry")


def test_a_file_that_became_a_link_or_grew_is_a_change(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = checkouts._poisoned("changed")
    (checkout.path / "link").symlink_to(MARKER)
    with pytest.raises(Poisoned, match="changed"):
        checkout._compare_file(checkout.path / "link", COMMIT, changed)
    (checkout.path / "large").write_bytes(b"xx")
    monkeypatch.setattr(checkouts, "MAX_BLOB", 1)
    oid = checkouts._blob(COMMIT, b"xx")
    with pytest.raises(Poisoned, match="changed"):
        checkout._compare_file(checkout.path / "large", oid, changed)


def test_a_disk_that_fails_is_no_checkout_that_is_good(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    package = LockedPackage(CrateId.of("dep", "0.1.0"), f"git+https://example.com/dep#{COMMIT}", None)
    monkeypatch.setattr(checkouts, "_folders", lambda home, commit: [checkout.path])
    monkeypatch.setattr(Checkout, "read", lambda self, commit, below: None)
    monkeypatch.setattr(Checkout, "compare", no)
    for ask in (
        lambda: checkouts.read_checkouts(checkout.path, [package]),
        lambda: checkouts.compare_checkouts(checkout.path, [checkout]),
    ):
        with pytest.raises(Poisoned, match="input/output error"):
            ask()


def test_a_checkout_that_is_no_longer_where_cargo_looks_is_gone(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even one that could be compared: cargo would compile from another."""
    monkeypatch.setattr(checkouts, "_folders", lambda home, commit: [checkout.path])
    checkouts.compare_checkouts(checkout.path, [checkout])
    monkeypatch.setattr(checkouts, "_folders", lambda home, commit: [])
    with pytest.raises(Poisoned, match="the checkout of 000000000000 was removed"):
        checkouts.compare_checkouts(checkout.path, [checkout])


# --- marks and surroundings ---


def test_a_mark_that_cannot_be_written_or_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = marks.Marks(tmp_path / "marks", [tmp_path / "target"])
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no)
        with pytest.raises(StorageError, match=r"\.new: input/output error"), found.held():
            pass
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", no)
        with pytest.raises(StorageError, match=r"\.json: input/output error"), found.held():
            pass
    assert list((tmp_path / "marks").iterdir()) == []
    link = tmp_path / "marks" / f"{'0' * 32}.json"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="too many levels of symbolic links"):
        found.require_none()


@pytest.mark.parametrize("path", ["00", "2f746d702f7800", "2f746d7000782f79"])
def test_a_mark_names_a_path_that_there_can_be(tmp_path: Path, path: str) -> None:
    found = marks.Marks(tmp_path / "marks", [tmp_path / "target"])
    (tmp_path / "target").mkdir()
    (tmp_path / "target/x").touch()
    mark = tmp_path / "marks" / f"{'0' * 32}.json"
    mark.write_text(f'{{"folders":[{{"path":"{path}","identity":[1,2,3]}}],"reason":"x"}}')
    with pytest.raises(StorageError, match="is damaged"):
        found.require_none()


def test_a_mark_says_why_in_words(tmp_path: Path) -> None:
    others: tuple[Any, ...] = (1, True, ["x"], {})
    for reason in others:
        with pytest.raises(TypeError):
            marks._reason({"reason": reason})
    assert marks._reason({"reason": None}) is None


def test_checkouts_are_compared_again_with_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Any = SimpleNamespace(locked=nullcontext)
    before: Any = state.StateBefore(registry, Path("/x"), {}, None, (), None)  # type: ignore[arg-type]
    monkeypatch.setattr(state, "compare_sources", lambda home, kept, before: None)
    monkeypatch.setattr(surroundings, "look", lambda *_: None)
    monkeypatch.setattr(surroundings, "compare", lambda before, after: None)
    monkeypatch.setattr(state, "compare_checkouts", lambda home, checkouts: None)
    before.compare_again()

    def changed(home: Path, checkouts: object) -> None:
        raise Poisoned("a file of the checkout", hint="x")

    monkeypatch.setattr(state, "compare_checkouts", changed)
    with pytest.raises(Poisoned, match="a file of the checkout -- it was changed while cargo ran"):
        before.compare_again()


@pytest.mark.parametrize("name", ["registry", "git"])
def test_a_folder_of_cargos_home_is_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert list(surroundings._files_of(tmp_path)) == []
    (tmp_path / name).rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Poisoned, match="was put there neither by carnet nor by cargo"):
        list(surroundings._files_of(tmp_path))
    (tmp_path / "elsewhere/home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere/home")
    with pytest.raises(Poisoned, match="link was put there neither"):
        list(surroundings._files_of(tmp_path / "link"))


# --- what is admitted, and what cargo unpacks ---


def test_of_several_refusals_each_is_told_and_then_how_many() -> None:
    told: list[Any] = []
    reporter: Any = SimpleNamespace(refused=told.append)
    admission._refuse([], 3, reporter)
    errors = [PolicyRefused("a"), PolicyRefused("b")]
    with pytest.raises(PolicyRefused, match="2 of 3 crates were not admitted; nothing was compiled"):
        admission._refuse(errors, 3, reporter)
    assert told == errors
    with pytest.raises(TransportError, match="2 of 3 crates"):
        admission._refuse([PolicyRefused("a"), TransportError("b")], 3, reporter)


def test_a_package_from_elsewhere_is_let_in_by_the_policy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses() -> None:
        raise PolicyRefused("from elsewhere")

    verdict: Any = SimpleNamespace(require=refuses)
    monkeypatch.setattr(admission, "foreign_verdicts", lambda lock, policy, now: (verdict,))
    reporter: Any = SimpleNamespace(
        counting=lambda what, number: nullcontext(lambda step: None), remarks=lambda one: None, refused=lambda one: None
    )
    grounds: Any = SimpleNamespace(clock=lambda: NOW, trust=SimpleNamespace(index_files=None), policy=Policy())
    lock: Any = SimpleNamespace(registry_packages=(), packages=(), nameless=("app",))
    with pytest.raises(PolicyRefused, match="from elsewhere"):
        admission.admit_lock(lock, None, grounds, None, reporter)  # type: ignore[arg-type]


def test_cargo_that_unpacks_elsewhere_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unfinished(home: Path, kept: object, *, synced: bool) -> None:
        raise Unfinished("demo@0.1.0: cargo's copy is not there")

    monkeypatch.setattr(localregistry, "compare_sources", unfinished)
    done = SimpleNamespace(returncode=0)
    made: Any = SimpleNamespace(cargo=SimpleNamespace(ask=lambda *_, **__: done), arguments=[], lock_flags=[])
    kept: Any = SimpleNamespace(path=tmp_path, environment=lambda project: {}, flags=[])
    with pytest.raises(MetadataMismatch, match="did not unpack the crates where the gate looks"):
        sources.unpack(made, kept, {}, lambda *_, **__: nullcontext(None), foreign=False)  # type: ignore[arg-type]


# --- cargo and the project ---


def test_cargo_is_found_or_it_is_said_that_it_is_not(tmp_path: Path) -> None:
    nothing = {"PATH": str(tmp_path)}
    with pytest.raises(ConfigError, match="cargo is not installed, or not in PATH"):
        find_cargo(None, tmp_path, nothing)
    with pytest.raises(ConfigError, match="the variable CARGO names /none/cargo, which is no program"):
        find_cargo(None, tmp_path, {**nothing, "CARGO": "/none/cargo"})
    with pytest.raises(StorageError, match="cannot be started"):
        Cargo((str(tmp_path / "cargo"),), tmp_path, nothing).ask("metadata")


@pytest.mark.parametrize(
    ("arguments", "returncode", "stdout", "why"),
    [
        ("build --manifest-path x/cargo.txt", 0, "{}", "must lead to a Cargo.toml"),
        ("build", 101, "", "could not find"),
        ("build", 0, "{", "cargo's metadata is not JSON"),
        ("build", 0, "[" * 100_000, "cargo's metadata is not JSON"),
        ("build", 0, "[]", "cargo's metadata is no JSON object"),
        ("build", 0, '{"workspace_root": "x"}', "does not say where its `workspace_root` is"),
        ("build", 0, '{"workspace_root": "/x", "target_directory": 1}', "does not say where its `target_directory` is"),
    ],
)
def test_cargo_says_where_a_project_is(arguments: str, returncode: int, stdout: str, why: str) -> None:
    done = SimpleNamespace(returncode=returncode, stdout=stdout, stderr="error: could not find `Cargo.toml`\n")
    cargo: Any = SimpleNamespace(ask=lambda *_, **__: done)
    with pytest.raises(ConfigError, match=why):
        project._places(project._ask(cargo, parse(arguments.split()), Confinement()))


@pytest.mark.parametrize("check", ["check_project", "check_home", "check_argument", "check_environment"])
def test_everything_that_configures_cargo_is_looked_at(
    check: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise PolicyRefused(check)

    monkeypatch.setattr(project, "find_cargo", lambda *_: None)
    places = dict.fromkeys(("workspace_root", "target_directory", "build_directory"), "/x/t")
    monkeypatch.setattr(project, "_ask", lambda *_: json.dumps(places))
    free: Any = lambda *_: nullcontext(Confinement())  # noqa: E731
    invocation = parse(["build", "--config", "a.b=1"])
    assert project.open_project(invocation, tmp_path, tmp_path, {}, free).outputs == (Path("/x/t"),)
    monkeypatch.setattr(config, check, refuses)
    with pytest.raises(PolicyRefused, match=check):
        project.open_project(invocation, tmp_path, tmp_path, {}, free)


def test_a_variable_that_leads_cargo_elsewhere_is_refused() -> None:
    config.check_environment({"PATH": "/bin", "CARGO_HOME": "/x"})
    with pytest.raises(ConfigError, match="CARGO_SOURCE_CRATES_IO_X is set in the environment"):
        config.check_environment({"CARGO_SOURCE_CRATES_IO_X": "1"})


@pytest.mark.parametrize("text", ["", "carnet", "other-0123", "carnet-../x", "carnet-\xff"])
def test_the_name_of_the_replacing_source_is_ours(tmp_path: Path, text: str) -> None:
    assert home._source_name(tmp_path) == home._source_name(tmp_path)
    (tmp_path / "source-name").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="source-name is damaged"):
        home._source_name(tmp_path)


def test_a_port_that_somebody_has_is_not_shared() -> None:
    with loopback.bind() as taken, pytest.raises(ConfigError, match="cannot listen on 127") as caught:
        loopback.bind(taken.getsockname()[1])
    assert "choose another --port" in caught.value.hint


# --- where cargo writes ---


def test_cargo_writes_beside_carnets_home_and_never_into_it(tmp_path: Path) -> None:
    place, lock = tmp_path / "home", tmp_path / "project/Cargo.lock"
    place.mkdir()
    lock.parent.mkdir()
    outputs.require_apart(place, [tmp_path / "target"], lock)
    for output in (place, place / "x", tmp_path):
        with pytest.raises(ConfigError, match="are not apart"):
            outputs.require_apart(place, [output], lock)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cargo cannot build into .* is no folder"):
        outputs.require_apart(place, [tmp_path / "file/target"], lock)
    lock.symlink_to(place / "trust.json")
    with pytest.raises(ConfigError, match="lies in carnet's home"):
        outputs.require_apart(place, [tmp_path / "target"], lock)


# --- confinement ---


class Libc:
    """A kernel that refuses one thing."""

    def __init__(self, refuses: str) -> None:
        self._refuses = refuses

    def syscall(self, number: int, *arguments: object) -> int:
        if number == landlock._CREATE_RULESET:
            return -1 if self._refuses == "create" else os.open("/dev/null", os.O_RDONLY)
        return -1 if self._refuses == "restrict" else 0

    def prctl(self, what: int, *arguments: object) -> int:
        return -1 if (what, self._refuses) in ((38, "privileges"), (landlock._PR_SET_SECCOMP, "filter")) else 0


@pytest.mark.parametrize("refuses", ["create", "restrict", "privileges", "filter", "rule"])
def test_a_kernel_that_refuses_confines_nothing(refuses: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started then: whoever calls this runs between `fork` and `exec`."""

    def grant(libc: object, rules: int, path: str) -> None:
        if refuses == "rule":
            raise StorageError("no rule")

    monkeypatch.setattr(landlock, "_libc", lambda: Libc(refuses))
    monkeypatch.setattr(landlock, "_grant", grant)
    monkeypatch.setattr(landlock, "_granting", landlock._Granting())
    before = len(list(Path("/proc/self/fd").iterdir()))
    if refuses in ("create", "rule"):
        with pytest.raises(StorageError):
            landlock.read_only([Path("/tmp")])
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        return
    rules, enter = landlock.read_only([Path("/tmp")])
    os.close(rules)
    with pytest.raises((StorageError, OSError)):
        enter()


def test_a_policy_may_ask_that_builds_cannot_write_to_carnets_home() -> None:
    warned: list[str] = []
    reporter: Any = SimpleNamespace(warn=warned.append)
    nothing = Protection(Means.NONE, "nothing", ("no Landlock",))
    for action, count in ((Action.ALLOW, 0), (Action.WARN, 1)):
        protection.require(nothing, Policy(rules={read_only_home.RULE: action}), reporter)
        assert len(warned) == count
    denies = Policy(rules={read_only_home.RULE: Action.DENY})
    protection.require(Protection(Means.LANDLOCK, "Landlock", ()), denies, reporter)
    with pytest.raises(PolicyRefused, match=r"build scripts can write to carnet's home .* no Landlock"):
        protection.require(nothing, denies, reporter)


# --- the run itself: every step that can stop it does ---


STEPS = ("apart", "protection", "marks before", "lock", "comparison", "permissions", "marks after")


class Stopped(Poisoned):
    """By the step that a test is about."""


@pytest.mark.parametrize("stops", STEPS)
def test_every_step_of_a_run_can_stop_it(stops: str, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    def step(name: str) -> None:
        happened.append(name)
        if name == stops:
            raise Stopped(name, hint="x")

    looked: list[str] = []

    def require_none() -> None:
        looked.append("marks")
        step("marks before" if len(looked) == 1 else "marks after")

    found: Any = Gate.__new__(Gate)
    found._home, found._folder, found._deciding = Path("/h"), Path("/h/cargo/0"), ()
    found._reporter = SimpleNamespace(warn=None)
    found._protection = SimpleNamespace(means=Means.NONE)
    found._project = SimpleNamespace(invocation=parse(["build"]), places=(Path("/x/target"),))
    found._grounds = SimpleNamespace(policy=None, open_view=lambda: nullcontext(None))
    found._asks = SimpleNamespace(trying=lambda attempt: attempt())
    found._lock = SimpleNamespace(path=Path("/x/Cargo.lock"), require_unchanged=lambda: step("lock"))
    found._confine = lambda *_: nullcontext(None)
    cargo_home = SimpleNamespace(environment=lambda project: {})
    before = SimpleNamespace(compare_again=lambda held: step("comparison"))
    for name, answer in (
        ("_lock_or_resolve", None),
        ("_admit", None),
        ("_registry", SimpleNamespace(locked=nullcontext)),
        ("_remembered", SimpleNamespace(settled={})),
        ("_apart", SimpleNamespace(outputs=(Path("/x/target"),), make=lambda warn: None)),
        ("_prepare", SimpleNamespace(project=None, home=cargo_home, before=before, assumed=False)),
        ("_tell", None),
        ("_run", 7),
    ):
        setattr(found, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(gate, "require_apart", lambda *_: step("apart"))
    monkeypatch.setattr(gate, "require", lambda *_: step("protection"))
    monkeypatch.setattr(permissions, "look", lambda *_: None)
    monkeypatch.setattr(permissions, "compare", lambda *_: step("permissions"))
    monkeypatch.setattr(gate, "make_outputs", lambda outputs: None)
    made = SimpleNamespace(require_none=require_none, held=nullcontext)
    monkeypatch.setattr(gate, "Marks", lambda folder, outputs: made)
    with pytest.raises(Stopped, match=stops):
        found.run()
    assert happened == list(STEPS[: STEPS.index(stops) + 1])


def test_a_lock_is_there_or_made() -> None:
    found: Any = Gate.__new__(Gate)
    found._lock = SimpleNamespace(path=Path("/x/Cargo.lock"), read_if_any=lambda: None, read=lambda: "made")
    found._project = SimpleNamespace(invocation=parse(["build", "--locked"]))
    with pytest.raises(ConfigError, match=r"Cargo\.lock does not exist, and --locked was given"):
        found._lock_or_resolve(None)
    found._project = SimpleNamespace(invocation=parse(["build"]))
    found._resolve = lambda view: Resolved(0)
    assert found._lock_or_resolve(None) == "made"
    found._resolve = lambda view: Resolved(101)
    with pytest.raises(ConfigError, match="cargo could not resolve the dependencies"):
        found._lock_or_resolve(None)
