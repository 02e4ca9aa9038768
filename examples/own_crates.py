"""What the demo builds: the example program with its real crates, or, without a registry, crates packaged here.

Without a registry the same path is walked: cargo resolves and fetches from a small registry on loopback, whose only
purpose is to be the upstream of the mirror.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from carnet.cargo.crate import read_crate
from carnet.cargo.index_line import line_from_crate
from carnet.cargo.names import CrateId
from carnet.tuf import paths
from examples.stage import DemoError, Stage

APP = Path(__file__).resolve().parent / "app"
_NAMES = ("carnet-demo-count", "carnet-demo-split", "carnet-demo-text", "carnet-demo-write")


@dataclass(frozen=True)
class Program:
    """The program that is built, in a folder of its own.

    Attributes:
        folder: Where its `Cargo.toml` and `Cargo.lock` are.
        upstream: Variables under which cargo reaches the registry that its crates come from.
    """

    folder: Path
    upstream: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def program(stage: Stage, *, online: bool) -> Iterator[Program]:
    """Lay out the program, with a registry for its crates where the public one cannot be reached."""
    folder = stage.folder / "app"
    if online:
        shutil.copytree(APP, folder, ignore=shutil.ignore_patterns("target"))
        yield Program(folder)
        return
    registry = stage.folder / "registry"
    for name in _NAMES:
        _publish(name, stage.folder / "sources" / name, registry)
    with _serve(registry) as url:
        (registry / "index" / "config.json").write_text(json.dumps({"dl": f"{url}dl/{{crate}}-{{version}}.crate"}))
        home = stage.folder / "upstream-home"
        home.mkdir()
        (home / "config.toml").write_text(
            f'[source.crates-io]\nreplace-with = "here"\n[source.here]\nregistry = "sparse+{url}index/"\n'
        )
        upstream = {"CARGO_HOME": str(home), "NO_PROXY": "127.0.0.1"}
        _write_app(folder)
        _cargo(["generate-lockfile"], folder, stage.environment | upstream)
        yield Program(folder, upstream)


def _publish(name: str, source: Path, registry: Path) -> None:
    (source / "src").mkdir(parents=True)
    (source / "Cargo.toml").write_text(
        f'[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2021"\nlicense = "Apache-2.0"\n'
        f'description = "Part of the demo of carnet"\n[workspace]\n'
    )
    (source / "src" / "lib.rs").write_text(
        '//! Part of a demo.\n\n/// Its name.\npub const NAME: &str = "' + name + '";\n'
    )
    _cargo(["package", "--no-verify", "--allow-dirty", "--offline", "--quiet"], source)
    data = (source / "target" / "package" / f"{name}-1.0.0.crate").read_bytes()
    crate = read_crate(data, CrateId.of(name, "1.0.0"))
    line = line_from_crate(crate, pubtime=None)
    index = registry / paths.index_path(crate.id.name)
    index.parent.mkdir(parents=True, exist_ok=True)
    index.write_bytes(line.to_bytes() + b"\n")
    download = registry / "dl" / f"{crate.id.stem}.crate"
    download.parent.mkdir(exist_ok=True)
    download.write_bytes(data)
    if hashlib.sha256(data).hexdigest() != line.cksum:
        raise DemoError(f"the index line of {crate.id} is not its tarball's")


def _write_app(folder: Path) -> None:
    (folder / "src").mkdir(parents=True)
    dependencies = "".join(f'{name} = "1"\n' for name in _NAMES)
    (folder / "Cargo.toml").write_text(
        '[package]\nname = "carnet-example-app"\nversion = "0.1.0"\nedition = "2021"\n[workspace]\n'
        f"[dependencies]\n{dependencies}"
    )
    uses = ", ".join(f"{name.replace('-', '_')}::NAME" for name in _NAMES)
    (folder / "src" / "main.rs").write_text(f'fn main() {{\n    println!("made of {{:?}}", [{uses}]);\n}}\n')


def _cargo(arguments: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        ["cargo", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode != 0:
        raise DemoError(f"`cargo {' '.join(arguments)}` failed: {done.stderr.strip()[-300:]}")


@contextmanager
def _serve(folder: Path) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()
