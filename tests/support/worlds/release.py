"""An honest release, complete: keys of everybody, a layout, links, a bundle, a tarball.

`synthetic()` makes one in a few milliseconds, without git and cargo; `from_repository()` takes a git repository through
the real steps. Attack tests take an honest one, change one thing, and sign again with the keys that the attacker has.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.worlds.ceremony import TestKey, make_key

from carnet.cargo.crate import CrateFile, read_crate
from carnet.cargo.names import CrateId
from carnet.digests import sha256_hex
from carnet.intoto.bundle import Bundle
from carnet.intoto.dsse import Envelope
from carnet.intoto.duties import Terms
from carnet.intoto.steps import ArtifactNames, TagRecord
from carnet.intoto.values import Layout, Link
from carnet_signer.steps.layouts import compile_layout, fill_template
from carnet_signer.steps.packaging import Toolchain
from carnet_signer.steps.record import record_package, record_rebuild, record_review, record_tag, sign_link
from carnet_verifier.provenance.provenance import OwnedLayout, Provenance, check_provenance

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
CRATE = CrateId.of("demo-lib", "0.1.0")
TOOLCHAIN = "cargo 1.95.0 (f2d3ce0bd 2026-03-21)\n"
COMMIT = "1234567890abcdef1234567890abcdef12345678"

WHO: Mapping[str, tuple[str, ...]] = {
    "tag": ("alice", "bob"),
    "review": ("alice", "bob", "carol", "dave"),
    "test": ("ci", "ci2"),
    "package": ("alice", "packager"),
    "rebuild": ("rebuilder1", "rebuilder2", "rebuilder3"),
}
DID: Mapping[str, tuple[str, ...]] = {
    "tag": ("alice",),
    "review": ("carol", "dave"),
    "test": ("ci",),
    "package": ("packager",),
    "rebuild": ("rebuilder1", "rebuilder2"),
}

MANIFEST = b"""[package]
name = "demo-lib"
version = "0.1.0"
edition = "2021"
description = "a small library"
license = "MIT"

[dependencies]
log = { version = "0.4", default-features = false }

[dev-dependencies]
helper = { path = "helper" }

[features]
loud = ["log/std"]
"""
PUBLISHED = b"""# rewritten by cargo
[package]
edition = "2021"
name = "demo-lib"
version = "0.1.0"
build = false
autobins = false
description = "a small library"
license = "MIT"

[lib]
name = "demo_lib"
path = "src/lib.rs"

[dependencies.log]
version = "0.4"
default-features = false

[features]
loud = ["log/std"]
"""
LOCK = """version = 4

[[package]]
name = "demo-lib"
version = "0.1.0"
dependencies = ["log"]

