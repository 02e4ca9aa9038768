"""Rules and kinds of evidence are data: one file each, and everything that speaks of them iterates over the files."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.worlds.admissions import facts_of, unchecked_evidence

from carnet.cargo.names import CrateId
from carnet.errors import FormatError
from carnet.level import Level
from carnet_cli.report.rules import rules_as_table, rules_in_words, settings_as_table
from carnet_verifier.policy import rules
from carnet_verifier.policy.evaluate import evaluate, in_force
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Facts, Rule
from carnet_verifier.policy.rules import level, mass_yank, yanked, young
from carnet_verifier.provenance.kind import PROVENANCE

PROJECT = Path(__file__).parents[3]
ROOMS = ("core", "evidence", "signer", "verifier", "gate", "mirror", "cli", "layouts")
NOW = datetime(2026, 6, 1, tzinfo=UTC)
SERDE = CrateId.of("serde", "1.0.219")


def test_each_file_of_the_folder_is_one_rule() -> None:
    folder = Path(rules.__path__[0])
    files = {path.stem.replace("_", "-") for path in folder.rglob("*.py") if path.name != "__init__.py"}
    assert {rule.name for rule in rules.ALL} == files
    assert len(rules.ALL) >= 10
    assert rules.named("young") is young.RULE
    with pytest.raises(FormatError, match="'yong' is not a rule"):
        rules.named("yong")


def test_no_two_rules_bring_a_setting_of_one_name() -> None:
    names = [setting.name for setting in rules.settings()]
    assert len(set(names)) == len(names)


def test_the_documents_show_what_the_rules_say_of_themselves() -> None:
    document = (PROJECT / "docs/build-systems.md").read_text()
    assert f"\n\n{rules_as_table()}\n\n" in document
    assert f"\n\n{settings_as_table()}\n\n" in document
    for rule in rules.ALL:
        assert rule.name in rules_in_words()
        assert rule.about[0].isupper()
        assert rule.about.endswith(".")


def test_a_rule_waits_for_evidence_that_was_not_gathered() -> None:
    """And nobody is let in meanwhile, however little the other rules found."""
    verdict = evaluate(Facts(SERDE, evidence=unchecked_evidence({})), Policy(), now=NOW)
    assert [rule.name for rule in verdict.waiting] == ["downgrade", "level", "mass-yank"]
    assert verdict.findings == ()
    assert evaluate(facts_of(SERDE, Level.REGISTRY), Policy(), now=NOW).waiting == ()


def test_a_rule_sees_only_the_evidence_that_it_names() -> None:
    facts = Facts(SERDE, Level.REGISTRY, evidence=unchecked_evidence({PROVENANCE: None}))
    with pytest.raises(LookupError, match="mass-yank was not gathered"):
        list(mass_yank.RULE.judge(facts, Policy(), NOW))
    with pytest.raises(LookupError, match="no evidence was gathered"):
        list(mass_yank.RULE.judge(Facts(SERDE), Policy(), NOW))


def test_a_level_that_nothing_says_is_none() -> None:
    facts = Facts(SERDE, evidence=unchecked_evidence({PROVENANCE: None}))
    (breach,) = level.RULE.judge(facts, Policy(), NOW)
    assert "nothing says at what level" in breach.message


def test_what_leads_to_nothing_is_not_judged_and_its_evidence_not_gathered() -> None:
    assert mass_yank.RULE in in_force(Policy())
    assert mass_yank.RULE not in in_force(Policy(rules={mass_yank.RULE: Action.ALLOW}))
    assert young.RULE not in in_force(Policy())
    assert yanked.RULE in in_force(Policy())


def test_findings_have_one_order_whatever_the_order_of_the_rules() -> None:
    facts = facts_of(SERDE, Level.REGISTRY, Level.MAINTAINER, Level.MAINTAINER, takeover=True, yanked="the registry")
    judging = in_force(Policy())
    names = [
        [finding.rule.name for finding in evaluate(facts, Policy(), now=NOW, judging=order).findings]
        for order in (judging, judging[::-1])
    ]
    assert names[0] == names[1] == ["downgrade", "level", "takeover", "yanked"]


# --- a new one ---

KIND = '''"""How long a crate's name is."""

