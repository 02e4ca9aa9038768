"""What is fuzzed: each reader of input that others wrote, with honest seeds and the mutator that knows its format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson  # there from the beginning, so that no reader depends on what was read before it
from tests.fuzz.asked import ASKED
from tests.fuzz.folders import FOLDERS
from tests.fuzz.kept import KEPT, scratch
from tests.fuzz.mutate import bodies, documents, envelopes, tarballs
from tests.fuzz.seeds import (
    ARGUMENTS,
    CHUNKED,
    CONFIG,
    GZIPPED,
    INTERIM,
    OK,
    PATHS,
    PKCS11,
    RICH,
    SETTINGS,
    URLS,
    VERSIONS,
)
from tests.fuzz.worlds import Target, honest_release, link_seeds, payload_seeds, role_seeds, small_snapshot
from tests.support.crates.archives import TarballBuilder
from tests.support.worlds import ceremony
from tests.support.worlds.ceremony import make_key
from tests.support.worlds.claims import NAME
from tests.support.worlds.release import LOCK, MANIFEST, PUBLISHED

from carnet import strictjson, stricttoml, times
from carnet.cargo import admitted, requirement
from carnet.cargo.asked import AskedFor
from carnet.cargo.crate import read_crate
from carnet.cargo.index_file import IndexFile, IndexLine
from carnet.cargo.lockfile import read_lockfile
from carnet.cargo.manifest import read_manifest
from carnet.cargo.names import CrateId, CrateName, Version
from carnet.cargo.original import inherited_files, inherits, meaning, outside_files, read_toml, resolve
from carnet.cargo.pull import NotBrought, PullAsk, PullEnd, PullProgress, read_line
from carnet.claims.history import History
from carnet.claims.holders import ClaimFacts
from carnet.claims.releases import Demands, Releases
from carnet.claims.submission import ParsedSubmission, Submission
from carnet.errors import CarnetError, FormatError
from carnet.git import objects
from carnet.intoto.bundle import Bundle
from carnet.intoto.dsse import Envelope
from carnet.intoto.duties import Terms
from carnet.intoto.layout_lint import lint_layout
from carnet.intoto.steps import TagRecord
from carnet.intoto.values import Layout, Link, check_artifact_path
from carnet.tuf import paths
from carnet.tuf.keys import Profile, PublicKey
from carnet.tuf.read import parse_role
from carnet.tuf.roles import Root, Snapshot, Targets, Timestamp
from carnet.tuf.structure import check_structure
from carnet_cli.config import policy_file
from carnet_gate import args, config
from carnet_gate.home import to_toml
from carnet_layouts import template
from carnet_mirror.sync.closure import _read, everything, needed
from carnet_mirror.upstream.cargo import parse_index_cache
from carnet_mirror.upstream.packages import Listing
from carnet_mirror.upstream.sparse import SparseUpstream, fill_template
from carnet_mirror.web import client
from carnet_signer.keys.file import _check_rounds
from carnet_signer.keys.pkcs11_uri import Pkcs11Uri
from carnet_signer.keys.public import read_public_key
from carnet_signer.online.rules import check_payload
from carnet_signer.proposals.proposal import Request
from carnet_signer.steps import gitsource
from carnet_signer.steps.layouts import compile_layout
from carnet_verifier.cargo.vendored import Checksums
from carnet_verifier.memory import pack
from carnet_verifier.net.address import parse_url
from carnet_verifier.net.http1 import _Answers
from carnet_verifier.provenance import unpack

CRATE = CrateId.of("demo", "0.1.0")
RELEASED = CrateId.of("demo-lib", "0.1.0")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEX = "0123456789abcdef" * 4


# --- seeds ---


def _line(version: str = "0.1.0", **more: object) -> bytes:
    dependency = {
        **{"name": "log", "req": "^1.0, <1.9", "features": ["std"], "optional": False, "default_features": True},
        **{"target": 'cfg(all(unix, not(target_os = "macos")))', "kind": "normal", "package": "log-x"},
    }
    fields = {"features": {"default": ["dep:log"]}, "cksum": HEX, "yanked": False, "links": None, "v": 2}
    line = {"name": "demo", "vers": version, "deps": [dependency], **fields, "pubtime": "2026-01-01T00:00:00Z", **more}
    return strictjson.encode(line)


def _tars() -> list[bytes]:
    honest = TarballBuilder().manifest().file("src/lib.rs", "pub fn f() {}\n").file("build.rs", "", executable=True)
    long = TarballBuilder().manifest().directory("src").file(f"{'deep/' * 30}x.rs", "x").file("Cargo.lock", LOCK)
    return [honest.tar(), long.tar()]


LINES = b"\n".join(
    (_line("0.1.0"), _line("0.2.0", features2={"x": ["log?/y"]}), _line("1.0.0-rc.1", rust_version="1.8"))
)


# --- readers: each as it is called, and what is asked of its result at once ---


def _json(data: bytes) -> None:
    """Whatever orjson reads, the strict parser reads, and the same; what it refuses, orjson's way does not take."""
    quickly = strictjson._parse_quickly(orjson, data)
    if quickly is not None:
        assert strictjson._parse_strictly(data, "the input") == quickly
    value = strictjson.parse(data, "the input", max_bytes=4 << 20)
    strictjson.canonical(value)


