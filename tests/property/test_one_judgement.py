"""One judgement: the check of a lock, the gate, the check of one crate, the proxy and `explain` agree on a package.

The proxy is asked as cargo asks it, over a socket: what it answers is what plain cargo is told. Two things it cannot
know, and cargo sees to them itself: the lock's checksum, which cargo compares with the index line, and packages from
elsewhere, for which cargo never asks it.

Each judge was once made to say something else (to forget an exception, to judge a ban away, to take a package from git,
to hide a version, to answer 200 to whatever it refuses): each time this failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.crates.archives import honest_crate
from tests.support.worlds.claims import NAME, World, with_dependency
from tests.unit.gate.test_admission import Quiet

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import IndexFile, line_from_crate
from carnet.cargo.let_in import LetIn, write_let_in
from carnet.cargo.lockfile import CRATES_IO, LockedPackage, Lockfile
from carnet.cargo.names import CrateId, CrateName
from carnet.errors import CarnetError
from carnet.level import Level
from carnet.tuf import paths
from carnet_gate.admission import Grounds, admit_lock
from carnet_gate.loopback import serve
from carnet_signer.metadata.publish import Change, publish
from carnet_verifier.admit import Wanted, admit_all, admit_one, admit_tarball
from carnet_verifier.cargo.localregistry import LocalRegistry
from carnet_verifier.cargo.proxy import Gatekeeper, refusal
from carnet_verifier.explain import explain_package
from carnet_verifier.memory.trust import TrustDirectory
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.policy import rules
from carnet_verifier.policy.foreign import FOREIGN, foreign_verdict
from carnet_verifier.policy.policy import Ban, Demand, Excuse, Pattern, Policy
from carnet_verifier.policy.rule import Action, Rule
from carnet_verifier.policy.rules.level import LEAST_LEVEL
from carnet_verifier.policy.rules.young import LEAST_AGE
from carnet_verifier.policy.verdict import Verdict
from carnet_verifier.tuf.refresh import read_repository
from carnet_verifier.tuf.repository import TrustedRepository
from carnet_verifier.whole_lock import wanted_as

TARBALLS = [
    honest_crate("plain", "1.0.0"),
    honest_crate("plain", "1.1.0"),
    honest_crate("odd", "1.0.0"),
    honest_crate("wrong", "1.0.0"),
]
"""As the registry has them: one that was taken back, one whose line differs and is let in, one that nobody let in."""
FILES = {unquote(paths.download_path(read_crate(data).id)): data for data in TARBALLS}
BY_NAME = {rule.name: rule for rule in rules.ALL}
SOURCES = (CRATES_IO, "git+https://example.com/x?rev=1#0123", "registry+https://other.example/index")
CRATES = (
    *(read_crate(data).id for data in TARBALLS),
    CrateId.of(str(NAME), "1.0.0"),
    CrateId.of("plain", "9.0.0"),
    CrateId.of("absent", "1.0.0"),
)

CHECKSUMS = {read_crate(data).id: read_crate(data).sha256 for data in TARBALLS}
Excused = tuple[Pattern, Rule, int]
Said = tuple[str, tuple[str, ...], str]
"""The kind of error or `allowed`, the rules that were broken with what each led to, and the first reason."""


@dataclass
class Judges:
    """A registry, and whoever judges its crates by the policy of the example at hand."""

    world: World
    folder: Path
    trust: TrustDirectory
    policy: Policy = field(default_factory=Policy)
    url: str = ""

    def view(self) -> TrustedRepository:
        fetcher = ReadFetcher(lambda path: FILES.get(path) or self.world.store.read(path))
        return read_repository(self.world.ceremony.root, fetcher, now=self.world.now)

    def ask(self, path: str) -> tuple[int, bytes]:
        """As cargo asks the proxy."""
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class OfTheMoment(Gatekeeper):
    """One server for all examples: it decides by the policy that counts when it is asked."""

    judges: Judges

    def _now(self) -> Gatekeeper:
        return Gatekeeper(self.view, self.judges.policy, None, self.clock)

    def index(self, name: CrateName) -> bytes:
        return self._now().index(name)

    def tarball(self, crate: CrateId) -> bytes:
        return self._now().tarball(crate)


def let_in(world: World, tarball: bytes, said: bool) -> None:
    """List a version whose line is not its manifest's."""
    crate = read_crate(tarball)
    line = with_dependency(line_from_crate(crate, pubtime="2026-01-01T00:00:00Z"), "plain")
    path = paths.index_path(crate.id.name)
    reason = LetIn(crate.sha256, "an old cargo wrote it", world.now + timedelta(days=30))
    custom = write_let_in({str(crate.id.version): reason} if said else {})
    with world.store.change():
        change = Change(index_files={path: IndexFile(crate.id.name, (line,)).to_bytes()}, custom={path: custom})
        publish(world.store, world.online, change, now=world.now)


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judges]:
    folder = tmp_path_factory.mktemp("judged")
    world = World.make(folder)
    world.add(*TARBALLS[:2])
    world.publish_index(
        lambda index: [line.with_(yanked=str(line.id.version) == "1.1.0") for line in index.lines], CrateName("plain")
    )
    world.claim()
    world.release("1.0.0")
    world.later(days=6)
    let_in(world, TARBALLS[2], said=True)
    let_in(world, TARBALLS[3], said=False)
    made = Judges(world, folder, TrustDirectory.create(folder / "gate", world.ceremony.root, "http://localhost/"))
    keeper = OfTheMoment(made.view, Policy(), None, lambda: world.now)
    object.__setattr__(keeper, "judges", made)
    with serve(keeper) as made.url:
        yield made