from __future__ import annotations

from carnet_evidence.kind import Kind

LENGTH: Kind[int | None] = Kind("length", frozenset(("line",)), lambda material: len(str(material.line.id.name)))
'''

RULE = '''"""`long-name`: nobody can type it."""

from __future__ import annotations

from carnet_evidence.length import LENGTH
from carnet_verifier.policy.rule import Rule, Setting
from carnet_verifier.policy.rule import Action, Breach

MOST: Setting[int] = Setting("most-letters", 64, int, int, min, "How many letters a name may have.")


def _judge(facts, policy, _):
    if facts.of(LENGTH) > policy.asks(MOST, facts.crate):
        yield Breach(f"{facts.crate} has a name of {facts.of(LENGTH)} letters")


RULE = Rule("long-name", Action.WARN, "Its name is long.", _judge, needs=(LENGTH,), settings=(MOST,), of_version=True)
'''

SCRIPT = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from click.testing import CliRunner
from tests.support.crates.archives import honest_crate
from tests.support.worlds.admissions import attributed_of
from carnet_cli.commands.build import verify
from carnet_cli.config import settings as config
from carnet_cli.report.as_json import verdict_findings
from carnet_cli.report.rules import rules_as_table, settings_as_table
from carnet_verifier.cargo.proxy import cargo_lines
from carnet_verifier.line import admit, inspect, judge, needed
from carnet_verifier.policy.evaluate import in_force

now, folder = datetime(2026, 6, 1, tzinfo=UTC), Path(sys.argv[1])
def policy(text, **asked):
    (folder / "carnet.toml").write_text(text)
    return config.load(folder, now=now, **asked).policy
attributed = attributed_of(honest_crate("demo", "1.0.0"))
def findings(asked):
    evidence = inspect(attributed, needed(in_force(asked)), now=now)
    return verdict_findings(admit(judge(attributed, evidence, asked, {}, now=now)).verdict)
versions = [(attributed.line, attributed)]
print(json.dumps({
    "default": findings(policy("")),
    "setting": findings(policy("[policy]\\nmost-letters = 3")),
    "flag": findings(policy("", asked={"most-letters": "2"})),
    "demand": findings(policy("[[require]]\\ncrates = 'demo'\\nmost-letters = 1")),
    "off": findings(policy("[policy]\\nmost-letters = 3\\n[rules]\\nlong-name = 'allow'")),
    "hidden": [str(line.id) for line in cargo_lines(
        versions, policy("[policy]\\nmost-letters = 3\\n[rules]\\nlong-name = 'deny'"), frozenset(), now=now)],
    "shown": [str(line.id) for line in cargo_lines(versions, policy(""), frozenset(), now=now)],
    "help": CliRunner().invoke(verify.command, ["--help"]).output,
    "docs": rules_as_table() + settings_as_table(),
}))
"""


def test_a_rule_and_a_kind_of_evidence_are_one_file_each(tmp_path: Path) -> None:
    """In a copy of the rooms, because none of ours has to know."""
    for room, package in (("evidence", "carnet_evidence"), ("verifier", "carnet_verifier")):
        shutil.copytree(PROJECT / room / package, tmp_path / room / package, ignore=shutil.ignore_patterns("*.pyc"))
    (tmp_path / "evidence/carnet_evidence/length.py").write_text(KIND)
    (tmp_path / "verifier/carnet_verifier/policy/rules/long_name.py").write_text(RULE)
    roots = [tmp_path / "evidence", tmp_path / "verifier", *(PROJECT / room for room in ROOMS), PROJECT]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("CARNET_")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, roots))
    (tmp_path / "project").mkdir()
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "project")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    long = {
        **{"rule": "long-name", "action": "warn", "message": "demo@1.0.0 has a name of 4 letters", "excused": None},
        "decided_by": None,
    }
    assert seen["default"] == []
    assert seen["off"] == [long], "a project does not switch it off"
    assert seen["setting"] == seen["flag"] == seen["demand"] == [long]
    assert (seen["hidden"], seen["shown"]) == ([], ["demo@1.0.0"])
    words = " ".join(seen["help"].split())
    assert "--most-letters INTEGER How many letters a name may have." in words
    assert "long-name (warn)" in words
    assert "| `long-name` | warn | Its name is long. |" in seen["docs"]
    assert "| `most-letters` | `long-name` | How many letters a name may have. |" in seen["docs"]


@pytest.mark.parametrize("text", ["RULE = 3", "from carnet_verifier.policy.rules.git import RULE"])
def test_a_file_that_is_no_rule_of_its_name_is_told_at_once(tmp_path: Path, text: str) -> None:
    shutil.copytree(PROJECT / "verifier/carnet_verifier", tmp_path / "carnet_verifier")
    (tmp_path / "carnet_verifier/policy/rules/odd_one.py").write_text(text)
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(map(str, [tmp_path, PROJECT / "core", PROJECT / "evidence"]))
    command = [sys.executable, "-c", "import carnet_verifier.policy.rules"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "has to say `RULE = Rule('odd-one', ...)`" in done.stderr


def test_rules_are_found_in_an_archive_too(tmp_path: Path) -> None:
    for room, package in (("core", "carnet"), ("evidence", "carnet_evidence"), ("verifier", "carnet_verifier")):
        shutil.copytree(PROJECT / room / package, tmp_path / "all" / package)
    archive = shutil.make_archive(str(tmp_path / "all"), "zip", tmp_path / "all")
    script = "from carnet_verifier.policy import rules; print(*(rule.name for rule in rules.ALL), rules.__file__)"
    environment = dict(os.environ) | {"PYTHONPATH": archive}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [*(rule.name for rule in rules.ALL), f"{archive}/{rules_file()}"], done.stderr


def rules_file() -> str:
    return "carnet_verifier/policy/rules/__init__.py"


def test_rules_are_told_apart_by_what_they_are_and_not_by_what_they_say() -> None:
    twin = Rule(yanked.RULE.name, Action.WARN, yanked.RULE.about, yanked.RULE.judge)
    assert twin != yanked.RULE
    assert Policy(rules={twin: Action.DENY}).action(yanked.RULE) is Action.WARN


def run_with(copy: Path) -> subprocess.CompletedProcess[str]:
    """Import the rules of a copy of the rooms, alone."""
    script = "from carnet_verifier.policy.rules import ALL; print(*(rule.name for rule in ALL))"
    return subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = [{str(copy)!r}, *{sys.path!r}]; {script}"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_rules_without_their_source_are_the_same_rules_and_a_rule_that_is_missing_is_told(tmp_path: Path) -> None:
    """Slim images compile everything and leave the source out; a list that shrank unseen would let everything in."""
    for room in ("core/carnet", "verifier/carnet_verifier", "evidence/carnet_evidence"):
        shutil.copytree(PROJECT / room, tmp_path / Path(room).name, ignore=shutil.ignore_patterns("__pycache__"))
    whole = run_with(tmp_path)
    assert whole.stdout.split() == [rule.name for rule in rules.ALL], whole.stderr
    assert compileall.compile_dir(tmp_path, quiet=2, legacy=True)
    for source in tmp_path.rglob("*.py"):
        source.unlink()
    assert run_with(tmp_path).stdout == whole.stdout
    (tmp_path / "carnet_verifier/policy/rules/takeover.pyc").unlink()
    lost = run_with(tmp_path)
    assert lost.returncode != 0
    assert "the rule takeover is missing" in lost.stderr
