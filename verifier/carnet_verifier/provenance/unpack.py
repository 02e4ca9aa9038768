"""The built-in inspection `unpack`: is the tarball what was tagged? In process, in memory, no shell.

    1. the tarball's files are exactly the tag's listing, and files that the owners declare as generated
    2. each file is the tagged one: same bytes, not more executable; `Cargo.toml.orig` is the tagged manifest; a readme
       or licence from outside the package's folder is the file that the manifest names
    3. `.cargo_vcs_info.json`, where there is one, names the tagged commit and folder
    4. `Cargo.toml`, which cargo wrote, means what the tagged manifest means, with workspace inheritance resolved
    5. `Cargo.lock`, which cargo wrote, names only packages of the tagged lock; where the package needs siblings of its
       workspace, cargo resolves those from the registry, and what that adds is shown

That cargo's own files are byte for byte what cargo makes of this source is what the step `rebuild` proves.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Set
from typing import Any

from carnet import strictjson
from carnet.cargo.crate import CrateFile
from carnet.cargo.original import (
    Table,
    crate_id,
    inherited_files,
    inherits,
    meaning,
    outside_files,
    read_toml,
    resolve,
    workspace_manifest,
)
from carnet.digests import sha256_hex
from carnet.errors import RuleViolation
from carnet.intoto.steps import TagRecord

ORIGINAL, MANIFEST, LOCK, VCS_INFO = "Cargo.toml.orig", "Cargo.toml", "Cargo.lock", ".cargo_vcs_info.json"
_CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
_CARGOS_OWN = frozenset((MANIFEST, LOCK, VCS_INFO))


def unpack(crate: CrateFile, tag: TagRecord, generated: Set[str] = frozenset()) -> tuple[str, ...]:
    """Compare a tarball with what was tagged.

    Args:
        crate: The tarball.
        tag: What a maintainer tagged, recomputed.
        generated: Files that the owners allow although no commit has them.

    Returns:
        Findings: differences that refuse nothing.

    Raises:
        RuleViolation: Something is missing, extra, or not the tagged one; the message says what to do.
        FormatError: A manifest or lock does not parse.
    """
    _same_files(crate, tag, generated)  # 1
    original = _resolved_original(crate, tag)
    findings = [
        *_same_contents(crate, tag, generated, original),  # 2
        *_same_commit(crate, tag),  # 3
        *_same_meaning(crate, tag, original),  # 4
        *_same_lock(crate, tag),  # 5
    ]
    return tuple(findings)


def _same_files(crate: CrateFile, tag: TagRecord, generated: Set[str]) -> None:
    inside, listed = {entry.path for entry in crate.entries}, set(tag.listing)
    extra = sorted(inside - listed - generated)
    if extra:
        raise RuleViolation(
            f"{_some(extra)} in the tarball and not in the tag's listing",
            hint="package from a clean checkout of the tag; a file that is made while packaging must be declared by "
            "the owners as `generated` in the layout",
        )
    missing = sorted(listed - inside)
    if missing:
        raise RuleViolation(
            f"{_some(missing)} in the tag's listing and not in the tarball",
            hint="somebody left files out; package the tag again with `carnet record package`",
        )


def _resolved_original(crate: CrateFile, tag: TagRecord) -> Table:
    data = crate.file(ORIGINAL)
    source = tag.source_path(MANIFEST)
    if data is None or sha256_hex(data) != tag.files.get(source):
        raise RuleViolation(
            f"{ORIGINAL} is not the tagged {source}",
            hint="the manifest was changed after tagging, or the tarball is of another commit; tag what you release",
        )
    own = read_toml(data, ORIGINAL)
    if not inherits(own):
        return own
    texts = {path: text.encode() for path, text in tag.manifests.items()}
    path = workspace_manifest(tag.path_in_vcs, own, texts.get)
    if path is None:
        raise RuleViolation(
            "the manifest inherits from a workspace whose manifest the tag does not carry",
            hint="record the tag again with `carnet record tag`",
        )
    workspace = read_toml(texts[path], path)
    return resolve(inherited_files(own, workspace, tag.path_in_vcs, posixpath.dirname(path)), workspace)


def _same_contents(crate: CrateFile, tag: TagRecord, generated: Set[str], original: Table) -> Iterator[str]:
    outside = {
        name: posixpath.normpath(posixpath.join(tag.path_in_vcs, path))
        for name, path in outside_files(original).items()
    }
    for entry in crate.entries:
        if entry.path in _CARGOS_OWN:
            continue
        source = tag.source_path(MANIFEST if entry.path == ORIGINAL else entry.path)
        if source not in tag.files:
            source = outside.get(entry.path, source)
        if sha256_hex(entry.data) != tag.files.get(source):
            if entry.path in generated:
                yield f"{entry.path} is generated, as the owners allow; no commit vouches for it"
                continue
            what = "is in no tagged file" if source not in tag.files else f"is not the tagged {source}"
            raise RuleViolation(
                f"{entry.path} {what}",
                hint="commit the file and tag again; one that is made while packaging must be declared by the owners "
                "as `generated` in the layout",
            )
        if entry.executable and source not in tag.executable:
            raise RuleViolation(f"{entry.path} is executable, and the tagged {source} is not")
        if source in tag.executable and not entry.executable:
            yield f"{entry.path} lost its executable bit"


def _same_commit(crate: CrateFile, tag: TagRecord) -> Iterator[str]:
    data = crate.file(VCS_INFO)
    if data is None:
        return
    match strictjson.parse(data, VCS_INFO, max_bytes=65_536):
        case {"git": {"sha1": str(commit), **git}, **info}:
            pass
        case _:
            raise RuleViolation(f"{VCS_INFO} names no commit")
    if commit != tag.commit:
        raise RuleViolation(
            f"{VCS_INFO} names commit {commit[:12]!a}, and {tag.commit[:12]} was tagged",
            hint="package the tagged commit",
        )
    if info.get("path_in_vcs", "") != tag.path_in_vcs:
        raise RuleViolation(
            f"{VCS_INFO} names the folder {str(info.get('path_in_vcs', ''))[:80]!a}, and {tag.path_in_vcs!a} was tagged"
        )
    if git.get("dirty"):
        yield "cargo found uncommitted changes beside the tagged files"


def _same_meaning(crate: CrateFile, tag: TagRecord, original: Table) -> Iterator[str]:
    data = crate.file(MANIFEST)
    if data is None:
        raise RuleViolation("the tarball has no Cargo.toml")
    files = {entry.path for entry in crate.entries}
    written = read_toml(data, MANIFEST)
    tagged, packaged = meaning(original, files), meaning(written, files)
    for manifest in (original, written):
        if crate_id(manifest) != crate.id:
            raise RuleViolation(f"the manifest is of {crate_id(manifest)}, and the tarball of {crate.id}")
    for fact, expected in tagged.facts.items():
        found = packaged.facts[fact]
        if found != expected:
            raise RuleViolation(
                f"Cargo.toml in the tarball has another {fact} than the tagged one: {_difference(expected, found)}",
                hint="cargo does not write that; package the tag again with `carnet record package`",
            )
    for key in sorted(tagged.rest.keys() | packaged.rest.keys()):
        if tagged.rest.get(key) != packaged.rest.get(key):
            yield f"package.{key} differs from the tagged manifest's"
    yield from _undiscovered(original, written, files)


def _undiscovered(original: Table, written: Table, files: Set[str]) -> Iterator[str]:
    """Targets that the tagged manifest does not name and that cargo would not discover."""
    for kind, folder in (("bin", "src/bin"), ("example", "examples"), ("test", "tests"), ("bench", "benches")):
        named = {item.get("name") for item in _tables(original, kind)}
        for item in _tables(written, kind):
            path = str(item.get("path", ""))
            found = posixpath.dirname(path) == folder or path == f"{folder}/{item.get('name')}/main.rs"
            if item.get("name") not in named and not (found or (kind == "bin" and path == "src/main.rs")):
                yield f"target {kind} {item.get('name')!a} is not in the tagged manifest"
            elif path and path not in files:
                yield f"target {kind} {item.get('name')!a} has no file in the tarball"


def _tables(manifest: Table, key: str) -> list[Table]:
    value = manifest.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _same_lock(crate: CrateFile, tag: TagRecord) -> Iterator[str]:
    data = crate.file(LOCK)
    if data is None or data == tag.lock.encode():
        return
    lock = read_toml(tag.lock.encode(), "the tagged Cargo.lock")
    tagged = dict(_locked(lock))
    siblings = _leans_on_siblings(lock, str(crate.id.name))
    for package, checksum in _locked(read_toml(data, LOCK)):
        name, version, source = package
        if package in tagged:
            if checksum != tagged[package]:
                raise RuleViolation(f"Cargo.lock has another checksum for {name} {version} than the tagged lock")
        elif (name, version, "") in tagged:
            yield f"{name} {version} is part of the workspace, and Cargo.lock takes it from the registry"
        elif siblings and source == _CRATES_IO:
            yield f"{name} {version} is not in the tagged lock: it comes with a sibling of the workspace"
        elif (name, version, source) != (str(crate.id.name), str(crate.id.version), ""):
            raise RuleViolation(
                f"Cargo.lock has {name} {version}, which the tagged lock does not have",
                hint="package with the lock that was tagged: `carnet record package` puts it in place",
            )


def _leans_on_siblings(lock: Table, name: str) -> bool:
    """Whether a package needs another one of its workspace, which cargo takes from the registry when it packages."""
    packages: dict[str, list[Table]] = {}
    for package in _tables(lock, "package"):
        packages.setdefault(str(package.get("name")), []).append(package)
    seen, pending = set[str](), [name]
    while pending:
        one = pending.pop()
        if one in seen:
            continue
        seen.add(one)
        for package in packages.get(one, []):
            if one != name and "source" not in package:
                return True
            needs = package.get("dependencies")
            pending += [str(text).partition(" ")[0] for text in needs] if isinstance(needs, list) else []
    return False


def _locked(lock: Table) -> Iterator[tuple[tuple[str, str, str], str]]:
    for package in _tables(lock, "package"):
        key = tuple(str(package.get(part, "")) for part in ("name", "version", "source"))
        yield (key[0], key[1], key[2]), str(package.get("checksum", ""))


def _difference(expected: Any, found: Any) -> str:
    """The first difference of two facts, short enough for one line."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in sorted(expected.keys() | found.keys(), key=str):
            if expected.get(key) != found.get(key):
                name = " ".join(part for part in key if part) if isinstance(key, tuple) else str(key)
                return f"{name[:80]} is {_short(found.get(key))}, tagged {_short(expected.get(key))}"
    return f"{_short(found)}, tagged {_short(expected)}"


def _short(value: Any) -> str:
    return "absent" if value is None else f"{value!a}"[:160]


def _some(paths: list[str]) -> str:
    verb = "is" if len(paths) == 1 else "are"
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "") + f" {verb}"
