"""When a mirror asks for a second opinion, and what the two have to agree on."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import Tarballs, quiet
from tests.support.worlds.ceremony import NOW, make_ceremony, make_key, quorum
from tests.support.worlds.changes import NAME as SERDE
from tests.support.worlds.changes import RELEASERS, TARBALL_PATH, TwoOnlineKeys, claim, new_online_key, next_version
from tests.support.worlds.changes import signed_of as signed_part
from tests.support.worlds.claims import NAME, World, people, person, sign
from tests.support.worlds.publication import MemoryPublication
from tests.support.worlds.release import HonestRelease, synthetic

from carnet.cargo.names import CrateId
from carnet.errors import OpinionsDiffer, ThresholdNotMet
from carnet.level import Level
from carnet.tuf import paths
from carnet.tuf.roles import RoleKeys, TargetFile
from carnet_mirror import writing
from carnet_mirror.second_opinion import in_toto_steps, opinion, python_tuf
from carnet_mirror.second_opinion.agreement import agreeing, demand_same
from carnet_mirror.state.store import Store
from carnet_mirror.sync.sync import sync
from carnet_signer.metadata import new_roles, role_files
from carnet_signer.metadata.new_roles import Accepted, Change, add_release
from carnet_signer.metadata.publish import publish
from carnet_signer.metadata.published_state import read_published_state
from carnet_signer.proposals import ownership
from carnet_verifier.releases.established import Established

FIRST = synthetic(crate=CrateId.of(str(NAME), "0.1.0"))
NEXT = synthetic(crate=CrateId.of(str(NAME), "0.2.0"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the two libraries were asked about, and answered without a difference."""
    seen: list[str] = []
    judge_roles, judge_release = python_tuf.judge_roles, in_toto_steps.judge_release

    def roles(accepted: Accepted, now: object) -> None:
        judge_roles(accepted, now)  # type: ignore[arg-type]
        seen.extend(["root"] if accepted.new_root is not None else [])
        seen.extend(role for role in accepted.new if not role.startswith("claims-"))

    def release(provenance: object) -> None:
        judge_release(provenance)  # type: ignore[arg-type]
        seen.append(str(provenance.crate))  # type: ignore[attr-defined]

    monkeypatch.setattr(python_tuf, "judge_roles", roles)
    monkeypatch.setattr(in_toto_steps, "judge_release", release)
    return seen


def layout_of(release: HonestRelease) -> ownership.NewLayout:
    return ownership.NewLayout(release.layout_file, release.terms)


# --- honest flows ---


def test_a_mirrors_life_is_agreed_on(tmp_path: Path, asked: list[str]) -> None:
    """Init, a claim, releases with and without evidence, new release keys, a handover, a sync."""
    ceremony = make_ceremony(bit_length=1)
    online = ceremony.signer()
    store = Store.create(tmp_path / "mirror")
    with writing.writing(store, online, now=NOW):
        writing.publish(store, online, Change(roles=ceremony.files), now=NOW)
    assert asked == ["root", "targets", "claims", "index"]
    world = World(tmp_path, ceremony, online, store)

    def since(change: Callable[[], object]) -> list[str]:
        asked.clear()
        change()
        return list(asked)

    owner, crate = f"owner.{NAME.canonical}", f"crate.{NAME.canonical}"
    assert since(lambda: world.claim(layout=layout_of(FIRST))) == [owner, crate]
    assert since(lambda: world.release(tarball=FIRST.tarball, bundle=FIRST.bundle())) == [crate, str(FIRST.crate.id)]
    assert since(lambda: world.release(tarball=NEXT.tarball, bundle=NEXT.bundle())) == [crate, str(NEXT.crate.id)]
    assert since(lambda: world.yank("0.2.0")) == [crate]
    changes = ownership.OwnerChanges(releasers=people(("rita", "sven", "uwe"), 2))
    proposal = sign(world.owner_proposal(changes), map(person, ("alice", "bob")))
    both = [str(FIRST.crate.id), str(NEXT.crate.id)]
    assert since(lambda: world.submit(proposal)) == [owner, *both]
    team = ownership.OwnerChanges(owners=people(("alice", "bob", "dora"), 2))
    keys = [*map(person, ("alice", "bob", "dora")), *ceremony.holders[:2]]
    assert since(lambda: world.submit(sign(world.owner_proposal(team), keys))) == [owner, *both]
    upstream = Tarballs([honest_crate("other")])
    assert since(lambda: sync(store, online, upstream, upstream.packages, now=world.now, progress=quiet)) == []
    store.close()