levels = st.sampled_from(list(Level)).map(lambda level: {LEAST_LEVEL: level})
ages = st.integers(0, 12).map(lambda days: {LEAST_AGE: timedelta(days=days)})
BREAKABLE = [BY_NAME[name] for name in ("banned", "level", "young", "yanked", "index-differs", "git", "no-checksum")]


@st.composite
def cases(draw: st.DrawFn) -> tuple[LockedPackage, Policy, list[Excused]]:
    """A package, and a policy that has something to say of it."""
    crate = draw(st.sampled_from(CRATES))
    source = draw(st.sampled_from([CRATES_IO, CRATES_IO, CRATES_IO, *SOURCES[1:]]))
    package = LockedPackage(crate, source, draw(st.sampled_from([None, CHECKSUMS.get(crate), "00" * 32])))
    patterns = st.sampled_from(["*", str(crate.name), str(crate), f"{NAME}@1.0.0"]).map(Pattern)
    policy = Policy(
        draw(levels | ages),
        draw(st.lists(st.builds(Demand, patterns, levels | ages), max_size=2).map(tuple)),
        draw(st.dictionaries(st.sampled_from(BREAKABLE), st.sampled_from(list(Action)), max_size=3)),
        draw(st.lists(st.builds(Ban, patterns, st.just("banned")), max_size=1).map(tuple)),
    )
    excused = st.tuples(patterns, st.sampled_from(BREAKABLE), st.sampled_from([-1, 30]))
    return package, policy, draw(st.lists(excused, max_size=3))


def broken(verdict: Verdict) -> tuple[str, ...]:
    return tuple(f"{finding.rule.name} {finding.action} {finding.source}" for finding in verdict.findings)


def refused(error: CarnetError) -> Said:
    return type(error).__name__, (), str(error)


def of_verdict(verdict: Verdict) -> Said:
    try:
        verdict.require()
    except CarnetError as error:
        return refused(error)
    return "allowed", broken(verdict), ""


def by_lock(judges: Judges, package: LockedPackage) -> Said:
    if package.kind in FOREIGN:
        return of_verdict(foreign_verdict(package, judges.policy, now=judges.world.now))
    (outcome,) = admit_all(judges.view(), [wanted_as(package)], judges.policy, None, now=judges.world.now)
    if outcome.error is not None:
        return refused(outcome.error)
    assert outcome.admission is not None
    return "allowed", broken(outcome.admission.verdict), ""


