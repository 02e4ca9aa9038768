"""What cargo could not choose: which versions were kept from it, and what the mirror lacks."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.crates.archives import honest_crate

from carnet.cargo.admitted import AdmittedVersions
from carnet.cargo.asked import AskedFor
from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import IndexLine, line_from_crate
from carnet.cargo.lockfile import CRATES_IO, LockedPackage
from carnet.cargo.names import CrateId, CrateName, Version
from carnet_cli.report.gate import TerminalReporter
from carnet_gate.args import parse
from carnet_gate.cargo import Cargo
from carnet_gate.choosing import choices
from carnet_gate.choosing.choices import Choices, asked_by, updates_of
from carnet_gate.choosing.resolving import Resolved, sentence, unresolved
from carnet_gate.gate import _kept
from carnet_gate.project import Project
from carnet_gate.reporter import Lacking, Skipped


def line(name: str, version: str, needs: str = "") -> IndexLine:
    return line_from_crate(read_crate(honest_crate(name, version, extra=needs)), pubtime=None)


def told(offered: Sequence[IndexLine] = (), hidden: Sequence[str] = (), unknown: Sequence[str] = ()) -> Choices:
    """Choices as cargo was given them; hidden versions are `name@version`."""
    choices = Choices()
    away = [CrateId.parse(text) for text in hidden]
    for name in {*(one.id.name for one in offered), *(one.name for one in away)}:
        reasons = {one: f"{one} is young" for one in away if one.name == name}
        choices.offered(name, [one for one in offered if one.id.name == name], reasons)
    for text in unknown:
        choices.lacks(CrateName(text))
    return choices


def asked(*texts: str) -> list[AskedFor]:
    return [AskedFor.parse(text) for text in texts]


def chosen(*texts: str) -> list[CrateId]:
    return [CrateId.parse(text) for text in texts]


@pytest.mark.parametrize(
    ("hidden", "taken", "expected"),
    [
        (["leaf@1.1.0"], ["leaf@1.0.0"], [("leaf@1.1.0", 0)]),
        (["leaf@1.1.0", "leaf@1.2.0", "leaf@1.10.0"], ["leaf@1.0.0"], [("leaf@1.10.0", 2)]),
        (["leaf@0.9.0", "leaf@2.0.0"], ["leaf@1.0.0"], []),
        (["leaf@0.2.1", "leaf@0.3.0"], ["leaf@0.2.0"], [("leaf@0.2.1", 0)]),
        (["leaf@1.1.0-rc.1"], ["leaf@1.0.0"], []),
        (["leaf@1.1.0", "leaf@2.1.0"], ["leaf@1.0.0", "leaf@2.0.0"], [("leaf@2.1.0", 1)]),
        (["leaf@1.1.0", "twig@3.0.0"], [], [("leaf@1.1.0", 0), ("twig@3.0.0", 0)]),
    ],
)
def test_a_version_is_skipped_that_cargo_could_have_taken(
    hidden: list[str], taken: list[str], expected: list[tuple[str, int]]
) -> None:
    found = told(hidden=hidden).skipped(chosen(*taken))
    assert found == [Skipped(CrateId.parse(name), others, f"{name} is young") for name, others in expected]


NEEDS_LEAF = '[dependencies]\nleaf = "2"\n[dev-dependencies]\ntwig = "1"\n'
CASES: Mapping[str, tuple[Choices, list[AskedFor], list[str]]] = {
    "nothing": (told([line("leaf", "1.0.0")]), asked("leaf@1"), []),
    "no such crate": (told(unknown=["leaf"]), asked("leaf@1"), ["leaf@^1"]),
    "no such version": (told([line("leaf", "1.0.0")]), asked("leaf@2"), ["leaf@^2"]),
    "one that is only hidden": (told([line("leaf", "1.0.0")], ["leaf@2.0.0"]), asked("leaf@2"), []),
    "one that cargo did not ask for": (told(), asked("leaf@1"), []),
    "what something needs": (
        told([line("branch", "0.2.0", NEEDS_LEAF)], unknown=["leaf"]),
        asked("branch"),
        ["leaf@^2"],
    ),
    "a version that something needs": (
        told([line("branch", "0.2.0", NEEDS_LEAF), line("leaf", "1.0.0")]),
        asked("branch"),
        ["leaf@^2"],
    ),
    "what only a feature leads to": (told([line("branch", "0.2.0")], unknown=["leaf"]), asked("branch"), ["leaf@*"]),
    "another spelling that cargo tries": (
        told(unknown=["my-leaf", "my_leaf"]),
        asked("my-leaf@1"),
        ["my-leaf@^1"],
    ),
    "a circle": (told([line("leaf", "1.0.0", '[dependencies]\nleaf = "1"\n')]), asked("leaf"), []),
}


@pytest.mark.parametrize("case", CASES)
def test_what_the_mirror_lacks_is_named(case: str) -> None:
    choices, wanted, expected = CASES[case]
    assert [str(one.asked) for one in choices.lacking(wanted)] == expected


def test_who_needs_it_is_told() -> None:
    choices = told([line("branch", "0.2.0", NEEDS_LEAF)], unknown=["leaf"])
    assert choices.lacking(asked("branch")) == [Lacking(asked("leaf@2")[0], CrateId.of("branch", "0.2.0"))]


@pytest.mark.parametrize("hides", [False, True])
def test_a_crate_of_many_versions_and_requirements_costs_no_more_than_is_allowed(
    monkeypatch: pytest.MonkeyPatch, hides: bool
) -> None:
    """Whoever publishes names a thousand requirements of a crate that has a thousand versions."""
    compared: list[Version] = []
    admits = AdmittedVersions.admits

    def counted(self: AdmittedVersions, version: Version) -> bool:
        compared.append(version)
        return admits(self, version)

    monkeypatch.setattr(AdmittedVersions, "admits", counted)
    leaf, many = line("leaf", "1.0.0"), [f"leaf@1.{number}.0" for number in range(60)]
    made = told(hidden=many) if hides else told([replace(leaf, id=CrateId.parse(one)) for one in many])
    wanted = asked(*(f"leaf@=1.{number}.0" for number in range(60)), "leaf@=2.0.0")
    assert [str(one.asked) for one in made.lacking(wanted)] == ["leaf@=2.0.0"]
    whole = len(compared)
    monkeypatch.setattr(choices, "_MOST_COMPARED", 300)
    compared.clear()
    assert made.lacking(wanted) == [], "what is not looked at is not told"
    assert len(compared) < 300 + 2 * 60 < whole


def test_the_sentence_for_the_operator_is_typed_as_it_stands() -> None:
    lacking = (Lacking(asked("leaf@2")[0]), Lacking(asked("twig")[0]))
    assert sentence(lacking) == "carnet mirror sync DIR 'leaf@^2' twig"
    assert f"`{sentence(lacking)}`" in unresolved("it", Resolved(101, lacking)).hint
    assert "`carnet mirror sync DIR --lockfile FILE`" in unresolved("it", Resolved(101)).hint
    skipped = (Skipped(CrateId.of("leaf", "1.1.0"), 0, "young"),)
    assert "`carnet policy explain leaf@1.1.0`" in unresolved("it", Resolved(101, (), skipped)).hint


@pytest.mark.parametrize("text", ["leaf@=1.0.2", "leaf@>=1, <2", "leaf@~1.2.3-rc.1", "le_af-9@1.*", "leaf@*"])
def test_a_shell_hands_the_operator_what_was_asked_for(text: str) -> None:
    lacking = [Lacking(AskedFor.parse(text)), Lacking(AskedFor.parse("twig@1"))]
    assert [AskedFor.parse(word) for word in shlex.split(sentence(lacking))[4:]] == [one.asked for one in lacking]


def test_ten_thousand_that_are_missing_are_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A project names as many as it likes; twenty are told, which the control shows whole."""
    lacking = [Lacking(AskedFor(CrateName(f"leaf{number}"))) for number in range(10_000)]
    TerminalReporter().missing(lacking[:20])
    assert capsys.readouterr().err.count("Missing leaf") == 20
    TerminalReporter().missing(lacking)
    said = capsys.readouterr().err.splitlines()
    assert said[:-1] == [f"     Missing {one.asked}: the mirror has none" for one in lacking[:20]]
    assert said[-1] == "     Missing 9980 more, which the hint names"


