"""Whoever has no key at all, and sends: what it costs to refuse that, and whether honest people get through meanwhile.

`make hostile` measures every kind of input at 10 MB and holds it to the bounds; here stand a few of each at 1 MB, with
room for slow machines.
"""

from __future__ import annotations

import http.client
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.hostile.documents import role_of_keys, role_of_targets
from tests.support.hostile.measure import measure
from tests.support.registries.live import LiveRegistry, live_registry
from tests.support.worlds.claims import NAME, World, body, person, sign

from carnet.cargo.index_line import IndexLine
from carnet.claims.submission import MAX_SUBMITTED_LINE, URL_PATH, Submission
from carnet.errors import CarnetError, FormatError, MetadataMismatch, RollbackDetected, ThresholdNotMet
from carnet.tuf import paths
from carnet.tuf.tree import roles_of
from carnet_mirror.intake import take_submission
from carnet_mirror.preflight import GROWTH
from carnet_signer.proposals.proposal import Proposal

SHARD, OWNER, CRATE = roles_of(NAME)
SLOW_MACHINES = 4.0


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("documents", "JSON: depth that is allowed"),
        ("documents", "JSON: line breaks"),
        ("documents", "JSON: a float at the end"),
        ("documents", "role: keys"),
        ("archives", "tar: names of wide letters"),
        ("archives", "tar: names of combining marks, as many as are read"),
        ("archives", "tar: files in one deep folder"),
        ("archives", "gzip: zeros"),
    ],
)
def test_a_megabyte_costs_no_more_than_it_may(module: str, name: str) -> None:
    cost = measure(f"tests.support.hostile.{module}", name, 1_000_000)
    assert cost.within(SLOW_MACHINES), cost
    assert cost.memory <= 60, cost


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path)
    world.claim()
    world.release("1.0.0")
    return world


def refusal(world: World, submission: Submission) -> tuple[CarnetError, float]:
    """The error, and the processor time until it was raised; nothing was changed, and no lock was taken."""
    data = submission.to_bytes()
    before = world.fresh().trusted.snapshot.raw
    started = time.process_time()
    with world.store.change(), pytest.raises(CarnetError) as refused:  # somebody else publishes all the while
        take_submission(world.store, world.online, data, now=world.now)
    seconds = time.process_time() - started
    assert world.fresh().trusted.snapshot.raw == before
    return refused.value, seconds


def honest(world: World) -> Proposal:
    return sign(world.release_proposal("1.1.0"), map(person, ("rita", "sven")))


def test_positive_control_an_honest_release_goes_through(world: World) -> None:
    assert take_submission(world.store, world.online, body(honest(world)), now=world.now).added == ("1.1.0",)


@pytest.mark.parametrize("role", [SHARD, OWNER, CRATE])
@pytest.mark.parametrize("make", [role_of_keys, role_of_targets])
def test_fifteen_megabytes_for_a_claimed_crate_are_not_even_parsed(world: World, role: str, make: object) -> None:
    error, seconds = refusal(world, Submission(NAME, {role: make(15_000_000)}, {}, {}))  # type: ignore[operator]
    assert isinstance(error, FormatError)
    assert "is larger than" in str(error)
    assert seconds < 0.5 * SLOW_MACHINES


def test_nothing_is_read_for_a_crate_that_nobody_claimed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from carnet.cargo.names import CrateName

    other = CrateName("zzz")
    for role in roles_of(other)[1:]:
        error, _ = refusal(world, Submission(other, {role: role_of_keys(100_000)}, {}, {}))
        assert isinstance(error, MetadataMismatch)
        assert "does not delegate" in str(error)