def test_a_rotation_is_agreed_on(asked: list[str]) -> None:
    ceremony, publication = make_ceremony(bit_length=1), MemoryPublication()
    online = TwoOnlineKeys(ceremony.online, make_key("online-2"))

    def judged(change: Change) -> None:
        publish(publication, online, change, now=NOW, second_opinion=lambda new: python_tuf.judge_roles(new, NOW))

    judged(ceremony.change)
    judged(claim(ceremony))
    asked.clear()
    judged(new_online_key(ceremony, make_key("online-2"), ceremony.holders[1:]))
    assert asked == ["root", "index"]


# --- when ---


def test_upkeep_and_syncs_load_neither_library(tmp_path: Path) -> None:
    """The mirror's processes pay for the libraries with the first publication that needs them."""
    script = (
        "import sys\n"
        "import carnet_mirror.intake, carnet_mirror.sync.sync, carnet_mirror.fsck.fsck, carnet_mirror.writing\n"
        "import carnet_cli.commands.registry.mirror\n"
        "print(sorted({'tuf', 'in_toto'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_it_is_asked_before_anything_is_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.make(tmp_path)
    world.add(honest_crate(str(NAME), "0.9.0"))
    before = dict(world.online.versions)
    versions: list[dict[str, int]] = []

    def look(accepted: Accepted, evidence: object, *, now: object) -> None:
        versions.append(dict(world.online.versions))

    monkeypatch.setattr(writing, "judge", look)
    world.claim()
    assert versions == [before]
    assert world.online.versions != before


def test_a_mirror_that_switched_it_off_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise OpinionsDiffer("file", "field", ours="yes", theirs="no", library="a test")

    monkeypatch.setattr(writing, "judge", never)
    world = World.make(tmp_path)
    with pytest.raises(OpinionsDiffer):
        world.claim()
    with world.store.change():
        writing.set_second_opinion(world.store, wanted=False)
    assert not writing.wants_second_opinion(world.store)
    world.claim()
    with world.store.change():
        writing.set_second_opinion(world.store, wanted=True)
    with pytest.raises(OpinionsDiffer):
        world.release()


def test_whatever_a_mirror_publishes_comes_through_one_place() -> None:
    """`carnet_signer.metadata.publish.publish` is called by `carnet_mirror.writing` alone."""
    project = Path(__file__).parents[3]
    callers = [
        path.relative_to(project).as_posix()
        for room in ("mirror", "cli")
        for path in (project / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and node.module in ("carnet_signer.metadata", "carnet_signer.metadata.publish")
        and "publish" in [alias.name for alias in node.names]
    ]
    assert callers == ["mirror/carnet_mirror/writing.py"]


# --- evidence is complete ---


def test_a_release_whose_evidence_nobody_looked_at(tmp_path: Path) -> None:
    """A mirror that forgot to establish what it publishes: the crate role says that there is evidence."""
    world = World.make(tmp_path)
    world.claim(layout=layout_of(FIRST))
    proposal = sign(world.release_proposal(tarball=FIRST.tarball, bundle=FIRST.bundle()), map(person, ("rita", "sven")))
    roles = {role: draft.raw for role, draft in proposal.drafts.items()}
    accepted = add_release(read_published_state(world.store), Change(roles=roles, targets=proposal.targets), world.now)
    with pytest.raises(OpinionsDiffer, match="evidence: carnet says nothing was established about it"):
        opinion.judge(accepted, (), now=world.now)
    release = next(opinion._to_be_judged(accepted))
    found = Established(release, Level.PROVENANCE, Level.PROVENANCE, FIRST.check(), FIRST.crate)
    opinion.judge(accepted, (found,), now=world.now)
    other = replace(found, provenance=NEXT.check())
    with pytest.raises(OpinionsDiffer, match="tarball: carnet says"):
        opinion.judge(accepted, (other,), now=world.now)


# --- roles ---


def accepted(change: Change | None = None) -> tuple[Accepted, Change]:
    ceremony, publication = make_ceremony(bit_length=1), MemoryPublication()
    publish(publication, ceremony.signer(), ceremony.change, now=NOW)
    change = change or claim(ceremony)
    return add_release(read_published_state(publication), change, NOW), change


def test_the_bytes_that_will_be_published_are_judged() -> None:
    """Not those that were parsed: a mix-up between the two would be published."""
    new, _ = accepted()
    python_tuf.judge_roles(new, NOW)
    path = "metadata/1.crate.serde.json"
    mixed = replace(new, files={**new.files, path: new.files["metadata/1.owner.serde.json"]})
    with pytest.raises(OpinionsDiffer, match=rf"{path}: signed\.extra\.carnet\.role"):
        python_tuf.judge_roles(mixed, NOW)
    lost = replace(new, files={name: data for name, data in new.files.items() if name != path})
    with pytest.raises(OpinionsDiffer, match=f"{path}: form: carnet says it is well-formed; python-tuf says"):
        python_tuf.judge_roles(lost, NOW)
    target = next(name for name in new.files if name.endswith("serde-1.0.0.crate"))
    with pytest.raises(OpinionsDiffer, match=f"{TARBALL_PATH}: carnet says the file is the one that is listed"):
        python_tuf.judge_roles(replace(new, files={**new.files, target: b"the tarbulL"}), NOW)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda signed: replace(signed, version=7), r"signed\.version: carnet says 7; python-tuf says 1"),
        (lambda signed: replace(signed, expires=NOW), r"signed\.expires: carnet says 2026-11-23T12:00:00Z"),
        (lambda signed: replace(signed, spec_version="1.0"), r"signed\.spec_version"),
        (lambda signed: replace(signed, extra={"a": 1}), r"signed\.extra\.a: carnet says 1; python-tuf says nothing"),
        (lambda signed: replace(signed, targets={}), rf"signed\.targets\.{TARBALL_PATH}: carnet says nothing"),
        (
            lambda signed: replace(
                signed,
                targets={path: TargetFile(3, file.hashes, file.custom) for path, file in signed.targets.items()},
            ),
            rf"signed\.targets\.{TARBALL_PATH}\.length: carnet says 3; python-tuf says 11",
        ),
    ],
)
def test_a_parser_of_ours_that_reads_something_else(change: Callable[..., object], field: str) -> None:
    new, _ = accepted()
    role = "crate.serde"
    wrong = replace(new.new[role], signed=change(new.new[role].signed))  # type: ignore[arg-type]
    with pytest.raises(OpinionsDiffer, match=f"metadata/[17].crate.serde.json: {field}"):
        python_tuf.read(f"metadata/{wrong.signed.version}.crate.serde.json", wrong)