def _original(data: bytes) -> None:
    own, _, workspace = data.partition(b"\0")
    manifest, shared = read_toml(own, "Cargo.toml"), read_toml(workspace or own, "the workspace")
    inherits(manifest)
    resolved = resolve(inherited_files(manifest, shared, "a", ""), shared)
    outside_files(resolved)
    meaning(resolved, {"src/lib.rs", "build.rs"})


def _unpacked(data: bytes) -> None:
    original, written, lock, tagged = (data.split(b"\0") + [b""] * 4)[:4]
    files = {"Cargo.toml": written, "Cargo.lock": lock}
    crate: Any = SimpleNamespace(
        id=RELEASED, file=files.get, entries=[SimpleNamespace(path=path) for path in (*files, "src/lib.rs")]
    )
    tag: Any = SimpleNamespace(lock=tagged.decode("utf-8", "replace"), path_in_vcs="", commit="0" * 40)
    list(unpack._same_lock(crate, tag))
    list(unpack._same_meaning(crate, tag, read_toml(original, "Cargo.toml.orig")))


def _index_line(data: bytes) -> None:
    line = IndexLine.from_bytes(data)
    line.identity()
    line.with_(yanked=True).to_bytes()
    if line.pubtime is not None:
        times.read(line.pubtime, "pubtime")


def _index_file(data: bytes) -> None:
    file = IndexFile.from_bytes(data, CrateName("demo"))
    for line in file.lines:
        line.identity()
    file.to_bytes()


def _history(data: bytes) -> None:
    """What a mirror signs of an upstream's list, and that list itself."""
    name = CrateName("demo")
    begun = History(name, {}).heard(data.split(b"\n"))
    History.from_bytes(begun.to_bytes(), name)
    History.from_bytes(data, name).heard(LINES.split(b"\n")).to_bytes()


def _histories() -> list[bytes]:
    return [LINES, History(CrateName("demo"), {}).heard(LINES.split(b"\n")).to_bytes()]


def _role(kind: Any) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        parsed = parse_role(data, kind, profile=Profile.GENERAL if len(data) % 4 == 0 else Profile.PRODUCT)
        if kind is Targets:
            _targets(parsed.signed)

    return read


def _targets(signed: Targets) -> None:
    for read in (
        lambda: ClaimFacts.of(signed),
        lambda: Releases.of(NAME, signed),
        lambda: Demands.of(NAME, signed),
        lambda: check_structure("claims-" + NAME.shard, signed),
        lambda: check_structure(paths.owner_role(NAME), signed),
        lambda: check_structure("index-0", signed),
    ):
        try:
            read()
        except CarnetError:
            continue