[[package]]
name = "log"
version = "0.4.29"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "5e5032e24019045c762d3c0f28f5b6b8bbf38563a65908389bf7978758920897"
"""


def key(name: str) -> TestKey:
    return make_key(f"functionary {name}")


@dataclass(frozen=True)
class HonestRelease:
    """Everything about one release, and ways to change one thing of it."""

    crate: CrateFile
    tarball: bytes
    layout: Layout
    terms: Terms
    links: Mapping[str, tuple[tuple[str, Link], ...]]
    """Step -> (who signs, link)."""
    extra: Mapping[str, tuple[Envelope, ...]] = field(default_factory=dict)

    @property
    def layout_file(self) -> bytes:
        envelope = Envelope(self.layout.to_payload())
        return envelope.with_signature(key("owner").sign(envelope.message)).to_bytes()

    @property
    def owned(self) -> OwnedLayout:
        return OwnedLayout(self.layout_file, self.terms, 3)

    def bundle(self) -> Bundle:
        links = {step: tuple(sign_link(link, key(who)) for who, link in signed) for step, signed in self.links.items()}
        for step, envelopes in self.extra.items():
            links[step] = (*links.get(step, ()), *envelopes)
        return Bundle.from_bytes(Bundle(self.layout_file, links).to_bytes())

    def check(self, **options: Any) -> Provenance:
        return check_provenance(self.crate, [self.owned], self.bundle(), **options)

    def link(self, step: str, who: str | None = None) -> Link:
        return next(link for name, link in self.links[step] if who is None or name == who)

    def with_links(self, step: str, *signed: tuple[str, Link]) -> HonestRelease:
        """The release with the links of one step replaced."""
        return replace(self, links={**self.links, step: signed})

    def signed_by(self, step: str, *people: str) -> HonestRelease:
        """The release with one step carried out by other people."""
        return self.with_links(step, *((who, self.link(step)) for who in people))

    def without(self, step: str) -> HonestRelease:
        return replace(self, links={name: links for name, links in self.links.items() if name != step})

    def with_extra(self, step: str, *envelopes: Envelope) -> HonestRelease:
        return replace(self, extra={**self.extra, step: envelopes})

    def with_crate(self, tarball: bytes) -> HonestRelease:
        return replace(self, tarball=tarball, crate=read_crate(tarball))

    def repackaged(
        self, changes: Mapping[str, bytes | None], *, executable: Iterable[str] | None = None
    ) -> HonestRelease:
        """The release with files of the tarball changed (None: left out), and package and rebuild links that say so."""
        files = {entry.path: entry.data for entry in self.crate.entries}
        marked = [entry.path for entry in self.crate.entries if entry.executable] if executable is None else executable
        for path, content in changes.items():
            if content is None:
                del files[path]
            else:
                files[path] = content
        data = tarball(self.crate.id, files, marked)
        release = self.with_crate(data)
        products = {ArtifactNames(self.crate.id).tarball: sha256_hex(data)}
        for step in ("package", "rebuild"):
            signed = ((who, replace(link, products=products)) for who, link in self.links[step])
            release = release.with_links(step, *signed)
        return release

    def with_layout(self, **changes: Any) -> HonestRelease:
        return replace(self, layout=replace(self.layout, **changes))


def layout_for(
    template: str = "release",
    who: Mapping[str, tuple[str, ...]] = WHO,
    *,
    edit: tuple[str, str] | None = None,
    now: datetime = NOW,
) -> tuple[Layout, Terms]:
    """A layout of a template, with everybody's keys."""
    from carnet import strictjson

    people = {name: (f"{name}.pub",) for name in dict.fromkeys(name for names in who.values() for name in names)}
    text = fill_template(template, people, who)
    if edit is not None:
        assert edit[0] in text
        text = text.replace(*edit)
    compiled = compile_layout(
        text.encode(),
        lambda path: strictjson.canonical(key(path.removesuffix(".pub")).public_key.to_object()),
        now=now,
        what="layout.toml",
    )
    return compiled.layout, compiled.terms