def test_delegations_are_compared_to_the_last_key() -> None:
    new, _ = accepted()
    envelope = new.new["owner.serde"]
    assert envelope.signed.delegations is not None
    entry = envelope.signed.delegations.roles["crate.serde"]
    stranger = make_key("a stranger").public_key
    for other, field in (
        (replace(entry, terminating=False), r"\[0\]\.terminating: carnet says False; python-tuf says True"),
        (replace(entry, paths=("crates/*/*/*",)), r"\[0\]\.paths\[0\]"),
        (replace(entry, signers=replace(entry.signers, threshold=2)), r"\[0\]\.threshold: carnet says 2"),
        (
            replace(entry, signers=replace(entry.signers, keys=(*entry.signers.keys, stranger))),
            rf"\[0\]\.keys\.{stranger.keyid}: carnet says .*; python-tuf says nothing",
        ),
        (
            replace(entry, signers=replace(entry.signers, keys=(replace(RELEASERS[0].public_key, public="00" * 32),))),
            r"\[0\]\.keys\.[0-9a-f]{64}\.public",
        ),
    ):
        delegations = replace(envelope.signed.delegations, roles={"crate.serde": other})
        wrong = replace(envelope, signed=replace(envelope.signed, delegations=delegations))
        with pytest.raises(OpinionsDiffer, match=rf"signed\.delegations{field}"):
            python_tuf.read("metadata/1.owner.serde.json", wrong)


def test_a_version_that_is_not_the_next_and_one_that_has_expired() -> None:
    ceremony, publication = make_ceremony(bit_length=1), MemoryPublication()
    publish(publication, ceremony.signer(), ceremony.change, now=NOW)
    new = add_release(
        read_published_state(publication), Change(roles={"targets": next_version(ceremony, "targets")}), NOW
    )
    python_tuf.judge_roles(new, NOW)
    expires = new.new["targets"].signed.expires
    with pytest.raises(OpinionsDiffer, match=r"signed\.expires: carnet says it has not expired"):
        python_tuf.judge_roles(new, expires)
    third = signed_part(ceremony.files["targets"]) | {"version": 3}
    data = ceremony.sign(third)
    envelope = add_release(
        replace(read_published_state(publication), snapshot=None), replace(ceremony.change), NOW
    ).new["targets"]
    from carnet.tuf.read import parse_role
    from carnet.tuf.roles import Targets

    skipped = parse_role(data, Targets, max_bytes=10**6)
    assert envelope.signed.version == 1
    jumped = replace(new, new={"targets": skipped}, files={"metadata/3.targets.json": data})
    with pytest.raises(OpinionsDiffer, match="python-tuf says version 3, where 2 is next"):
        python_tuf.judge_roles(jumped, NOW)


