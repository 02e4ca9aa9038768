"""Repositories rebuilt from published tarballs: what a maintainer's repository must have looked like, near enough.

A tarball holds the original manifest and every file of the package. What it inherits from a workspace, and the siblings
that it names by path, are made up so that cargo reads the original manifest unchanged; licences of a package in a
subdirectory become symbolic links to the top, as they are in most workspaces.
"""

from __future__ import annotations

import json
import posixpath
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.crates.corpus import cached_index_file
from tests.support.worlds.release import make_repository

from carnet.cargo.crate import CrateFile
from carnet.cargo.names import CrateName
from carnet.cargo.original import read_toml
from carnet.tuf.paths import index_prefix

_OWN = ("Cargo.toml", "Cargo.toml.orig", "Cargo.lock", ".cargo_vcs_info.json")
_TABLES = ("dependencies", "dev-dependencies", "build-dependencies", "dev_dependencies", "build_dependencies")


@dataclass
class Rebuilt:
    """A repository that a tarball may have come from.

    Attributes:
        path: The work tree.
        folder: The package's folder in it.
        traits: What is special about it.
    """

    path: Path
    folder: str
    traits: set[str] = field(default_factory=set)


def rebuild(crate: CrateFile, place: Path) -> Rebuilt:
    """Make the repository, with one commit tagged `v1`."""
    own = read_toml(crate.file("Cargo.toml.orig") or b"", "Cargo.toml.orig")
    published = read_toml(crate.file("Cargo.toml") or b"", "Cargo.toml")
    rebuilt = Rebuilt(place, _folder(crate, own))
    maker = _Maker(rebuilt, own, published)
    files = {
        maker.at(entry.path): entry.data
        for entry in crate.entries
        if entry.path not in _OWN and maker.is_inside(entry.path)
    }
    files[maker.at("Cargo.toml")] = crate.file("Cargo.toml.orig") or b""
    files |= maker.outside(crate)
    links = maker.licences(files)
    maker.workspace()
    files |= {path: data for path, data in maker.more.items() if path not in files}
    marked = [maker.at(entry.path) for entry in crate.entries if entry.executable]
    if marked:
        rebuilt.traits.add("executable file")
    for key in ("include", "exclude"):
        if key in own.get("package", {}):
            rebuilt.traits.add(key)
    if isinstance(published.get("package", {}).get("build"), str):
        rebuilt.traits.add("build script")
    if rebuilt.folder:
        rebuilt.traits.add("subdirectory")
    if any("package" in value for _, _, value in _dependencies(published)):
        rebuilt.traits.add("renamed dependency")
    make_repository(place, files, executable=[path for path in marked if path in files], links=links)
    return rebuilt


def _folder(crate: CrateFile, own: Mapping[str, Any]) -> str:
    info = crate.file(".cargo_vcs_info.json")
    said = json.loads(info).get("path_in_vcs", "") if info else ""
    nested = _inherits(own) or '"../' in json.dumps(own)
    return str(said) or (f"crates/{crate.id.name}" if nested else "")


def _inherits(value: Any) -> bool:
    if isinstance(value, dict):
        return value.get("workspace") is True or any(map(_inherits, value.values()))
    return isinstance(value, list) and any(map(_inherits, value))


