"""A mirror's exported tree: any web server carries it, and the gate, plain cargo and stock TUF clients work from it."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import stat
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.cargo import CARGO, Machine
from tests.support.machines.processes import running
from tests.support.machines.stock_client import read_target
from tests.support.registries.mirror_process import MirrorDirectory, make_mirror
from tuf.ngclient import Updater

from carnet import durable
from carnet.cargo.names import CrateId
from carnet.errors import CarnetError, ConfigError, MetadataError, StorageError
from carnet_mirror import export as exporting
from carnet_mirror.export import export
from carnet_mirror.sync.takedown import take_down
from carnet_verifier.net.local import ReadFetcher
from carnet_verifier.tuf.refresh import read_repository

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
EXAMPLE = Path(__file__).parents[2] / "examples/nginx.conf"
DEMO = honest_crate("demo", source="pub fn answer() -> u32 { 42 }\n")


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> MirrorDirectory:
    made = make_mirror(tmp_path_factory.mktemp("mirror") / "mirror")
    made.add(DEMO, honest_crate("other"))
    return made


def written(
    mirror: MirrorDirectory, to: Path, url: str = "http://localhost", *, compressed: bool = False, prune: bool = False
) -> exporting.Exported:
    with mirror.open() as store:
        return export(store, to, url, compressed=compressed, prune=prune)


def read(tree: Path) -> ReadFetcher:
    return ReadFetcher(lambda path: (tree / path).read_bytes() if (tree / path).is_file() else None)


def test_a_client_verifies_the_tree_and_a_second_export_writes_nothing(mirror: MirrorDirectory, tmp_path: Path) -> None:
    tree = tmp_path / "www"
    before = os.umask(0o077)
    try:
        first = written(mirror, tree)
    finally:
        os.umask(before)
    assert first.written == first.files
    view = read_repository(mirror.root, read(tree), now=mirror.now)
    assert view.download(view.find_target("index/de/mo/demo")).startswith(b'{"name":"demo"')
    assert (tree / "api/v1/crates/demo/0.1.0/download").read_bytes() == DEMO
    again = written(mirror, tree)
    assert (again.written, again.removed) == (0, 0)
    modes = {stat.S_IMODE(place.stat().st_mode) for place in tree.rglob("*")}
    assert modes == {0o644, 0o755}, "a web server has another user than who exports"


def test_the_timestamp_is_replaced_last(
    mirror: MirrorDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that ends anywhere leaves a tree that clients accept, and the next one finishes it."""
    tree = tmp_path / "www"
    written(mirror, tree)
    newer = replace(mirror, path=tmp_path / "newer")
    shutil.copytree(mirror.path, newer.path)
    newer.add(honest_crate("third"))
    real = durable.write_files
    calls: list[Path] = []
    for last in range(1, 20):
        calls.clear()

        def write(folder: Path, files: dict[str, bytes], last: int = last) -> None:
            calls.append(folder)
            if len(calls) == last:
                raise StorageError("no space left on the disk")
            real(folder, files)

        monkeypatch.setattr(exporting, "write_files", write)
        copy = tmp_path / f"tree-{last}"
        shutil.copytree(tree, copy)
        try:
            written(newer, copy)
        except StorageError:
            view = read_repository(mirror.root, read(copy), now=mirror.now)
            assert view.find_targets(["index/th/ir/third"]) == {"index/th/ir/third": None}
            monkeypatch.setattr(exporting, "write_files", real)
            written(newer, copy)
            assert read_repository(mirror.root, read(copy), now=mirror.now).find_target("index/th/ir/third")
        else:
            break
    assert last > 3


def test_what_is_published_no_more_is_removed_after_a_week(mirror: MirrorDirectory, tmp_path: Path) -> None:
    tree = tmp_path / "www"
    written(mirror, tree, compressed=True)
    stale = tree / "metadata/1.gone.json"
    for file in (stale, Path(f"{stale}.gz")):
        file.write_bytes(b"{}")
    assert written(mirror, tree, prune=True).removed == 0
    long_ago = time.time() - exporting.KEPT_FOR - 60
    for file in tree.rglob("*"):
        os.utime(file, (long_ago, long_ago))
    assert written(mirror, tree).removed == 0, "only where it is asked for"
    assert written(mirror, tree, prune=True).removed == 1
    assert not list(tree.glob("metadata/1.gone*"))
    read_repository(mirror.root, read(tree), now=mirror.now)
    assert (tree / "metadata/timestamp.json.gz").exists()