def test_whoever_a_new_delegator_names_otherwise_is_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The owners appoint other release keys, and the crate role that stands carries none of their signatures."""
    ceremony, publication = make_ceremony(bit_length=1), MemoryPublication()
    for change in (ceremony.change, claim(ceremony)):
        publish(publication, ceremony.signer(), change, now=NOW)
    owner = paths.owner_role(SERDE)
    same = Change(roles={owner: claim(ceremony, version=2).roles[owner]})
    other = Change(roles={owner: claim(ceremony, version=2, releasers=[make_key("somebody else")]).roles[owner]})
    with pytest.raises(ThresholdNotMet):
        add_release(read_published_state(publication), other, NOW)
    monkeypatch.setattr(new_roles, "_check_delegates", lambda *_: None)
    python_tuf.judge_roles(add_release(read_published_state(publication), same, NOW), NOW)
    with pytest.raises(OpinionsDiffer, match=r"metadata/1\.crate\.serde\.json: signatures: .*signed by 0/1 keys"):
        python_tuf.judge_roles(add_release(read_published_state(publication), other, NOW), NOW)


def test_targets_that_a_new_root_no_longer_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    ceremony, publication = make_ceremony(bit_length=1), MemoryPublication()
    publish(publication, ceremony.signer(), ceremony.change, now=NOW)
    strangers = quorum([make_key("somebody else")], 1)
    monkeypatch.setattr(new_roles, "_check_delegates", lambda *_: None)
    for targets, taken in ((quorum(ceremony.holders, 2), True), (strangers, False)):
        holders, online = quorum(ceremony.holders, 2), quorum([ceremony.online], 1)
        top = {paths.ROOT: holders, paths.TIMESTAMP: online, paths.SNAPSHOT: online, paths.TARGETS: targets}
        root = ceremony.sign(role_files.root(2, NOW + role_files.ROOT_LIFE, top))
        new = add_release(read_published_state(publication), Change(roles={"root": root}), NOW)
        if taken:
            python_tuf.judge_roles(new, NOW)
            continue
        with pytest.raises(OpinionsDiffer, match=r"metadata/1\.targets\.json: signatures: .*signed by 0/1 keys"):
            python_tuf.judge_roles(new, NOW)


def test_a_root_needs_the_signatures_of_the_root_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ceremony, publication = make_ceremony(bit_length=1), MemoryPublication()
    publish(publication, ceremony.signer(), ceremony.change, now=NOW)
    thief = [make_key("a thief")]
    stolen = new_online_key(replace(ceremony, holders=tuple(thief), threshold=1), make_key("online-2"), thief)
    with pytest.raises(ThresholdNotMet):
        add_release(read_published_state(publication), Change(roles={"root": stolen.roles["root"]}), NOW)
    monkeypatch.setattr(RoleKeys, "check", lambda *_: None)
    new = add_release(read_published_state(publication), Change(roles={"root": stolen.roles["root"]}), NOW)
    with pytest.raises(OpinionsDiffer, match=r"metadata/2\.root\.json: signatures: .*root was signed by 0/2 keys"):
        python_tuf.judge_roles(new, NOW)


# --- the comparison itself ---


def test_one_is_not_true() -> None:
    demand_same("file", {"a": [1, {"b": "x"}]}, {"a": [1, {"b": "x"}]}, library="a test")
    demand_same("file", {"a": 1, "b": 2}, {"b": 2, "a": 1}, library="a test")
    for ours, theirs, field in (
        ({"a": 1}, {"a": True}, r"a: carnet says 1; a test says True"),
        ([1, 2], [1, 2, 3], r"content: carnet says \[1, 2\]"),
        ({"a": {}}, {"a": None}, r"a: carnet says \{\}; a test says nothing"),
    ):
        with pytest.raises(OpinionsDiffer, match=f"^file: {field}"):
            demand_same("file", ours, theirs, library="a test")


def test_whatever_a_library_raises_is_its_opinion_in_one_line() -> None:
    for error in (KeyError("a\nb"), RecursionError("too deep"), ZeroDivisionError(), MemoryError()):
        with pytest.raises(OpinionsDiffer) as raised, agreeing("file", "form", ours="fine", library="a test"):
            raise error
        assert type(error).__name__ in str(raised.value)
        assert str(raised.value).isprintable()
