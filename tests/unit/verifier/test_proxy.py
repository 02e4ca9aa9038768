"""The verifying registry: what cargo is answered, for what is admitted and what is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import NAME, World, sign, with_dependency

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import IndexLine, line_from_crate
from carnet.cargo.names import CrateId, CrateName
from carnet.errors import NotFound, PolicyRefused, TransportError
from carnet.level import Level
from carnet_signer.proposals import ownership
from carnet_verifier.cargo.proxy import MAX_TEXT, Gatekeeper, Registry, refusal
from carnet_verifier.policy.policy import Ban, Demand, Pattern, Policy
from carnet_verifier.policy.rule import Action
from carnet_verifier.policy.rules import yanked
from carnet_verifier.policy.rules.level import LEAST_LEVEL
from carnet_verifier.policy.rules.young import LEAST_AGE
from carnet_verifier.tuf.repository import TrustedRepository

PLAIN = honest_crate("plain", "1.0.0")
PLAIN_NAME = CrateName("plain")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.add(PLAIN, honest_crate("plain", "1.1.0"))
    world.claim()
    world.release("1.0.0")
    return world


def registry(world: World, policy: Policy | None = None, pinned: frozenset[CrateId] | None = None) -> Registry:
    keeper = Gatekeeper(world.fresh, policy or Policy(), None, lambda: world.now, pinned)
    return Registry(keeper, "http://127.0.0.1:1")


def versions(body: bytes) -> list[str]:
    return [json.loads(line)["vers"] for line in body.splitlines()]


def test_the_configuration_leads_back_here(world: World) -> None:
    answer = registry(world).answer("GET", "/index/config.json")
    assert json.loads(answer.body) == {"dl": "http://127.0.0.1:1/api/v1/crates", "api": "http://127.0.0.1:1"}


def test_index_files_are_the_signed_ones(world: World) -> None:
    answer = registry(world).answer("GET", "/index/pl/ai/plain")
    assert answer.status == 200
    assert versions(answer.body) == ["1.0.0", "1.1.0"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/index/ab/se/absent", 404),
        ("/index/pl/xx/plain", 404),
        ("/index/Pl/ai/Plain", 404),
        ("/index/../config.json", 400),
        ("/index/pl/ai/pla%00in", 400),
        ("/", 404),
        ("/api/v1/crates/plain/1.0.0", 404),
        ("/api/v1/crates/plain/x/download", 400),
        ("/api/v1/crates/plain/9.0.0/download", 403),
        ("/api/v1/crates/../../x/download", 400),
    ],
)
def test_what_is_not_there(world: World, path: str, status: int) -> None:
    assert registry(world).answer("GET", path).status == status


def test_it_is_read_only(world: World) -> None:
    assert registry(world).answer("PUT", "/api/v1/crates/new").status == 405


def test_of_a_claimed_crate_cargo_sees_what_its_maintainers_signed(world: World) -> None:
    path = "/index/de/mo/demo-lib"
    assert versions(registry(world).answer("GET", path).body) == ["1.0.0"]
    extra = line_from_crate(read_crate(honest_crate(str(NAME), "6.6.6")), pubtime="2026-11-23T12:00:00Z")
    world.publish_index(lambda index: [*index.lines, extra])
    assert versions(registry(world).answer("GET", path).body) == ["1.0.0"]
    pinned = registry(world, pinned=frozenset((extra.id,)))
    assert versions(pinned.answer("GET", path).body) == ["1.0.0", "6.6.6"]  # a locked version is never hidden
    assert pinned.answer("GET", "/api/v1/crates/demo-lib/6.6.6/download").status == 403


def test_a_line_that_was_changed_is_not_shown_and_one_that_is_missing_refuses_the_file(world: World) -> None:
    def changed(lines: list[IndexLine]) -> list[IndexLine]:
        return [with_dependency(line) for line in lines]

    world.publish_index(lambda index: changed(list(index.lines)))
    assert registry(world).answer("GET", "/index/de/mo/demo-lib").body == b""
    world.publish_index(lambda index: [])
    answer = registry(world).answer("GET", "/index/de/mo/demo-lib")
    assert answer.status in (403, 404)
    assert b"demo-lib" in answer.body


def test_the_policy_hides_only_where_the_lock_is_known(world: World) -> None:
    policy = Policy(bans=(Ban(Pattern("plain@1.1.0"), "stolen token"),))
    path = "/index/pl/ai/plain"
    assert versions(registry(world, policy).answer("GET", path).body) == ["1.0.0", "1.1.0"]
    assert versions(registry(world, policy, frozenset()).answer("GET", path).body) == ["1.0.0"]
    locked = frozenset((CrateId.of("plain", "1.1.0"),))
    assert versions(registry(world, policy, locked).answer("GET", path).body) == ["1.0.0", "1.1.0"]
    young = Policy({LEAST_AGE: timedelta(days=3)})
    assert versions(registry(world, young, frozenset()).answer("GET", path).body) == []


class Told:
    """What cargo was not shown, in words, and what the registry has not."""

    def __init__(self) -> None:
        self.hidden: dict[str, str] = {}
        self.unknown: list[str] = []

    def offered(self, name: CrateName, lines: Sequence[IndexLine], hidden: Mapping[CrateId, str]) -> None:
        self.hidden |= {str(crate): reason for crate, reason in hidden.items()}

    def lacks(self, name: CrateName) -> None:
        self.unknown.append(str(name))


def test_why_each_version_is_hidden_is_told(world: World) -> None:
    extra = line_from_crate(read_crate(honest_crate(str(NAME), "6.6.6")), pubtime="2026-11-23T12:00:00Z")
    world.publish_index(lambda index: [*index.lines, extra])
    taken_back = (True, False)
    world.publish_index(
        lambda index: [line.with_(yanked=back) for line, back in zip(index.lines, taken_back, strict=True)], PLAIN_NAME
    )
    bans = (Ban(Pattern("plain@1.1.0"), "stolen token"),)
    policies = {
        "is banned by the policy: stolen token": Policy(bans=bans),
        "was yanked": Policy(rules={yanked.RULE: Action.DENY}),
        "days": Policy({LEAST_AGE: timedelta(days=3)}),
    }
    found = {}
    for reason, policy in policies.items():
        told = Told()
        keeper = Gatekeeper(world.fresh, policy, None, lambda: world.now, frozenset(), witness=told)
        keeper.index(PLAIN_NAME)
        found[reason] = sorted(told.hidden)
        assert all(reason in text for text in told.hidden.values()), told.hidden
    assert list(found.values()) == [["plain@1.1.0"], ["plain@1.0.0"], ["plain@1.0.0", "plain@1.1.0"]]
    told = Told()
    keeper = Gatekeeper(world.fresh, Policy(), None, lambda: world.now, frozenset((extra.id,)), witness=told)
    keeper.index(NAME)
    assert told.hidden == {}  # locked
    Gatekeeper(world.fresh, Policy(), None, lambda: world.now, frozenset(), witness=told).index(NAME)
    assert list(told.hidden) == [str(extra.id)]
    assert told.hidden[str(extra.id)].startswith(f"{extra.id} ")
    with pytest.raises(NotFound):
        keeper.index(CrateName("absent"))
    assert told.unknown == ["absent"]


def test_what_denies_the_whole_crate_hides_no_version(world: World) -> None:
    """cargo would say that there is no such crate; the refused download says why."""
    given = ownership.give_up(world.published(), world.claim_request("give-up"), now=world.now)
    world.submit(sign(given, world.ceremony.holders[:2]))
    shown = versions(registry(world, Policy(), frozenset()).answer("GET", "/index/de/mo/demo-lib").body)
    assert shown == ["1.0.0"]
    answer = registry(world, Policy(), frozenset()).answer("GET", "/api/v1/crates/demo-lib/1.0.0/download")
    assert answer.status == 403
    assert b"gave" in answer.body


def test_a_version_at_too_low_a_level_is_hidden(world: World) -> None:
    """Of a crate of which no version is high enough nothing is left, and each says why to whoever is told."""
    asking, told = Policy({LEAST_LEVEL: Level.MAINTAINER}), Told()
    assert versions(registry(world, asking, frozenset()).answer("GET", "/index/pl/ai/plain").body) == []
    Gatekeeper(world.fresh, asking, None, lambda: world.now, frozenset(), witness=told).index(PLAIN_NAME)
    assert set(told.hidden) == {"plain@1.0.0", "plain@1.1.0"}
    assert all("is at level registry, the policy asks for maintainer" in why for why in told.hidden.values())
    assert versions(registry(world, asking, frozenset()).answer("GET", "/index/de/mo/demo-lib").body) == ["1.0.0"]
    locked = frozenset((CrateId.of("plain", "1.0.0"),))
    assert versions(registry(world, asking, locked).answer("GET", "/index/pl/ai/plain").body) == ["1.0.0"]
    newer = Policy(demands=(Demand(Pattern("plain@1.1.*"), {LEAST_LEVEL: Level.MAINTAINER}),))
    assert versions(registry(world, newer, frozenset()).answer("GET", "/index/pl/ai/plain").body) == ["1.0.0"]
    answer = registry(world, asking, frozenset()).answer("GET", "/api/v1/crates/plain/1.0.0/download")
    assert answer.status == 403
    assert b"at level registry, the policy asks for maintainer" in answer.body


class Seen:
    """A memory in which every crate was seen at one level."""

    def __init__(self, level: Level) -> None:
        self._level = level

    def highest_levels(self, names: Iterable[CrateName]) -> dict[CrateName, int]:
        return dict.fromkeys(names, int(self._level))

    def remember_levels(self, levels: Mapping[CrateName, int]) -> None:
        raise AssertionError("nothing is admitted by being shown")


@pytest.mark.parametrize(("seen", "shown"), [(Level.REGISTRY, ["1.0.0", "1.1.0"]), (Level.MAINTAINER, [])])
def test_a_version_at_a_lower_level_than_its_crate_had_is_hidden(world: World, seen: Level, shown: list[str]) -> None:
    keeper = Gatekeeper(world.fresh, Policy(), Seen(seen), lambda: world.now, frozenset())
    assert versions(keeper.index(PLAIN_NAME)) == shown


def test_a_version_that_was_taken_back_is_hidden_where_the_policy_denies_that(world: World) -> None:
    world.publish_index(
        lambda index: [line.with_(yanked=str(line.id.version) == "1.1.0") for line in index.lines], PLAIN_NAME
    )
    path, denying = "/index/pl/ai/plain", Policy(rules={yanked.RULE: Action.DENY})
    assert versions(registry(world, Policy(), frozenset()).answer("GET", path).body) == ["1.0.0", "1.1.0"]
    assert versions(registry(world, denying, frozenset()).answer("GET", path).body) == ["1.0.0"]


def test_a_refusal_is_told_in_words_that_cargo_shows(world: World) -> None:
    policy = Policy(bans=(Ban(Pattern("plain"), "stolen token"),))
    answer = registry(world, policy).answer("GET", "/api/v1/crates/plain/1.0.0/download")
    assert answer.status == 403
    assert answer.content_type.startswith("text/plain")
    assert b"plain@1.0.0 is banned by the policy: stolen token" in answer.body


def test_long_and_odd_texts_are_cut_and_made_printable() -> None:
    answer = refusal(PolicyRefused("x" * 600 + "\x1b[31m", hint="h"))
    assert len(answer.body.decode()) <= MAX_TEXT
    assert b"\x1b" not in refusal(PolicyRefused("a\x1b[31m")).body


def test_when_nothing_was_decided_cargo_may_try_again() -> None:
    assert refusal(TransportError("away")).status == 502


def test_over_asgi_with_etags(world: World) -> None:
    application = registry(world)

    def ask(headers: list[tuple[bytes, bytes]], method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
        sent: list[Mapping[str, Any]] = []

        async def send(message: Mapping[str, Any]) -> None:
            sent.append(message)

        async def receive() -> Mapping[str, Any]:
            return {"type": "http.request"}

        scope = {"type": "http", "method": method, "path": "/index/pl/ai/plain", "headers": headers}
        asyncio.run(application(scope, receive, send))
        return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]

    status, headers, body = ask([])
    assert status == 200
    assert int(headers[b"content-length"]) == len(body)
    again, _, empty = ask([(b"if-none-match", headers[b"etag"])])
    assert (again, empty) == (304, b"")
    assert ask([], "HEAD")[2] == b""


def test_the_views_failure_is_never_served_as_an_old_view(world: World) -> None:
    def away() -> TrustedRepository:
        raise TransportError("the mirror is away")

    keeper = Gatekeeper(away, Policy(), None, lambda: world.now)
    answer = Registry(keeper, "http://127.0.0.1:1").answer("GET", "/index/pl/ai/plain")
    assert answer.status == 502
    assert b"the mirror is away" in answer.body


def found(world: World, query: str, policy: Policy | None = None) -> dict[str, str]:
    answer = registry(world, policy, frozenset()).answer("GET", "/api/v1/crates", query.encode())
    assert answer.status == 200, answer.body
    document = json.loads(answer.body)
    assert document["meta"]["total"] == len(document["crates"])
    return {crate["name"]: crate["max_version"] for crate in document["crates"]}


def test_a_search_finds_the_crate_of_that_name(world: World) -> None:
    world.add(honest_crate("pla-in", "2.0.0"), honest_crate("plain", "2.0.0-rc.1"))
    assert found(world, "q=plain&per_page=10") == {"plain": "1.1.0"}
    assert found(world, "q=pla_in") == {"pla-in": "2.0.0"}
    assert found(world, f"q={NAME}") == {str(NAME): "1.0.0"}
    for query in ("", "q=", "q=absent", "q=two+words", "q=%00", "q=..%2Fplain", "per_page=10", "%ff"):
        assert found(world, query) == {}


def test_a_search_offers_nothing_that_is_denied(world: World) -> None:
    banned = Policy(bans=(Ban(Pattern("plain@1.1.0"), "broken"),))
    assert found(world, "q=plain", banned) == {"plain": "1.0.0"}
