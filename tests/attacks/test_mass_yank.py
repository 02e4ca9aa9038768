"""An account that was taken over yanks the good versions, to push people to a bad one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import NAME, World, person, refusal, sign

from carnet.cargo.index_line import IndexFile, IndexLine
from carnet.cargo.names import Version
from carnet.claims.releases import Releases
from carnet.errors import PolicyRefused
from carnet.tuf.structure import role_field
from carnet_evidence.history import MASS_YANK
from carnet_evidence.kind import Material
from carnet_signer.metadata import role_files
from carnet_signer.proposals import release
from carnet_signer.proposals.proposal import draft
from carnet_verifier.cargo.proxy import cargo_lines
from carnet_verifier.line import attribute_all, find_target, open_index
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action, Rule
from carnet_verifier.policy.rules import mass_yank, yanked

GOOD = ("0.1.0", "0.2.0", "0.3.0", "0.4.0")
BAD = "0.5.0"


def yank_all_but(newest: str, index: IndexFile) -> list[IndexLine]:
    return [line.with_(yanked=str(line.id.version) != newest) for line in index.lines]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.add(*(honest_crate(str(NAME), version) for version in GOOD))
    world.later(days=20)
    world.publish_roles({})
    return world


def _rules(world: World, version: str) -> set[Rule]:
    return {finding.rule for finding in world.admit(version).verdict.findings}


def test_a_release_with_one_yank_is_no_alarm(world: World) -> None:
    world.add(honest_crate(str(NAME), BAD))
    world.publish_index(lambda index: [line.with_(yanked=str(line.id.version) == "0.4.0") for line in index.lines])
    assert _rules(world, BAD) == set()


def test_of_an_unclaimed_crate_it_is_an_alarm(world: World) -> None:
    world.add(honest_crate(str(NAME), BAD))
    world.publish_index(lambda index: yank_all_but(BAD, index))
    assert _rules(world, BAD) == {mass_yank.RULE}
    deny = Policy(rules={mass_yank.RULE: Action.DENY})
    error = refusal(lambda: world.admit(BAD, policy=deny))
    assert isinstance(error, PolicyRefused)
    assert "4 of the 4 versions before it were yanked" in str(error)
    world.later(days=15)
    world.publish_roles({})
    assert _rules(world, BAD) == set(), "after two weeks somebody has noticed"


def test_a_locked_yanked_version_yields_no_advice_to_update(world: World) -> None:
    world.add(honest_crate(str(NAME), BAD))
    world.publish_index(lambda index: yank_all_but(BAD, index))
    findings = world.admit("0.4.0").verdict.findings
    assert [finding.rule for finding in findings] == [yanked.RULE]
    assert findings[0].action is Action.WARN
    assert "update" not in f"{findings[0].message} {findings[0].hint}"


def test_of_a_claimed_crate_the_registry_yanks_nothing(world: World) -> None:
    world.claim()
    world.publish_index(lambda index: yank_all_but("0.1.0", index))
    for version in GOOD:
        admission = world.admit(version)
        assert not admission.line.yanked
        assert admission.level.name == "MAINTAINER"
        said = [finding.message for finding in admission.verdict.findings if finding.rule is yanked.RULE]
        assert all("yanked by the registry, and not by its maintainers" in message for message in said)
        assert bool(said) == (version != "0.1.0"), "whose yank it is, is said"
    view = world.fresh()
    versions = attribute_all(open_index(view, NAME, find_target(view, NAME)), view.claim(NAME))
    assert all(not line.yanked for line in cargo_lines(versions, Policy(), now=world.now))


def test_the_mirror_holds_a_release_that_yanks_the_others(world: World) -> None:
    """With a stolen threshold of release keys the yanks themselves are valid: they do not come with a release."""
    world.claim()
    proposal = world.release_proposal(BAD)
    published = world.published()
    role = next(iter(proposal.drafts))

    releases = Releases.of(NAME, proposal.drafts[role].signed)
    for version in GOOD:
        releases = releases.with_yank(Version(version), yanked=True)
    signed = role_files.targets(
        2, world.now + role_files.CLAIM_LIFE, listed=releases.to_targets(), extra=role_field(role)
    )
    both = sign(replace(proposal, drafts={role: draft(role, signed)}), map(person, ("rita", "sven")))
    error = refusal(lambda: world.submit(both))
    assert isinstance(error, PolicyRefused)
    assert "mass yank" in str(error)
    yanks = release.yank(published, NAME, [Version(GOOD[0])], yanked=True, now=world.now)
    world.submit(sign(yanks, map(person, ("rita", "sven"))))
    world.release(BAD)
    assert world.admit(BAD)


def _line(version: str, *, yanked: bool) -> IndexLine:
    return IndexLine.from_object(
        {"name": "x", "vers": version, "deps": [], "cksum": "0" * 64, "features": {}, "yanked": yanked}
    )


def alarm(
    line: IndexLine, lines: Callable[[], list[IndexLine]], *, published: datetime | None, now: datetime
) -> str | None:
    pubtime = None if published is None else f"{published:%Y-%m-%dT%H:%M:%SZ}"
    return MASS_YANK.gather(Material(line.with_(pubtime=pubtime), lines, now))


def test_the_alarm_looks_at_time_and_share() -> None:
    now = datetime(2026, 8, 20, tzinfo=UTC)
    old = [_line(f"1.0.{number}", yanked=True) for number in range(3)]
    new = _line("1.1.0", yanked=False)
    recent = now - timedelta(hours=1)
    assert alarm(new, lambda: [*old, new], published=recent, now=now)
    assert alarm(new, lambda: [*old[:2], new], published=recent, now=now) is None
    kept = [_line("1.0.8", yanked=False), _line("1.0.9", yanked=False)]
    assert alarm(new, lambda: [*old, *kept, new], published=recent, now=now) is None
    assert alarm(new, lambda: [*old, new], published=now - timedelta(days=15), now=now) is None
    assert alarm(new, lambda: [*old, new], published=None, now=now) is None


def test_of_an_old_version_no_other_line_is_read(world: World) -> None:
    """Old crates have hundreds of them, and a lock has hundreds of crates."""
    (line, *_) = world.admit("0.1.0").attributed.vouched.index.lines

    def lines() -> list[IndexLine]:
        raise AssertionError("read all the same")

    now = datetime(2027, 1, 1, tzinfo=UTC)
    assert alarm(line, lines, published=now - timedelta(days=15), now=now) is None
    with pytest.raises(AssertionError, match="read all the same"):
        alarm(line, lines, published=now, now=now)