def tarball(crate: CrateId, files: Mapping[str, bytes], executable: Iterable[str] = ()) -> bytes:
    """A `.crate` as cargo would make it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, data in sorted(files.items()):
            member = tarfile.TarInfo(f"{crate.stem}/{path}")
            member.size, member.mtime = len(data), 1153704088
            member.mode = 0o755 if path in set(executable) else 0o644
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(out.getvalue(), mtime=0)


def synthetic(
    sources: Mapping[str, bytes] | None = None,
    *,
    template: str = "release",
    did: Mapping[str, tuple[str, ...]] = DID,
    crate: CrateId = CRATE,
) -> HonestRelease:
    """An honest release of made-up files, without git and cargo."""
    version = str(crate.version).encode()
    default = {
        "Cargo.toml": MANIFEST.replace(b"0.1.0", version),
        "README.md": b"# demo\n",
        "src/lib.rs": b"pub fn hello() {}\n",
        ".github/workflows/ci.yml": b"on: push\n",
        "run.sh": b"#!/bin/sh\n",
    }
    source = dict(default if sources is None else sources)
    packaged = {path: data for path, data in source.items() if not path.startswith((".github", "Cargo.toml"))}
    lock = LOCK.replace('demo-lib"\nversion = "0.1.0', f'demo-lib"\nversion = "{crate.version}')
    files = {
        **packaged,
        "Cargo.toml.orig": source["Cargo.toml"],
        "Cargo.toml": PUBLISHED.replace(b"0.1.0", version),
        "Cargo.lock": lock.encode(),
        ".cargo_vcs_info.json": f'{{"git": {{"sha1": "{COMMIT}"}}, "path_in_vcs": ""}}'.encode(),
    }
    data = tarball(crate, files, ["run.sh"])
    record = TagRecord(
        files={path: sha256_hex(content) for path, content in source.items()},
        executable=frozenset(path for path in ("run.sh",) if path in source),
        commit=COMMIT,
        listing=tuple(sorted(files)),
        lock=lock,
        toolchain=TOOLCHAIN,
    )
    return complete(crate, data, record.link(crate), template=template, did=did)


def complete(
    crate: CrateId,
    data: bytes,
    tag: Link,
    *,
    template: str = "release",
    did: Mapping[str, tuple[str, ...]] = DID,
    who: Mapping[str, tuple[str, ...]] = WHO,
    manifest: str = "Cargo.toml",
) -> HonestRelease:
    """All other links, made up from a tag and a tarball."""
    names = ArtifactNames(crate)
    report = f'{{"crate": "{crate}"}}'
    byproducts: dict[str, dict[str, Any]] = {"test": {"return-value": 0, "report": report}}
    products = {
        "review": {},
        "test": {names.test_report: sha256_hex(report.encode())},
        "package": {names.tarball: sha256_hex(data)},
        "rebuild": {names.tarball: sha256_hex(data)},
    }
    layout, terms = layout_for(template, who, edit=("P/src/Cargo.toml", f"P/src/{manifest}"))
    links = {"tag": tuple((person, tag) for person in did["tag"])}
    for step, made in products.items():
        if layout.step(step) is not None:
            link = Link(step, tag.products, made, byproducts.get(step, {"return-value": 0}))
            links[step] = tuple((person, link) for person in did[step])
    return HonestRelease(read_crate(data), data, layout, terms, links)


# --- with real git and real cargo ---


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints; skips the test where there is no git."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{
            f"GIT_{role}_{part}": "tester@example.test"
            for role in ("AUTHOR", "COMMITTER")
            for part in ("NAME", "EMAIL")
        },
        **{f"GIT_{role}_DATE": "2026-01-01T00:00:00Z" for role in ("AUTHOR", "COMMITTER")},
    }
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *arguments],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def make_repository(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    executable: Iterable[str] = (),
    links: Mapping[str, str] | None = None,
    ignored: Iterable[str] = (),
) -> Path:
    """A git repository with one commit, tagged `v1`."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch=main", ".")
    for path, data in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        if path in set(executable):
            place.chmod(0o755)
    for path, target in (links or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(target)
    git(folder, "add", "--force", "--all", ".")
    git(folder, "commit", "--quiet", "--message", "release")
    git(folder, "tag", "v1")
    return folder


def from_repository(
    repository: Path, toolchain: Toolchain, *, folder: str = "", index: str | None = None, revision: str = "v1"
) -> HonestRelease:
    """Take a repository through the real steps: tag, review, package and rebuild with git and cargo."""
    tagged = record_tag(repository, revision, folder, toolchain, index=index)
    packaged = record_package(repository, tagged.link, tagged.crate, toolchain, index=index)
    rebuilt = record_rebuild(repository, tagged.link, tagged.crate, toolchain, index=index)
    data = packaged.files[f"{tagged.crate.stem}.crate"]
    manifest = f"{folder}/Cargo.toml" if folder else "Cargo.toml"
    release = complete(tagged.crate, data, tagged.link, manifest=manifest)
    review = record_review(repository, tagged.link, tagged.crate)
    for step, link in (("review", review.link), ("package", packaged.link), ("rebuild", rebuilt.link)):
        release = release.with_links(step, *((person, link) for person in DID[step]))
    return release