@pytest.mark.parametrize("role", [OWNER, CRATE])
def test_a_role_is_read_only_when_it_is_signed(world: World, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next version, of a size that is allowed: its signatures are looked at, and what it says is not."""
    from carnet_mirror import preflight

    opened: list[str] = []
    monkeypatch.setattr(preflight, "open_envelope", lambda *_, what, **__: opened.append(what))
    data = role_of_targets(GROWTH["owner"] // 2)
    version = world.fresh().version(role)
    assert version is not None
    data = data.replace(b'"version":2', b'"version":%d' % (version + 1))
    error, _ = refusal(world, Submission(NAME, {role: data}, {}, {}))
    assert isinstance(error, ThresholdNotMet)
    assert opened == []


def test_an_old_version_is_refused_before_its_signatures(world: World) -> None:
    version = world.fresh().version(CRATE)
    assert version is not None
    data = role_of_targets(10_000).replace(b'"version":2', b'"version":%d' % (version - 1))
    error, _ = refusal(world, Submission(NAME, {CRATE: data}, {}, {}))
    assert isinstance(error, RollbackDetected)


def test_a_tarball_without_a_signed_role_is_not_unpacked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from carnet_mirror import judgement

    monkeypatch.setattr(judgement, "read_crate", lambda *_, **__: pytest.fail("it was unpacked"))
    proposal = world.release_proposal("1.1.0")  # nobody has signed it
    files = {role: draft.raw for role, draft in proposal.drafts.items()}
    error, _ = refusal(world, Submission(NAME, files, proposal.targets, proposal.lines))
    assert isinstance(error, ThresholdNotMet)
    assert paths.crate_role(NAME) in str(error)


def test_nothing_is_looked_up_for_what_holds_no_role(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carnet_mirror.intake.current_view", lambda *_: pytest.fail("it was verified"))
    for empty in (Submission(NAME), Submission(NAME, lines={"demo-lib-1.0.0": b"{}"})):
        error, _ = refusal(world, empty)
        assert "holds no role" in str(error)


@pytest.mark.parametrize("role", [OWNER, CRATE])
def test_lines_beside_a_role_that_is_published_already_are_not_read(
    world: World, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """Everybody has that role, and its signatures are good: what is sent along with it costs nothing."""
    monkeypatch.setattr(IndexLine, "from_bytes", lambda *_: pytest.fail("it was read"))
    lines = {f"demo-lib-1.0.{number}": b'{"deps":[' + b"{}," * 100_000 for number in range(50)}
    replayed = Submission(NAME, {role: world.fresh().role(role).raw}, {}, lines).to_bytes()
    started = time.process_time()
    assert take_submission(world.store, world.online, replayed, now=world.now).snapshot is None
    assert time.process_time() - started < 0.5 * SLOW_MACHINES


def test_lines_of_versions_that_a_release_does_not_add_are_not_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = honest(world)
    read: list[bytes] = []
    whole = IndexLine.from_bytes

    def reading(data: bytes) -> IndexLine:
        read.append(data)
        return whole(data)

    monkeypatch.setattr(IndexLine, "from_bytes", reading)
    more = replace(
        proposal, lines={**proposal.lines, "demo-lib-1.0.0": b"{" * 100_000, "demo-lib-7.0.0": b"[" * 100_000}
    )
    assert take_submission(world.store, world.online, body(more), now=world.now).added == ("1.1.0",)
    assert set(read).isdisjoint((b"{" * 100_000, b"[" * 100_000))


def test_a_line_of_more_than_a_megabyte_is_no_line() -> None:
    for size in (MAX_SUBMITTED_LINE, MAX_SUBMITTED_LINE + 1):
        line = {"demo-lib-1.0.0": b"x" * size}
        if size == MAX_SUBMITTED_LINE:
            assert Submission.from_bytes(Submission(NAME, {}, {}, line).to_bytes()).lines == line
        else:
            with pytest.raises(FormatError, match="is larger than"):
                Submission(NAME, {}, {}, line)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRegistry]:
    with live_registry(tmp_path_factory.mktemp("flood"), trusted=False) as registry:
        yield registry


def post(live: LiveRegistry, data: bytes) -> int:
    """Hand something in, as our client does: who is told to come back does."""
    for _ in range(5):
        connection = http.client.HTTPConnection(live.url.removeprefix("http://"), timeout=30)
        connection.request("POST", f"/{URL_PATH}", body=data)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != 503:
            break
        time.sleep(int(answer.headers["retry-after"]))
    return answer.status


def seconds_of(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


HEAD = f"POST /{URL_PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("count", "sent"),
    [(16, HEAD), (1600, HEAD), (1600, HEAD + b"x"), (1600, HEAD[:40])],
    ids=["sixteen", "sixteen hundred", "after one byte", "in the middle of their headers"],
)
def test_connections_that_say_nothing_keep_nobody_out(live: LiveRegistry, count: int, sent: bytes) -> None:
    """Real sockets: whoever hands something in is answered by those who judge it, and readers are served."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 200:
        pytest.skip(f"this system lets a process have only {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    host, port = live.url.removeprefix("http://").split(":")
    small = Submission(NAME, {OWNER: role_of_keys(1000)}, {}, {}).to_bytes()
    with ExitStack() as stack:
        for _ in range(count):
            hostile = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
            hostile.sendall(sent)
        started = time.monotonic()
        assert post(live, small) == 422
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("GET", "/metadata/timestamp.json")
        assert connection.getresponse().status == 200
        connection.close()
        assert time.monotonic() - started < 8, "before the silent ones are cut"


def test_megabytes_of_junk_cost_a_served_mirror_little(live: LiveRegistry) -> None:
    junk = Submission(NAME, {OWNER: role_of_keys(4_000_000)}, {}, {}).to_bytes()
    before = seconds_of(live.mirror.process.pid)
    assert [post(live, junk) for _ in range(3)] == [422] * 3
    spent = seconds_of(live.mirror.process.pid) - before
    assert spent < 0.2 * 12 * SLOW_MACHINES, f"{spent} s"