def test_machines_are_told_all_of_it_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = [Skipped(CrateId.of("leaf", f"1.{number}.0"), number, "young") for number in range(30)]
    lacking = [Lacking(asked("leaf@2")[0]), Lacking(asked("twig")[0], CrateId.of("branch", "0.2.0"))]
    reporter = TerminalReporter(for_machines=True)
    reporter.skipped(skipped)
    reporter.missing(lacking)
    found = capsys.readouterr()
    assert [json.loads(one) for one in found.out.splitlines()] == [
        *(
            {
                "reason": "carnet-skipped",
                "name": "leaf",
                "version": f"1.{number}.0",
                "older": number,
                "message": "young",
            }
            for number in range(30)
        ),
        {"reason": "carnet-missing", "name": "leaf", "requirement": "^2", "by": None, "typed": "'leaf@^2'"},
        {"reason": "carnet-missing", "name": "twig", "requirement": "*", "by": "branch@0.2.0", "typed": "twig"},
    ]
    TerminalReporter().skipped(skipped)
    TerminalReporter().missing(lacking)
    people = capsys.readouterr()
    assert (people.out, people.err) == ("", found.err)


@pytest.mark.parametrize(
    ("args", "for_machines", "left"),
    [
        (["update", "--message-format", "json", "leaf"], True, ["leaf"]),
        (["add", "leaf", "--message-format=json"], True, ["leaf"]),
        (["add", "leaf", "--message-format=human"], False, ["leaf"]),
        (["update", "--message-format", "yaml"], False, ["--message-format", "yaml"]),
        (["build", "--message-format", "json-diagnostic-short,json"], True, None),
        (["clippy", "--message-format=json"], True, None),
        (["build", "--message-format", "short"], False, None),
        (["run", "--", "--message-format", "json"], False, None),
        (["nextest", "list", "--message-format", "json"], False, None),
        (["llvm-cov", "nextest", "--message-format=json"], False, None),
    ],
)
def test_who_asks_for_json(args: list[str], for_machines: bool, left: list[str] | None) -> None:
    """cargo's own commands that choose versions know no format; nextest's is one document."""
    found = parse(args)
    assert found.for_machines is for_machines
    assert left is None or list(found.choosing) == left


