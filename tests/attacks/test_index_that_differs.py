"""An index line that is not its manifest's: refused, unless the mirror's operator says otherwise, which clients see."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.registries.mirror_process import MirrorDirectory, Tarballs, make_mirror, quiet

from carnet import strictjson
from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import line_from_crate
from carnet.cargo.let_in import LetIn, read_let_in, write_let_in
from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.errors import (
    ArchiveRefused,
    CarnetError,
    ConfigError,
    ExpiredMetadata,
    FormatError,
    PolicyRefused,
    SigningError,
    VerificationError,
)
from carnet.strictjson import JsonObject
from carnet.tuf.paths import download_path
from carnet.tuf.structure import role_field
from carnet_cli.config.let_in_file import read_let_in_file
from carnet_mirror.fsck.fsck import fsck
from carnet_mirror.state.published import UnverifiedView
from carnet_mirror.sync.revoke import revoke
from carnet_mirror.sync.sync import SyncReport, sync
from carnet_mirror.writing import writing
from carnet_signer.metadata import role_files
from carnet_signer.metadata.publish import refresh_due
from carnet_signer.online.memory import SigningMemory
from carnet_signer.online.rules import check_payload
from carnet_verifier.admit import admit_one, admit_tarball
from carnet_verifier.cargo.localregistry import LocalRegistry
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.outcomes import Admission, VerifiedCrate, Wanted
from carnet_verifier.policy.policy import Policy
from carnet_verifier.policy.rule import Action
from carnet_verifier.policy.rules import named
from carnet_verifier.tuf.refresh import read_repository

PREFIX = CrateId.of("number_prefix", "0.2.5")
CRATE = honest_crate("number_prefix", "0.2.5", extra='[dependencies]\nnum = "*"\n')
SHA256 = read_crate(CRATE).sha256
NOW = datetime.fromisoformat("2026-11-27T00:00:00+00:00")
REASON = "the index has had ^0.1 since 2016, and its maintainer says so too"


def index_line(crate: bytes = CRATE, req: str = "^0.1") -> bytes:
    raw = json.loads(line_from_crate(read_crate(crate), pubtime="2020-02-02T02:02:02Z").to_bytes())
    raw["deps"][0]["req"] = req
    return json.dumps(raw).encode()


@pytest.fixture
def mirror(tmp_path: Path) -> MirrorDirectory:
    return make_mirror(tmp_path / "mirror")


def run(mirror: MirrorDirectory, *let_in: LetIn, crate: bytes = CRATE, line: bytes | None = None) -> SyncReport:
    upstream = Tarballs([crate], [index_line() if line is None else line])
    offered = {read_crate(crate).id: one for one in let_in}
    with mirror.open(write=True) as store:
        return sync(store, mirror.signer, upstream, upstream.packages, now=mirror.now, progress=quiet, let_in=offered)


def said(mirror: MirrorDirectory, **changes: Any) -> LetIn:
    return replace(LetIn(SHA256, REASON, mirror.now + timedelta(days=30)), **changes)


def admitted(mirror: MirrorDirectory, policy: Policy | None = None, *, now: datetime | None = None) -> Admission:
    """From metadata alone, and then with the tarball, as a gate that compiles it."""
    now = now or mirror.now
    admission, _ = with_tarball(mirror, policy or Policy(), now)
    with mirror.open() as store:
        view = read_repository(mirror.root, ReadFetcher(store.read), now=now)
        assert admit_one(view, Wanted(PREFIX), policy or Policy(), None, now=now).line == admission.line
    return admission


def with_tarball(mirror: MirrorDirectory, policy: Policy, now: datetime) -> tuple[Admission, VerifiedCrate]:
    with mirror.open() as store:
        served = lambda path: CRATE if path == download_path(PREFIX) else store.read(path)  # noqa: E731
        view = read_repository(mirror.root, ReadFetcher(served), now=now)
        return admit_tarball(view, Wanted(PREFIX, SHA256), policy, None, now=now)


def test_it_is_refused_and_the_operator_is_told_what_would_let_it_in(mirror: MirrorDirectory) -> None:
    (refused,) = run(mirror).refused
    assert "are not the manifest's" in refused.reason
    assert "--let-in" in refused.reason
    assert SHA256 in refused.reason


def test_positive_control_what_is_let_in_is_used_and_clients_see_why(mirror: MirrorDirectory, tmp_path: Path) -> None:
    report = run(mirror, said(mirror))
    assert report.added == (PREFIX,)
    assert any(REASON in note.text for note in report.findings)
    admission = admitted(mirror)
    (finding,) = admission.verdict.findings
    assert (finding.rule.name, finding.action) == ("index-differs", Action.WARN)
    assert REASON in finding.message
    kept = LocalRegistry(tmp_path / "kept")
    kept.tarball(PREFIX).write_bytes(CRATE)
    assert kept.open(admission) is not None


def test_a_rule_decides(mirror: MirrorDirectory) -> None:
    run(mirror, said(mirror))
    rule = named("index-differs")
    with pytest.raises(PolicyRefused, match=r"\[index-differs\]"):
        admitted(mirror, Policy(rules={rule: Action.DENY}))
    assert admitted(mirror, Policy(rules={rule: Action.ALLOW})).verdict.findings == ()


def test_it_ends(mirror: MirrorDirectory) -> None:
    run(mirror, said(mirror, expires=mirror.now + timedelta(hours=2)))
    assert admitted(mirror, now=mirror.now + timedelta(hours=1)).crate == PREFIX
    for call in (
        lambda: admitted(mirror, now=mirror.now + timedelta(hours=2)),
        lambda: with_tarball(mirror, Policy(), mirror.now + timedelta(hours=3)),
    ):
        with pytest.raises(ExpiredMetadata, match="let it in until"):
            call()
    mirror.now += timedelta(hours=2)
    assert "are not the manifest's" in run(mirror).refused[0].reason


def taken_back(mirror: MirrorDirectory, reason: str = "its line hides a dependency", **changes: Any) -> Any:
    with mirror.open(write=True) as store:
        arguments: dict[str, Any] = {"crate": PREFIX, "sha256": SHA256} | changes
        return revoke(store, mirror.signer, reason=reason, now=mirror.now, **arguments)


def test_the_operator_takes_it_back_before_its_day_and_clients_refuse_it_at_once(mirror: MirrorDirectory) -> None:
    run(mirror, said(mirror))
    assert admitted(mirror).crate == PREFIX
    mirror.now += timedelta(hours=1)
    result, published = taken_back(mirror)
    assert (result.revoked, result.reason) == (mirror.now, "its line hides a dependency")
    assert published is not None
    for call in (lambda: admitted(mirror), lambda: with_tarball(mirror, Policy(), mirror.now)):
        with pytest.raises(VerificationError, match=r"took that back on .*: its line hides a dependency"):
            call()
    rule = named("index-differs")
    with pytest.raises(VerificationError, match="took that back"):
        admitted(mirror, Policy(rules={rule: Action.ALLOW}))  # no policy lets in what the mirror does not vouch for
    assert taken_back(mirror, "again")[1] is None
    (refused,) = run(mirror).refused  # a sync that says nothing of it does not let it in again
    assert "are not the manifest's" in refused.reason
    with mirror.open() as store:
        assert UnverifiedView(store).all_let_in()[PREFIX].revoked is not None
        assert fsck(store, now=mirror.now, progress=quiet).problems == []
    run(mirror, said(mirror))  # one that says so does
    assert admitted(mirror).crate == PREFIX


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "0" * 64}, "has sha256"),
        ({"crate": CrateId.of("number_prefix", "0.2.4")}, "nothing is said of it"),
        ({"crate": CrateId.of("other", "0.2.5")}, "nothing is said of it"),
        ({"reason": " "}, "a reason has"),
        ({"reason": "a\u202eb"}, "a reason has"),
    ],
)
def test_only_what_is_meant_is_taken_back(mirror: MirrorDirectory, changes: dict[str, Any], words: str) -> None:
    run(mirror, said(mirror))
    with pytest.raises(CarnetError, match=words):
        taken_back(mirror, **changes)
    assert admitted(mirror).crate == PREFIX


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"sha256": read_crate(honest_crate()).sha256}])
def test_it_is_about_one_tarball(mirror: MirrorDirectory, change: dict[str, str]) -> None:
    assert run(mirror, said(mirror, **change)).added == ()


def test_it_stays_while_other_things_are_published(mirror: MirrorDirectory) -> None:
    run(mirror, said(mirror, expires=mirror.now + timedelta(days=80)))
    again = run(mirror)
    assert (again.refused, again.unchanged) == ((), 1)
    newer = honest_crate("number_prefix", "0.2.6", extra='[dependencies]\nnum = "*"\n')
    assert run(mirror, crate=newer, line=index_line(newer, "*")).added == (CrateId.of("number_prefix", "0.2.6"),)
    mirror.now += timedelta(days=50)  # more than half of a bin's life: it is signed again
    with mirror.open(write=True) as store, writing(store, mirror.signer, now=mirror.now):
        refreshed = refresh_due(store, mirror.signer, now=mirror.now)
    assert any(role.startswith("index-") for role in refreshed.roles)
    assert admitted(mirror).verdict.findings[0].rule.name == "index-differs"
    longer = said(mirror, expires=mirror.now + timedelta(days=60))
    assert run(mirror, longer).published is not None
    assert admitted(mirror, now=mirror.now + timedelta(hours=1)).attributed.let_in == longer


def test_nothing_is_said_of_a_version_that_needs_no_such_word(mirror: MirrorDirectory) -> None:
    run(mirror, said(mirror), line=index_line(req="*"))
    assert admitted(mirror).verdict.findings == ()


@pytest.mark.parametrize(
    "custom",
    [
        {"let_in": {}},
        {"let_in": {"0.2.5": {"sha256": SHA256, "reason": REASON}}},
        {"let_in": {"0.2.5": {"sha256": SHA256, "reason": REASON, "expires": "never"}}},
        {"let_in": {"0.2.5": {"sha256": SHA256.upper(), "reason": REASON, "expires": "2030-01-01T00:00:00Z"}}},
        {"let_in": {"0.2.5": {"sha256": SHA256, "reason": "a\u202eb", "expires": "2030-01-01T00:00:00Z"}}},
        {"let_in": {"0.2.5": {"sha256": SHA256, "reason": REASON, "expires": "2030-01-01T00:00:00Z"}}, "more": 1},
        {"other": 1},
        {"let_in": {"0.2.5": {"sha256": SHA256, "reason": REASON, "expires": "2030-01-01T00:00:00Z", "revoked": None}}},
        {"let_in": {"0.2.5": {"sha256": SHA256, "reason": REASON, "revoked": "2030-01-01T00:00:00Z"}}},
    ],
)
def test_the_online_signer_signs_nothing_else_of_an_index_file(tmp_path: Path, custom: JsonObject) -> None:
    path = "index/nu/mb/number_prefix"
    role = f"index-{sha256_hex(path.encode())[:2]}"
    right = write_let_in({"0.2.5": LetIn(SHA256, REASON, NOW)})

    def asked(said: JsonObject) -> bytes:
        listed: JsonObject = {path: role_files.target(5, SHA256, said)}
        signed = role_files.targets(1, NOW + timedelta(days=90), listed=listed, extra=role_field(role))
        return strictjson.canonical(signed, role)

    memory = SigningMemory(tmp_path / "memory")
    try:
        assert check_payload(role, asked(right), memory, NOW).version == 1
        with pytest.raises(SigningError, match="more than its length and sha256"):
            check_payload(role, asked(custom), memory, NOW)
    finally:
        memory.close()


def test_what_does_not_parse_lets_nothing_in() -> None:
    customs: tuple[JsonObject, ...] = (
        {"let_in": []},
        {"let_in": {"1.0.0": []}},
        {"let_in": {"1.0.0": {"sha256": 1, "reason": 2, "expires": 3}}},
    )
    for custom in customs:
        with pytest.raises(FormatError):
            read_let_in(custom, "it")
    assert read_let_in({"anything": 1}, "it") == {}


FILE = f"""[[let-in]]
crate = "number_prefix@0.2.5"
sha256 = "{SHA256}"
reason = "{REASON}"
expires = 2027-01-31
"""


def test_the_operators_file(tmp_path: Path) -> None:
    path = tmp_path / "let-in.toml"
    path.write_bytes(b"\xef\xbb\xbf" + FILE.encode())
    assert read_let_in_file(path, NOW) == {
        PREFIX: LetIn(SHA256, REASON, datetime.fromisoformat("2027-01-31T00:00:00+00:00"))
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("2027-01-31", "2026-11-27"), "ended on"),
        (("2027-01-31", "2028-01-31"), "more than a year"),
        (("2027-01-31", '"2027-01-31"'), "not a date"),
        (("@0.2.5", ""), "names no version"),
        ((SHA256, SHA256[:10]), "not a sha256"),
        ((REASON, " "), "a reason has"),
        (("reason", "why"), "has not exactly"),
        (("[[let-in]]", "[let-in]"), "not a list"),
        (("[[let-in]]", "[[letin]]"), "not a list"),
        ((FILE, FILE + FILE), "twice"),
        ((FILE, ""), "not a list"),
        (("reason =", "reason"), "not TOML"),
        ((f'"{REASON}"', "1"), "are strings"),
    ],
)
def test_a_file_that_is_not_of_this_form_is_one_error(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    path = tmp_path / "let-in.toml"
    with pytest.raises(ConfigError, match="there is no"):
        read_let_in_file(path, NOW)
    path.write_text(FILE.replace(*change))
    with pytest.raises(ConfigError, match=words) as refusal:
        read_let_in_file(path, NOW)
    assert refusal.value.hint


def test_only_what_differs_is_let_in(mirror: MirrorDirectory) -> None:
    """Bytes, name and version have to be right whatever an operator says."""
    other = honest_crate("number_prefix", "0.2.5", extra='[dependencies]\nnum = "*"\n', source="pub fn evil() {}\n")
    (refused,) = run(mirror, said(mirror), crate=other, line=index_line()).refused
    assert "sha256" in refused.reason
    with pytest.raises((ArchiveRefused, CarnetError)):
        admitted(mirror)