def _layout(data: bytes) -> None:
    layout = Layout.from_payload(data)
    list(lint_layout(layout, Terms.from_custom({"least_level": "provenance"})))
    layout.to_payload()


def _terms(data: bytes) -> None:
    Terms.from_custom(strictjson.parse_object(data, "terms", max_bytes=1 << 20)).to_custom()


def _link(data: bytes) -> None:
    link = Link.from_payload(data)
    TagRecord.from_link(link, RELEASED)


def _bundle(data: bytes) -> None:
    for links in Bundle.from_bytes(data).links.values():
        for envelope in links:
            Link.from_payload(envelope.payload)


def _functionary(data: bytes) -> None:
    """What the check does with a link that somebody who may sign it made up."""
    link = Link.from_payload(data)
    release = honest_release()
    step = link.name if link.name in release.links else "package"
    release.with_links(step, *((who, link) for who, _ in release.links[step])).check()


def _payload(data: bytes) -> None:
    """What the online signer is asked to sign."""
    payload = strictjson.canonical(strictjson.parse(data, "a payload", max_bytes=1 << 22))
    memory: Any = SimpleNamespace(last=lambda role: None, named_snapshot={})
    kind = data[data.find(b'"_type":"') + 9 :].partition(b'"')[0].decode("ascii", "replace")
    check_payload("index-0" if kind == "targets" else kind, payload, memory, ceremony.NOW)


def _mirror_answer(data: bytes) -> None:
    str(client._refusal(400, strictjson.parse(data, "the answer", max_bytes=1 << 20), "https://mirror.example/"))


def _answers(data: bytes) -> None:
    answers = _Answers()
    answers.expect([4096, None, 0, 1 << 20])
    half = len(data) // 2
    for part in (data[:half], data[half:]):
        answers.feed(part)
    answers.end(truncated=len(data) % 2 == 0)
    while answers.take() is not None:
        pass