def test_what_is_taken_down_leaves_the_tree_at_once(mirror: MirrorDirectory, tmp_path: Path) -> None:
    tree, copy = tmp_path / "www", replace(mirror, path=tmp_path / "copy")
    shutil.copytree(mirror.path, copy.path)
    written(copy, tree)
    place = tree / "api/v1/crates/demo/0.1.0/download"
    assert place.exists()
    signer = copy.signer
    with copy.open(write=True) as store:
        take_down(store, signer, CrateId.parse("demo@0.1.0"), "it reads keys", now=mirror.now)
    assert written(copy, tree).removed == 1
    assert not place.exists()
    assert (tree / "api/v1/crates/other/0.1.0/download").exists()
    assert written(copy, tree).removed == 0


def test_a_folder_of_something_else_is_left_alone(mirror: MirrorDirectory, tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www/index.html").write_text("mine")
    written(mirror, tmp_path / "theirs")
    (tmp_path / "theirs/metadata/1.root.json").write_text("{}")  # another mirror's
    for folder in (tmp_path / "www", tmp_path / "theirs", mirror.path, mirror.path / "www", mirror.path.parent):
        before = sorted(folder.rglob("*")) if folder.exists() else []
        with pytest.raises(ConfigError):
            written(mirror, folder)
        assert (sorted(folder.rglob("*")) if folder.exists() else []) == before


@pytest.mark.parametrize("where", ["index", "targets/index/de", "api/v1/crates/demo", "metadata/timestamp.json"])
def test_a_tree_whose_folders_lead_elsewhere_is_not_written_to(
    mirror: MirrorDirectory, tmp_path: Path, where: str
) -> None:
    """Whoever once wrote in the tree could have what is not the tree's be replaced, opened to all, and removed."""
    tree, elsewhere = tmp_path / "www", tmp_path / "elsewhere"
    written(mirror, tree)
    (tree / where).rename(elsewhere)
    (tree / where).symlink_to(elsewhere)
    if elsewhere.is_dir():
        (elsewhere / "config.json").write_text("mine")
        (elsewhere / "secret").write_text("mine")
        long_ago = time.time() - exporting.KEPT_FOR - 60
        os.utime(elsewhere / "secret", (long_ago, long_ago))
        elsewhere.chmod(0o700)
    before = {one: one.read_bytes() for one in elsewhere.rglob("*") if one.is_file()}
    with pytest.raises(ConfigError, match="is a link"):
        written(mirror, tree, url="http://other", prune=True)
    assert {one: one.read_bytes() for one in elsewhere.rglob("*") if one.is_file()} == before
    assert elsewhere.is_file() or stat.S_IMODE(elsewhere.stat().st_mode) == 0o700


def test_a_tree_that_others_write_to_is_not_written_to(mirror: MirrorDirectory, tmp_path: Path) -> None:
    """They could put a link there while it is written."""
    tree = tmp_path / "www"
    written(mirror, tree)
    for folder in (tree, tree / "index"):
        mode = stat.S_IMODE(folder.stat().st_mode)
        folder.chmod(0o777)
        with pytest.raises(ConfigError, match="can be written by other users"):
            written(mirror, tree)
        folder.chmod(mode)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty").chmod(0o777)
    with pytest.raises(ConfigError, match="can be written by other users"):
        written(mirror, tmp_path / "empty")
    link = tmp_path / "link"
    link.symlink_to(tree)
    assert written(mirror, link).written == 0, "a link to the tree is what whoever exports names"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_tree_of_another_user_is_not_written_to(mirror: MirrorDirectory, tmp_path: Path) -> None:
    tree = tmp_path / "www"
    written(mirror, tree)
    os.chown(tree / "api", 12345, -1)
    with pytest.raises(ConfigError, match="is another user's"):
        written(mirror, tree)


def test_a_damaged_file_of_the_mirror_is_not_carried_on(mirror: MirrorDirectory, tmp_path: Path) -> None:
    damaged = replace(mirror, path=tmp_path / "damaged")
    shutil.copytree(mirror.path, damaged.path)
    bin_ = next((damaged.path / "metadata").glob("*.index-0.json"))
    bin_.write_bytes(bin_.read_bytes().replace(b"a", b"b", 1))
    with pytest.raises(StorageError, match="is damaged"):
        written(damaged, tmp_path / "www")
    assert not (tmp_path / "www/metadata/timestamp.json").exists()


def test_whoever_changes_the_tree_is_found_out(mirror: MirrorDirectory, tmp_path: Path) -> None:
    """The tree is believed as little as a mirror is."""
    tree = tmp_path / "www"
    written(mirror, tree)
    index = next((tree / "targets/index/de/mo").iterdir())
    index.write_bytes(index.read_bytes().replace(b"0.1.0", b"0.1.1"))
    view = read_repository(mirror.root, read(tree), now=mirror.now)
    with pytest.raises(MetadataError):
        view.download(view.find_target("index/de/mo/demo"))
    timestamp = tree / "metadata/timestamp.json"
    timestamp.write_bytes(timestamp.read_bytes().replace(b'"version":', b'"version":1', 1))
    with pytest.raises(CarnetError):
        read_repository(mirror.root, read(tree), now=mirror.now)


@contextmanager
def nginx(tree: Path, folder: Path, port: int) -> Iterator[None]:
    """Debian's nginx with the example's lines."""
    assert NGINX is not None
    site = EXAMPLE.read_text().replace("PORT", f"127.0.0.1:{port}").replace("NAME", "localhost")
    (folder / "site.conf").write_text(site.replace("FOLDER", str(tree)))
    places = "".join(
        f"{name}_temp_path {folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; events {{}}\n"
        f"http {{ access_log {folder}/access.log; {places} include {folder}/site.conf; }}\n"
    )
    command = [NGINX, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-g", "daemon off; master_process off;"]
    with running(command, stderr=subprocess.DEVNULL) as process:
        for _ in range(500):
            assert process.poll() is None, (folder / "error.log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.skipif(CARGO is None, reason="cargo is not installed")
def test_nginx_carries_the_tree_for_the_gate_and_for_plain_cargo(mirror: MirrorDirectory, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, tree = f"http://127.0.0.1:{port}", tmp_path / "www"
    tmp_path.chmod(0o755)
    written(mirror, tree, url, compressed=True)
    machine = Machine(tmp_path / "machine")
    machine.path.mkdir()
    project = machine.project("app", {"demo": '"0.1"'}, main='fn main() { println!("{}", demo::answer()); }\n')
    for name in ("nginx", "tuf"):
        (tmp_path / name).mkdir()
    with nginx(tree, tmp_path / "nginx", port):
        request = urllib.request.Request(f"{url}/metadata/1.root.json", headers={"accept-encoding": "gzip"})
        with urllib.request.urlopen(request) as answer:
            assert answer.headers["content-encoding"] == "gzip"
            assert gzip.decompress(answer.read()) == mirror.root
            assert "immutable" in answer.headers["cache-control"]
        with urllib.request.urlopen(f"{url}/metadata/timestamp.json") as answer:
            assert answer.headers["cache-control"] == "no-cache"
        stock = Updater(
            str(tmp_path / "tuf"),
            f"{url}/metadata/",
            str(tmp_path / "tuf"),
            f"{url}/targets/",
            bootstrap=mirror.root,
        )
        assert read_target(stock, "index/de/mo/demo") == (tree / "index/de/mo/demo").read_bytes()
        machine.trust(mirror.root, url)
        gated = machine.cargo_carnet("run", "--quiet", cwd=project)
        assert (gated.returncode, gated.stdout) == (0, "42\n"), gated.stderr
        plain = machine.project("plain", {"demo": '"0.1"'}, main='fn main() { println!("{}", demo::answer()); }\n')
        (plain / ".cargo").mkdir()
        (plain / ".cargo/config.toml").write_text(
            f'[source.crates-io]\nreplace-with = "m"\n[source.m]\nregistry = "sparse+{url}/index/"\n'
        )
        run = machine.run("cargo", "run", "--quiet", cwd=plain)
        assert (run.returncode, run.stdout) == (0, "42\n"), run.stderr