def project(*command: str, dependencies: Sequence[Mapping[str, Any]] = ()) -> Project:
    described = json.dumps({"packages": [{"dependencies": list(dependencies)}]})
    cargo = cast(Cargo, None)
    return Project(parse(command), cargo, Path("/c"), Path("/w"), (), described=described)


def test_a_project_asks_for_what_its_manifests_and_cargo_add_name() -> None:
    known: dict[str, Any] = {"name": "leaf", "req": "^1", "source": CRATES_IO}
    others: list[dict[str, Any]] = [
        {"name": "near", "req": "*", "source": None},
        known | {"source": "git+https://x.example/y"},
    ]
    assert asked_by(project("build", dependencies=[known, *others])) == asked("leaf@1")
    assert asked_by(project("add", "twig@2", "b", "no one", dependencies=[known])) == asked("twig@2", "b", "leaf@1")
    assert asked_by(project("add", "twig", "--git", "https://x.example/y")) == []
    assert asked_by(project("build", "twig")) == []
    for spec in (["twig"], ["-p", "twig@0.9.0"], ["twig:0.9.0"], ["registry+https://x.example/i#twig@0.9.0"]):
        assert asked_by(project("update", *spec, "--precise", "1.0.1")) == asked("twig@=1.0.1")
    assert asked_by(project("update", "twig", "--precise=1.0.1")) == asked("twig@=1.0.1")
    assert asked_by(project("update", "twig")) == asked_by(project("update", "twig", "--precise", "a commit")) == []


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (["build"], ["branch", "leaf"]),
        (["update"], []),
        (["update", "leaf"], ["branch"]),
        (["update", "-p", "leaf@1.0.0"], ["branch"]),
        (["update", "--workspace"], ["branch", "leaf"]),
        (["add", "leaf"], ["branch", "leaf"]),
    ],
)
def test_what_a_command_leaves_locked_is_not_told_of(command: list[str], kept: list[str]) -> None:
    lock = SimpleNamespace(registry_packages=[SimpleNamespace(id=one) for one in chosen("leaf@1.0.0", "branch@0.2.0")])
    assert sorted(str(one.name) for one in _kept(parse(command), cast(Any, lock))) == kept


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["update"], ["leaf@^1.0"]),
        (["update", "leaf"], ["leaf@^1.0.2"]),
        (["update", "-p", "twig@0.3.0"], ["twig@^0.3.0"]),
        (["update", "elsewhere"], []),
        (["update", "leaf", "--precise", "1.0.9"], ["leaf@=1.0.9", "leaf@^1.0"]),
    ],
)
def test_update_asks_for_the_newest_of_what_it_would_change(command: list[str], expected: list[str]) -> None:
    """Of the whole project by its manifests, of what is named by what fits in its place."""
    packages = [
        LockedPackage(CrateId.parse(text), CRATES_IO, None) for text in ("leaf@1.0.2", "twig@0.3.0", "other@2.0.0")
    ]
    pinned: Any = SimpleNamespace(registry_packages=packages)
    there = project(*command, dependencies=[{"name": "leaf", "req": "^1.0", "source": CRATES_IO}])
    assert [str(one) for one in updates_of(there, pinned)] == expected