def by_gate(judges: Judges, package: LockedPackage) -> Said:
    grounds = Grounds(judges.policy, judges.trust, lambda: judges.world.now)
    kept = LocalRegistry(judges.folder / "kept")
    try:
        admitted = admit_lock(Lockfile(4, (package,)), judges.view(), grounds, kept, Quiet())
    except CarnetError as error:
        return refused(error)
    (verdict,) = [*(admission.verdict for admission in admitted.admissions), *admitted.foreign]
    return "allowed", broken(verdict), ""


def by_name(judges: Judges, wanted: Wanted) -> Said:
    try:
        admission = admit_one(judges.view(), wanted, judges.policy, None, now=judges.world.now)
    except CarnetError as error:
        return refused(error)
    return "allowed", broken(admission.verdict), ""


def by_tarball(judges: Judges, wanted: Wanted) -> Said:
    """As the proxy does, with what the lock says."""
    try:
        admission, _ = admit_tarball(judges.view(), wanted, judges.policy, None, now=judges.world.now)
    except CarnetError as error:
        return refused(error)
    return "allowed", broken(admission.verdict), ""


def by_explanation(judges: Judges, package: LockedPackage) -> Said:
    chain = explain_package(judges.view(), package, judges.policy, None, now=judges.world.now)
    if chain.failure is not None and chain.failure.error is not None:
        return refused(chain.failure.error)
    assert chain.verdict is not None
    return "allowed", broken(chain.verdict), ""


def told_to_cargo(judges: Judges, crate: CrateId) -> None:
    """The answer on the download is the judgement, in words; and the version is listed, so that cargo gets that far."""
    status, body = judges.ask(f"/api/v1/crates/{crate.name}/{crate.version}/download")
    try:
        _, verified = admit_tarball(judges.view(), Wanted(crate), judges.policy, None, now=judges.world.now)
        expected = 200, verified.data
    except CarnetError as error:
        expected = 403, refusal(error, crate).body
        said = str(error).encode()
    assert (status, body) == expected
    assert status == 200 or said[:200] in body
    if crate in CRATES[:5]:
        listed, index = judges.ask("/" + paths.index_path(crate.name))
        assert (listed, f'"vers":"{crate.version}"'.encode() in index) == (200, True)


PLAIN = LockedPackage(CRATES[0], CRATES_IO, CHECKSUMS[CRATES[0]])
FROM_GIT = LockedPackage(CRATES[0], SOURCES[1], None)
ANY = Pattern("*")
BANNED = Policy(bans=(Ban(ANY, "banned"),))


@settings(max_examples=25, deadline=None)
@example((PLAIN, BANNED, []))
@example((PLAIN, BANNED, [(ANY, BY_NAME["banned"], 30)]))
@example((PLAIN, BANNED, [(ANY, BY_NAME["banned"], -1)]))
@example((PLAIN, Policy({LEAST_LEVEL: Level.MAINTAINER}), [(ANY, BY_NAME["level"], 30)]))
@example((PLAIN, Policy({LEAST_AGE: timedelta(days=12)}), []))
@example((FROM_GIT, Policy(), []))
@example((FROM_GIT, Policy(), [(ANY, BY_NAME["git"], 30)]))
@example((replace(PLAIN, checksum=None), Policy(rules={BY_NAME["no-checksum"]: Action.DENY}), []))
@example((replace(PLAIN, checksum="00" * 32), Policy(), []))
@given(case=cases())
def test_everybody_says_the_same(judges: Judges, case: tuple[LockedPackage, Policy, list[Excused]]) -> None:
    package, policy, excepted = case
    now = judges.world.now
    excuses = (Excuse(crates, rule, "a test", now + timedelta(days=days)) for crates, rule, days in excepted)
    judges.policy = replace(policy, excuses=tuple(excuses))
    said = by_lock(judges, package)
    assert by_explanation(judges, package) == said
    assert by_gate(judges, package) == said
    if package.kind in FOREIGN:
        return
    wanted = wanted_as(package)
    assert by_name(judges, wanted) == said
    from_bytes = by_tarball(judges, wanted)
    told_to_cargo(judges, package.id)
    if from_bytes != said:  # the one thing that only bytes tell, whatever is asked: they are not what the line says
        assert said[0] == "allowed"
        assert (package.id.name, from_bytes[0]) == (CrateName("wrong"), "ArchiveRefused")