def _version(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for read in (
        lambda: Version(text) < Version("1.0.0"),
        lambda: CrateId.parse(text),
        lambda: admitted.admitted(text),
        lambda: requirement.requirement(text),
        lambda: requirement.platform(text),
    ):
        try:
            read()
        except CarnetError:
            continue


def _path(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for read in (
        lambda: paths.check_target_path(text),
        lambda: check_artifact_path(text),
        lambda: paths.index_path(CrateName(text)),
        lambda: times.read(text, "it"),
    ):
        try:
            read()
        except CarnetError:
            continue


def _cargo_config(data: bytes) -> None:
    document = config._parse(data, "config.toml")
    list(config.includes(document, "config.toml"))
    stricttoml.parse(to_toml(document).encode(), "again", max_bytes=1 << 24)
    config._check({key: value for key, value in document.items() if key != "include"}, "x", Path("/nowhere"))


def _settings(data: bytes) -> None:
    policy_file._policy_file(stricttoml.parse(data, "carnet.toml", max_bytes=1 << 20), Path("carnet.toml"), NOW)


def _submission(data: bytes) -> None:
    submission = Submission.from_bytes(data)
    roles = {role: parse_role(file, Targets, what=role) for role, file in submission.roles.items()}
    ParsedSubmission.of(submission, roles)


def _layout_toml(data: bytes) -> None:
    key = strictjson.encode(make_key("alice").public_key.to_object())
    compile_layout(data, lambda path: key, now=NOW, what="layout.toml")


def _public_key(data: bytes) -> None:
    """A file that somebody hands over as their key."""
    place = scratch() / "x.pub"
    place.write_bytes(data)
    read_public_key(place)


def _any_key(data: bytes) -> None:
    PublicKey.from_object(strictjson.parse(data, "a key", max_bytes=1 << 20))


def _key_file(data: bytes) -> None:
    _check_rounds(data, Path("x"))


def _uri(data: bytes) -> None:
    uri = Pkcs11Uri.parse(data.decode("utf-8", "surrogateescape"))
    str((uri.name, uri.place))


def _git(data: bytes) -> None:
    if data.startswith(b"tree"):
        objects.tree_of(data)
        return
    for mode, name, _ in objects.tree_entries(data, 20):
        gitsource._check_name(name, "")
        f"{mode:o}"


def _url(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    parse_url(text, "mirror")
    fill_template(text, CRATE, HEX)
    SparseUpstream(f"sparse+{text}/")


def _listing(data: bytes) -> None:
    """What an upstream's index says of some versions."""
    found = Listing(data.split(b"\n"), CrateName("demo"), {"0.1.0", "0.1.1"})
    for version in ("0.1.0", "0.1.1"):
        found.missing(version)


def _what_is_needed(data: bytes) -> None:
    """What an upstream's index says that a version depends on."""
    for line in _read([data], CrateName("demo")):
        for active in (frozenset[str](), everything(line)):
            for dependency, _ in needed(line, active):
                AskedFor.of(dependency.crate, dependency.req)


def _index_cache(data: bytes) -> None:
    for line in parse_index_cache(data):
        IndexLine.from_bytes(line)


def _arguments(data: bytes) -> None:
    """What a user types, who pays for it alone: what is asked is which errors leave."""
    invocation = args.parse(data.decode("utf-8", "surrogateescape").split(" ", 5_000))
    str((invocation.kind, invocation.compiles))


def _pack(data: bytes) -> None:
    try:
        pack._unpack(data)
    except ValueError as error:  # its one caller takes a damaged pack for none
        raise FormatError("not a pack") from error


P256 = b"""-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
"""


def _keys() -> list[bytes]:
    ecdsa = {"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": P256.decode()}}
    return [strictjson.encode(make_key("a").public_key.to_object()), strictjson.encode(ecdsa)]


def _openssh() -> list[bytes]:
    return [
        b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl alice\n",
        b"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZM"
        b"y7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg= x",
        b"-----BEGIN PUBLIC KEY-----\n"
        b"MCowBQYDK2VwAyEAA6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=\n-----END PUBLIC KEY-----\n",
    ]


def _tree() -> list[bytes]:
    entries = ((b"100644", b"a.rs"), (b"40000", b"src"), (b"120000", b"link"), (b"160000", b"module"))
    tree = b"".join(b"%b %b\0%b" % (mode, name, bytes(range(20))) for mode, name in entries)
    return [tree, b"tree " + HEX[:40].encode() + b"\nauthor x\n\nmessage\n"]


REQUEST = strictjson.encode(
    {
        **{"_type": "carnet-request", "version": 1, "kind": "claim", "crate": "demo", "evidence": ["x"]},
        **{"asked": "2026-01-01T00:00:00Z", "takeover": False},
    }
)


def _texts(texts: Sequence[str]) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in texts]


ASK = PullAsk.of((AskedFor.of("serde", "^1.0"), AskedFor.of("libc", "=0.2.180"))).to_bytes()
ASK_STEP = strictjson.encode(PullProgress("fetching", 1, 2).to_object())
ASK_END = strictjson.encode(PullEnd(("serde@1.0.0",), (NotBrought("evil@1.0.0", "no"),), snapshot=7).to_object())

TARGETS: dict[str, Target] = (
    {
        "json": Target(lambda: [_line(), *role_seeds("root")()], _json, documents),
        "toml": Target(lambda: [RICH, CONFIG, SETTINGS], lambda data: stricttoml.parse(data, "x", max_bytes=1 << 24)),
        "manifest": Target(lambda: [RICH, MANIFEST, PUBLISHED], read_manifest),
        "original": Target(lambda: [RICH, RICH + b"\0" + RICH], _original),
        "unpack": Target(
            lambda: [
                b"\0".join((MANIFEST, PUBLISHED, LOCK.encode(), LOCK.encode())),
                b"\0".join((RICH, RICH, b"", b"")),
            ],
            _unpacked,
        ),
        "lock": Target(
            lambda: [
                LOCK.encode(),
                b'[root]\nname = "a"\nversion = "1.0.0"\n[metadata]\n"checksum a 1.0.0 (x)" = "y"\n',
            ],
            read_lockfile,
        ),
        "vendored": Target(
            lambda: [b'{"files":{"src/lib.rs":"' + HEX.encode() + b'"},"package":"' + HEX.encode() + b'"}'],
            Checksums.from_bytes,
            documents,
        ),
        "index-line": Target(lambda: [_line()], _index_line, documents),
        "index-file": Target(lambda: [LINES], _index_file),
        "history": Target(_histories, _history),
        "index-needs": Target(lambda: [_line()], _what_is_needed, documents),
        "listing": Target(lambda: [_line(), _line() + b"\n" + _line("0.1.1")], _listing),
        "index-cache": Target(lambda: [b"\x03\x02\0\0\0x\0" + b"1.0.0\0" + _line() + b"\0"], _index_cache),
        "root": Target(role_seeds("root"), _role(Root), documents),
        "timestamp": Target(role_seeds("timestamp"), _role(Timestamp), documents),
        "snapshot": Target(lambda: [small_snapshot()], _role(Snapshot), documents),
        "targets": Target(
            role_seeds("owner.", "crate.", "claims-", "1.index-0", "1.index.json"), _role(Targets), documents
        ),
        "dsse": Target(lambda: [honest_release().layout_file], Envelope.from_bytes, documents),
        "layout": Target(lambda: [honest_release().layout.to_payload()], _layout, documents),
        "terms": Target(lambda: [strictjson.encode(honest_release().terms.to_custom())], _terms, documents),
        "link": Target(link_seeds, _link, documents),
        "functionary": Target(link_seeds, _functionary, documents),
        "payload": Target(payload_seeds, _payload, documents),
        "mirror-answer": Target(lambda: [b'{"errors":[{"detail":"no","hint":"x"}]}'], _mirror_answer, documents),
        "ask": Target(lambda: [ASK], PullAsk.from_bytes, documents),
        "ask-answer": Target(lambda: [ASK_STEP, ASK_END], read_line, documents),
        "bundle": Target(lambda: [honest_release().bundle().to_bytes()], _bundle, envelopes),
        "crate": Target(_tars, lambda data: read_crate(data, CRATE), tarballs),
        "crate-strict": Target(_tars, lambda data: read_crate(data, CRATE, strict=True), tarballs),
        "submission": Target(role_seeds("handed-in."), _submission),
        "request": Target(lambda: [REQUEST], Request.from_bytes, documents),
        "http": Target(
            lambda: [GZIPPED, OK, CHUNKED, INTERIM + OK, OK + CHUNKED, b"HTTP/1.1 404 No\r\n\r\n"], _answers, bodies
        ),
        "version": Target(_texts(VERSIONS), _version),
        "path": Target(_texts(PATHS), _path),
        "cargo-config": Target(lambda: [CONFIG, CONFIG.replace(b"[source.crates-io]", b"[http]")], _cargo_config),
        "settings": Target(lambda: [SETTINGS], _settings),
        "layout-toml": Target(_texts((template("minimal"), template("release"))), _layout_toml),
        "key": Target(_keys, _any_key, documents),
        "openssh": Target(lambda: [*_openssh(), *_keys()], _public_key),
        "key-file": Target(lambda: [b"-----BEGIN X-----\nAAAABmJjcnlwdAAAABgAAAAQ\n-----END X-----\n"], _key_file),
        "pkcs11-uri": Target(_texts(PKCS11), _uri),
        "git": Target(_tree, _git),
        "url": Target(_texts(URLS), _url),
        "arguments": Target(_texts(ARGUMENTS), _arguments),
        "pack": Target(lambda: [pack._HEAD + b"1\n" + bytes(32) + b"3 a b\nxyz\n"], _pack),
    }
    | KEPT
    | ASKED
    | FOLDERS
)