def _dependencies(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for holder in (manifest, *manifest.get("target", {}).values()):
        for table in _TABLES:
            for name, value in holder.get(table, {}).items():
                yield table, name, value if isinstance(value, dict) else {"version": value}


class _Maker:
    def __init__(self, rebuilt: Rebuilt, own: Mapping[str, Any], published: Mapping[str, Any]) -> None:
        self.rebuilt = rebuilt
        self.own = own
        self.published = published
        self.more: dict[str, bytes] = {}
        self._outside: dict[str, str] = {}
        package = own.get("package", {})
        for key in ("readme", "license-file"):
            value = package.get(key)
            if isinstance(value, str) and value.startswith("../"):
                path = posixpath.normpath(posixpath.join(rebuilt.folder, value))
                self._outside[posixpath.basename(value)] = path
            elif isinstance(value, dict) and isinstance(published["package"].get(key), str) and rebuilt.folder:
                self._outside[published["package"][key]] = published["package"][key]

    def at(self, path: str) -> str:
        return posixpath.join(self.rebuilt.folder, path)

    def is_inside(self, path: str) -> bool:
        return path not in self._outside

    def outside(self, crate: CrateFile) -> dict[str, bytes]:
        """A readme or licence that cargo copied from outside the package's folder."""
        found = {path: data for name, path in self._outside.items() if (data := crate.file(name)) is not None}
        if found:
            self.rebuilt.traits.add("readme from outside")
        return found

    def licences(self, files: dict[str, bytes]) -> dict[str, str]:
        """Licences of a package in a subdirectory become links to files at the top."""
        links = {}
        for path in list(files):
            name = posixpath.basename(path)
            if self.rebuilt.folder and path == self.at(name) and name.startswith("LICENSE") and name not in files:
                files[name] = files.pop(path)
                links[path] = posixpath.relpath(name, self.rebuilt.folder)
                self.rebuilt.traits.add("symbolic link")
        return links

    def workspace(self) -> None:
        """The workspace that the package inherits from, and siblings that it names by path."""
        lines = ["[workspace]", f"members = [{json.dumps(self.rebuilt.folder or '.')}]", 'resolver = "2"']
        stubs = dict(self._stubs(self.own, ""))
        if _inherits(self.own):
            self.rebuilt.traits.add("inherits from a workspace")
            package = self.own.get("package", {})
            inherited = {key: self.published["package"].get(key) for key, value in package.items() if _inherits(value)}
            lines += ["[workspace.package]"]
            lines += [f"{key} = {_toml(value)}" for key, value in inherited.items() if value is not None]
            lines += ["[workspace.dependencies]", *self._shared(stubs)]
            if _inherits(self.own.get("lints", {})):
                lines += [f"[workspace.lints.{tool}]\n{_table(rules)}" for tool, rules in self._lints().items()]
        if self.rebuilt.folder and "workspace" not in self.own:
            self.more["Cargo.toml"] = ("\n".join(lines) + "\n").encode()
        for member in self.own.get("workspace", {}).get("members", []):
            if "*" not in member and posixpath.normpath(member) != ".":
                self.rebuilt.traits.add("root of a workspace")
                stubs.setdefault(self.at(member), (f"stub-{member.replace('/', '-')}", "0.0.0", set()))
        for path, (name, version, features) in stubs.items():
            self.rebuilt.traits.add("siblings by path")
            text = f'[package]\nname = "{name}"\nversion = "{version}"\nedition = "2021"\n[features]\ndefault = []\n'
            text += "".join(f"{json.dumps(feature)} = []\n" for feature in sorted(features - {"default"}))
            self.more[f"{path}/Cargo.toml"] = text.encode()
            self.more[f"{path}/src/lib.rs"] = b""

    def _lints(self) -> Mapping[str, Any]:
        lints: Mapping[str, Any] = self.published.get("lints", {})
        return lints

    def _stubs(self, manifest: Mapping[str, Any], base: str) -> Iterator[tuple[str, tuple[str, str, set[str]]]]:
        for _, name, value in _dependencies(manifest):
            if "path" in value:
                path = posixpath.normpath(posixpath.join(self.rebuilt.folder, base, value["path"]))
                if path != (self.rebuilt.folder or "."):
                    real = value.get("package", name)
                    yield path, (real, _least(value.get("version", "0.0.0")), self._asked(name, value))

    def _asked(self, name: str, value: Mapping[str, Any]) -> set[str]:
        asked = set(value.get("features", []))
        for values in self.own.get("features", {}).values():
            asked |= {one.partition("/")[2] for one in values if re.match(rf"{re.escape(name)}\??/", one)}
        return asked - {"default"}

    def _shared(self, stubs: dict[str, tuple[str, str, set[str]]]) -> Iterator[str]:
        named: dict[str, str] = {}
        for table, name, value in _dependencies(self.own):
            if value.get("workspace") is not True:
                continue
            found = next(
                (item for kind, other, item in _dependencies(self.published) if other == name and _same(kind, table)),
                None,
            )
            if found is None:  # cargo dropped it: a sibling that exists only here
                stubs[f"stubs/{name}"] = (name, "0.0.0", self._asked(name, value))
                named.setdefault(name, f'{{ path = "stubs/{name}" }}')
                continue
            kept = {
                key: part
                for key, part in found.items()
                if key in ("version", "package", "default-features", "registry")
            }
            kept["features"] = [one for one in found.get("features", []) if one not in value.get("features", [])]
            named.setdefault(name, _toml(kept))
        yield from (f"{name} = {value}" for name, value in named.items())


def _same(one: str, other: str) -> bool:
    return one.replace("_", "-") == other.replace("_", "-")


def _least(requirement: str) -> str:
    match = re.search(r"\d+(?:\.\d+){0,2}(?:-[0-9A-Za-z.]+)?", requirement)
    version = match[0] if match else "0.0.0"
    numbers, dash, rest = version.partition("-")
    return ".".join([*numbers.split("."), "0", "0"][:3]) + dash + rest


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(part)}" for key, part in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def _table(rules: Mapping[str, Any]) -> str:
    return "\n".join(f"{json.dumps(key)} = {_toml(value)}" for key, value in rules.items())


def learn(repository: Rebuilt, home: Path, environment: Mapping[str, str]) -> None:
    """Have cargo look up everything that locking and packaging need, into the index cache of a cargo home."""
    for command in (["generate-lockfile"], ["package", "--no-verify", "--allow-dirty"]):
        subprocess.run(
            ["cargo", *command, "--manifest-path", str(repository.path / repository.folder / "Cargo.toml")],
            env={**environment, "CARGO_HOME": str(home)},
            cwd=repository.path.parent,
            check=False,
            capture_output=True,
            timeout=300,
        )


@contextmanager
def serving_index(home: Path) -> Iterator[str]:
    """Serve the index cache of a cargo home on loopback, in the place of a verifying proxy."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer in two parts would wait 40 ms for an acknowledgement

        def do_GET(self) -> None:
            body = _answer(self.path, port, home)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port = int(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"sparse+http://127.0.0.1:{port}/index/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(path: str, port: int, home: Path) -> bytes | None:
    if path == "/index/config.json":
        return json.dumps({"dl": f"http://127.0.0.1:{port}/dl", "api": f"http://127.0.0.1:{port}"}).encode()
    name = path.rpartition("/")[2]
    for place in home.glob(f"registry/index/*/.cache/{index_prefix(CrateName(name))}/{name}"):
        return cached_index_file(place)
    return None
