"""`carnet mirror`, with a real ceremony, real keys and real processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from tests.support.crates.archives import honest_crate
from tests.support.machines.processes import running
from tests.support.registries.mirror_process import CARNET
from tests.support.registries.sparse import SparseRegistry, says, sparse_registry
from tests.support.worlds.ceremony import PASSPHRASE, Ceremony, make_ceremony, make_key

from carnet.tuf import paths
from carnet_signer.online.address import address_of


@dataclass
class Site:
    """A machine that runs a mirror.

    Attributes:
        folder: Everything is below it.
        ceremony: What its holders signed.
    """

    folder: Path
    ceremony: Ceremony

    @property
    def mirror(self) -> Path:
        return self.folder / "mirror"

    @property
    def key(self) -> Path:
        return self.folder / "online"

    @property
    def secret(self) -> list[str]:
        return ["--passphrase-file", str(self.folder / "passphrase")]

    def carnet(self, *arguments: str, code: int = 0, **options: object) -> subprocess.CompletedProcess[str]:
        """Run `carnet mirror ...`; it must end with this status, and never with a traceback."""
        return self.run("mirror", *arguments, code=code, **options)

    def run(self, *arguments: str, code: int = 0, **options: object) -> subprocess.CompletedProcess[str]:
        """Run `carnet ...`; likewise."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [*CARNET, *arguments],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "NO_COLOR": "1", "CARNET_HOME": str(self.folder / "home")},
            **options,  # type: ignore[call-overload]
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, done.stderr + done.stdout
        return done

    def init(self, *more: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        arguments = ["--ceremony", "ceremony", "--online-key", "online", *self.secret, *more]
        return self.carnet("init", "mirror", *arguments, code=code)

    @contextmanager
    def serving(self, *more: str) -> Iterator[str]:
        """Serve it; yields the URL."""
        command = [*CARNET, "mirror", "serve", "mirror", "--port", "0", "--message-format", "json", *more]
        command += ["--access-log", "access.log"]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with running(command, cwd=self.folder, **pipes) as process:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield json.loads(line)["url"]


@pytest.fixture(scope="module")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A machine before and after `carnet mirror init`; copied for each test."""
    folder = tmp_path_factory.mktemp("site")
    ceremony = make_ceremony(bit_length=2, now=datetime.now(UTC).replace(microsecond=0))
    (folder / "ceremony").mkdir()
    for role, data in ceremony.files.items():
        (folder / "ceremony" / paths.metadata_name(role, 1)).write_bytes(data)
    ceremony.online.store(folder).rename(folder / "online")
    next(folder.glob("*.pub")).rename(folder / "online.pub")
    (folder / "passphrase").write_bytes(PASSPHRASE + b"\n")
    (folder / "passphrase").chmod(0o600)
    site = Site(folder, ceremony)
    said = site.init().stdout
    assert said.startswith("the mirror in mirror is ready: snapshot 1, timestamp 1, fresh until ")
    return site


@pytest.fixture
def site(initialised: Site, tmp_path: Path) -> Site:
    """A machine with a mirror that is published and empty."""
    shutil.copytree(initialised.folder, tmp_path / "site")
    copied = Site(tmp_path / "site", initialised.ceremony)
    with sqlite3.connect(copied.mirror / "mirror.db") as connection:
        for name, path in (("online-key", copied.key), ("online-memory", copied.folder / "online.memory")):
            connection.execute("UPDATE settings SET value = ? WHERE key = ?", (str(path), name))
    connection.close()
    return copied


@pytest.fixture
def registry() -> Iterator[SparseRegistry]:
    with sparse_registry() as running:
        running.add(honest_crate("one"))
        running.add(honest_crate("two"))
        yield running


def sync(site: Site, registry: SparseRegistry, *crates: str, code: int = 0, more: tuple[str, ...] = ()) -> str:
    (site.folder / "Cargo.lock").write_bytes(registry.lock(*crates))
    arguments = ["sync", "mirror", "--upstream", registry.index_url, *(more or site.secret)]
    done = site.carnet(*arguments, code=code)
    return done.stdout + done.stderr


def test_sync_twice_then_fsck_then_status(site: Site, registry: SparseRegistry) -> None:
    said = sync(site, registry, "one-0.1.0", "two-0.1.0")
    assert (
        said == "2 added, 0 updated, 0 unchanged; the mirror has 2 versions of 2 crates\n"
        "published snapshot 2, timestamp 2\n"
    )
    again = sync(site, registry, "one-0.1.0", "two-0.1.0")
    assert "0 added, 0 updated, 2 unchanged" in again
    assert "nothing had changed: nothing was published" in again
    assert "no problem" in site.carnet("fsck", "mirror").stdout
    assert site.carnet("status", "mirror").stdout.startswith("2 crates, 2 versions\nroot       offline  version 1 ")
    status = json.loads(site.carnet("status", "mirror", "--message-format", "json").stdout)
    assert {role["role"]: role["version"] for role in status["roles"]}["snapshot"] == 2
    assert [role for role in status["roles"] if role["warning"]] == []


def test_a_refused_crate_gives_status_1_and_its_reason(site: Site, registry: SparseRegistry) -> None:
    lock_first = registry.lock("one-0.1.0", "two-0.1.0")
    registry.add(honest_crate("two", source="pub fn evil() {}\n"))
    (site.folder / "Cargo.lock").write_bytes(lock_first)
    arguments = ["sync", "mirror", "--upstream", registry.index_url, *site.secret]
    done = site.carnet(*arguments, "--message-format", "json", code=1)
    assert done.stderr.startswith("error: two@0.1.0: the upstream's tarball has sha256 ")
    result = json.loads(done.stdout)
    assert (result["added"], [one["crate"] for one in result["refused"]]) == (["one@0.1.0"], ["two@0.1.0"])
    site.carnet("fsck", "mirror")


def test_an_operator_lets_in_what_differs_and_clients_are_told(site: Site, registry: SparseRegistry) -> None:
    crate = honest_crate("three", extra='[dependencies]\none = "*"\n')
    registry.add(crate)
    dependency = registry.lines["three"][-1]["deps"][0] | {"req": "^0.1"}
    registry.add(crate, deps=[dependency])
    sha256 = hashlib.sha256(crate).hexdigest()
    said = sync(site, registry, "one-0.1.0", "three-0.1.0", code=1)
    assert "are not the manifest's" in said
    assert f"its sha256 is {sha256}" in said
    day = datetime.now(UTC).date() + timedelta(days=30)
    let_in = f'[[let-in]]\ncrate = "three@0.1.0"\nsha256 = "{sha256}"\nreason = "seen by us"\nexpires = {day}\n'
    (site.folder / "let-in.toml").write_text(let_in.replace("sha256 =", "sha ="))
    arguments = ["sync", "mirror", "--upstream", registry.index_url, *site.secret, "--let-in", "let-in.toml"]
    assert "let-in.toml: [[let-in]] has not exactly" in site.carnet(*arguments, code=2).stderr
    (site.folder / "let-in.toml").write_text(let_in)
    done = site.carnet(*arguments)
    assert "1 added" in done.stdout
    assert "seen by us" in done.stdout + done.stderr
    assert "no problem" in site.carnet("fsck", "mirror", "--second-opinion").stdout
    with site.serving(*site.secret) as url:
        (site.folder / "1.root.json").write_bytes(site.ceremony.root)
        site.run("trust", "add", url, "--root", "1.root.json")
        verified = site.run("verify", "Cargo.lock")
        assert "index-differs" in verified.stdout + verified.stderr
        explained = site.run("explain", "three@0.1.0")
        assert "seen by us" in explained.stdout + explained.stderr
        denying = site.folder / "carnet.toml"
        denying.write_text('[rules]\nindex-differs = "deny"\n')
        assert "seen by us" in site.run("verify", "Cargo.lock", "--config", str(denying), code=1).stderr


def test_fsck_finds_a_flipped_byte(site: Site, registry: SparseRegistry) -> None:
    sync(site, registry, "one-0.1.0")
    blob = next(path for path in (site.mirror / "blobs").rglob("*") if path.is_file())
    data = bytearray(blob.read_bytes())
    data[30] ^= 1
    blob.write_bytes(data)
    done = site.carnet("fsck", "mirror", code=1)
    assert f"{blob.relative_to(site.mirror)}: its bytes are not the ones that were published\n" in done.stdout
    assert done.stdout.endswith(": 1 problem\n")
    result = json.loads(site.carnet("fsck", "mirror", "--message-format", "json", code=1).stdout)
    assert len(result["problems"]) == 1


def test_refresh_signs_again(site: Site) -> None:
    said = site.carnet("refresh", "mirror", *site.secret).stdout
    assert said.startswith("signed again: snapshot 1, timestamp 2, fresh until ")


def test_a_sync_beside_a_serving_mirror_uses_its_signer(site: Site, registry: SparseRegistry) -> None:
    with site.serving(*site.secret) as url:
        assert "2 added" in sync(site, registry, "one-0.1.0", "two-0.1.0", more=("--message-format", "human"))
        with urlopen(f"{url}/index/3/o/one") as answer:
            assert json.loads(answer.read())["name"] == "one"
        with urlopen(f"{url}/metadata/timestamp.json") as answer:
            assert json.loads(answer.read())["signed"]["version"] == 2
    assert "GET /index/3/o/one 200" in (site.folder / "access.log").read_text()
    assert not (site.mirror / "online.sock").exists()


def test_the_signer_ends_with_a_mirror_that_is_killed(site: Site) -> None:
    command = [*CARNET, "mirror", "serve", "mirror", "--port", "0", "--message-format", "json", *site.secret]
    with running(command, cwd=site.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline()
        with socket.socket(socket.AF_UNIX) as asking, address_of(site.mirror / "online.sock") as address:
            asking.connect(address)
            assert asking.recv(1) == b"{"
            process.kill()
            asking.settimeout(10)
            while asking.recv(1000):
                pass
    site.carnet("refresh", "mirror", *site.secret)  # the memory is free again, and the socket is known to be a relic


def move_the_clock(site: Site) -> None:
    """Let Python find the clock later by as many hours as the variable HOURS says."""
    (site.folder / "sitecustomize.py").write_text(
        "import datetime as d, os\n"
        "class later(d.datetime):\n"
        "    @classmethod\n"
        "    def now(cls, tz=None):\n"
        "        return super().now(tz) + d.timedelta(hours=float(os.environ['HOURS']))\n"
        "d.datetime = later\n"
    )


def test_a_serving_mirror_signs_again_before_it_expires(site: Site) -> None:
    """The clock of the machine is moved, as far as Python sees it."""
    move_the_clock(site)
    environment = {**os.environ, "PYTHONPATH": str(site.folder), "HOURS": "13", "NO_COLOR": "1"}
    command = [*CARNET, "mirror", "serve", "mirror", "--port", "0", "--message-format", "json", *site.secret]
    command += ["--access-log", "access.log"]
    with running(command, cwd=site.folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        url = json.loads(process.stdout.readline())["url"]
        for _ in range(100):
            with urlopen(f"{url}/metadata/timestamp.json") as answer:
                signed = json.loads(answer.read())["signed"]
            if signed["version"] == 2:
                break
            time.sleep(0.1)
    assert signed["version"] == 2
    expires = datetime.fromisoformat(signed["expires"])
    assert expires > datetime.now(UTC) + timedelta(hours=36)


def test_a_wrong_passphrase_is_one_line_and_changes_nothing(site: Site) -> None:
    (site.folder / "passphrase").write_text("not the passphrase\n")
    before = (site.mirror / "mirror.db").read_bytes()
    done = site.carnet("refresh", "mirror", *site.secret, code=3)
    assert done.stderr.startswith("error: ")
    assert "does not open with this passphrase" in done.stderr
    assert (site.mirror / "mirror.db").read_bytes() == before


def test_nobody_to_ask_for_the_passphrase(site: Site) -> None:
    done = site.carnet("refresh", "mirror", code=3)
    assert done.stderr.startswith("error: ")


def test_a_passphrase_from_a_descriptor(site: Site) -> None:
    reading, writing = os.pipe()
    os.write(writing, PASSPHRASE + b"\n")
    os.close(writing)
    done = site.carnet("refresh", "mirror", "--passphrase-fd", str(reading), pass_fds=[reading])
    os.close(reading)
    assert "timestamp 2" in done.stdout


def test_init_wants_a_finished_ceremony(initialised: Site, tmp_path: Path) -> None:
    site = Site(tmp_path / "site", initialised.ceremony)
    shutil.copytree(initialised.folder, site.folder, ignore=shutil.ignore_patterns("mirror", "online.memory"))
    root = site.folder / "ceremony" / "1.root.json"
    whole = json.loads(root.read_bytes())
    root.write_text(json.dumps(whole | {"signatures": whole["signatures"][:1]}))
    done = site.init(code=3)
    assert "still need signatures" in done.stderr
    assert not site.mirror.exists()


def test_init_with_a_key_that_the_root_does_not_name(initialised: Site, tmp_path: Path) -> None:
    site = Site(tmp_path / "site", initialised.ceremony)
    shutil.copytree(initialised.folder, site.folder, ignore=shutil.ignore_patterns("mirror", "online.memory"))
    for file in (site.key, site.key.with_name("online.pub")):
        file.unlink()
    initialised.ceremony.holders[0].store(site.folder).rename(site.key)
    for file in site.folder.glob("*.pub"):
        file.unlink()
    done = site.init(code=3)
    assert "is not one that the delegator of" in done.stderr
    assert not site.mirror.exists()


def test_init_leaves_what_is_there(site: Site) -> None:
    before = sorted(site.mirror.rglob("*"))
    assert "holds a mirror already" in site.init(code=2).stderr
    assert sorted(site.mirror.rglob("*")) == before


@pytest.mark.parametrize("command", ["status", "fsck", "refresh", "sync", "serve"])
def test_no_mirror_there(command: str, site: Site) -> None:
    (site.folder / "Cargo.lock").write_text("version = 4\n")
    more = ["--port", "0"] if command == "serve" else []
    done = site.carnet(command, "elsewhere", *more, code=2)
    assert done.stderr.startswith("error: elsewhere holds no mirror\nhint: ")


def test_sync_without_a_lock(site: Site) -> None:
    done = site.carnet("sync", "mirror", "--lockfile", "nowhere", *site.secret, code=2)
    assert done.stderr.startswith("error: there is no nowhere\nhint: ")
    (site.folder / "bad.lock").write_bytes(b"\xff\x00")
    done = site.carnet("sync", "mirror", "--lockfile", "bad.lock", *site.secret, code=2)
    assert done.stderr.startswith("error: ")


def test_sync_of_nothing_says_what_can_be_named(site: Site) -> None:
    (site.folder / "Cargo.lock").unlink(missing_ok=True)
    done = site.carnet("sync", "mirror", *site.secret, code=2)
    error, hint = done.stderr.splitlines()
    assert error == "error: nothing says what to copy: no crate is named, and there is no Cargo.lock here"
    assert "`carnet mirror sync mirror --lockfile FILE`" in hint
    assert "`carnet mirror sync mirror NAME@REQUIREMENT`" in hint


def test_sync_without_cargo(site: Site, registry: SparseRegistry) -> None:
    (site.folder / "Cargo.lock").write_bytes(registry.lock("one-0.1.0"))
    done = site.carnet("sync", "mirror", "--cargo", "no-such-cargo", *site.secret, code=2)
    assert done.stderr.startswith("error: there is no no-such-cargo here\nhint: install Rust")


def test_two_syncs_at_once(site: Site, registry: SparseRegistry) -> None:
    """Both wait for one another and end well; the mirror is whole."""
    with site.serving(*site.secret), ExitStack() as both:
        processes = []
        for crate in ("one", "two"):
            lock = site.folder / f"{crate}.lock"
            lock.write_bytes(registry.lock(f"{crate}-0.1.0"))
            command = [*CARNET, "mirror", "sync", "mirror", "--lockfile", str(lock), "--upstream", registry.index_url]
            syncing = running(command, cwd=site.folder, stderr=subprocess.PIPE, text=True)
            processes.append(both.enter_context(syncing))
        for process in processes:
            said = process.stderr.read()
            process.stderr.close()
            assert (process.wait(timeout=60), said) == (0, "")
    assert "2 versions: no problem" in site.carnet("fsck", "mirror").stdout


def test_listening_everywhere_wants_a_url(site: Site) -> None:
    done = site.carnet("serve", "mirror", "--port", "0", "--host", "0.0.0.0", "--read-only", code=2)
    assert done.stderr.startswith("error: listening on 0.0.0.0, clients need to know a URL\nhint: ")


def test_another_online_key_takes_over(site: Site, registry: SparseRegistry) -> None:
    """The holders name another one; both sign once, and from then on it alone."""
    sync(site, registry, "one-0.1.0")
    make_key("successor").store(site.folder)
    site.run("root", "rotate", "ceremony", "--online", "successor.pub")
    unserved = "--insecure-base-from-folder"  # nobody serves this mirror: there is nothing to compare with
    for holder in site.ceremony.holders[:2]:
        path = holder.store(site.folder)
        site.run("root", "sign", "ceremony", "--key", str(path), "--yes", unserved, *site.secret)
    with_old = site.carnet("refresh", "mirror", "--ceremony", "ceremony", *site.secret, code=3)
    assert "the online key is not one that the delegator of" in with_old.stderr
    site.carnet("fsck", "mirror")
    site.carnet("refresh", "mirror", "--ceremony", "ceremony", "--next-online-key", "successor", *site.secret)
    site.carnet("fsck", "mirror")
    assert "2 added" not in sync(site, registry, "one-0.1.0", "two-0.1.0")
    site.carnet("fsck", "mirror")
    status = json.loads(site.carnet("status", "mirror", "--message-format", "json").stdout)
    assert next(role["version"] for role in status["roles"] if role["role"] == "root") == 2


# --- the second opinion ---

_OFF = "the second opinion is off"


def test_the_second_opinion_is_on_and_an_ugly_flag_switches_it_off(site: Site) -> None:
    shown = site.carnet("status", "mirror")
    assert "second opinion: on" in shown.stdout
    assert _OFF not in shown.stderr
    assert _OFF in site.carnet("refresh", "mirror", "--insecure-no-second-opinion", *site.secret).stderr
    assert _OFF in site.carnet("refresh", "mirror", *site.secret).stderr, "it is remembered"
    shown = site.carnet("status", "mirror")
    assert "second opinion: OFF" in shown.stdout
    assert _OFF in shown.stderr
    assert json.loads(site.carnet("status", "mirror", "--message-format", "json").stdout)["second-opinion"] is False
    with site.serving(*site.secret):
        pass
    assert _OFF not in site.carnet("refresh", "mirror", "--second-opinion", *site.secret).stderr
    assert json.loads(site.carnet("status", "mirror", "--message-format", "json").stdout)["second-opinion"] is True


def test_a_mirror_made_without_it_says_so(site: Site) -> None:
    shutil.rmtree(site.mirror)
    (site.folder / "online.memory").rename(site.folder / "before.memory")
    assert _OFF in site.init("--insecure-no-second-opinion").stderr
    assert "second opinion: OFF" in site.carnet("status", "mirror").stdout


def test_fsck_with_a_second_opinion(site: Site, registry: SparseRegistry) -> None:
    sync(site, registry, "one-0.1.0")
    assert "1 versions: no problem" in site.carnet("fsck", "mirror", "--second-opinion").stdout


# --- an upstream that says less ---


def test_what_the_upstream_does_not_say_is_told_and_is_status_3(site: Site, registry: SparseRegistry) -> None:
    registry.add(honest_crate("one"), yanked=True)
    sync(site, registry, "one-0.1.0")
    page = b"<!DOCTYPE html>Please log in"
    registry.scripts |= {registry.index_path(name): [says("200 OK", page)] for name in ("one", "two")}
    (site.folder / "Cargo.lock").write_bytes(registry.lock("one-0.1.0", "two-0.1.0"))
    arguments = ["sync", "mirror", "--upstream", registry.index_url, *site.secret]
    done = site.carnet(*arguments, code=3)
    no_index = f"what the upstream sent is no index of the crate: it begins with {page!r}"
    assert done.stderr == (
        f"warning: one@0.1.0: kept as it was: {no_index}\n"
        f"warning: two@0.1.0: waits for another sync: {no_index}\n"
        "error: the upstream did not say enough about 2 of the lock's packages: nothing was decided about them\n"
        "hint: what this mirror has stays as it is; sync again later, or look at the upstream\n"
    )
    assert "0 added, 0 updated, 1 unchanged, 1 waiting, 1 kept although the upstream says less; " in done.stdout
    result = json.loads(site.carnet(*arguments, "--message-format", "json", code=3).stdout)
    assert result["kept"] == [{"crate": "one@0.1.0", "reason": no_index, "heard": False}]
    assert result["waiting"] == [{"crate": "two@0.1.0", "reason": no_index}]
    with site.serving(*site.secret) as url, urlopen(f"{url}/index/3/o/one") as answer:
        assert json.loads(answer.read())["yanked"] is True


def test_an_upstream_that_is_busy_for_a_moment(site: Site, registry: SparseRegistry) -> None:
    for path in ("/index/config.json", registry.index_path("one"), "/dl/one-0.1.0"):
        body = registry.answer(path)[1]
        registry.scripts[path] = [says("429 Slow down", b"", "retry-after: 1"), says("200 OK", body)]
    assert "1 added" in sync(site, registry, "one-0.1.0")


def test_an_upstream_without_a_configuration_is_undecided(site: Site, registry: SparseRegistry) -> None:
    registry.scripts["/index/config.json"] = [says("200 OK", b"<!DOCTYPE html>")]
    said = sync(site, registry, "one-0.1.0", code=3)
    assert "config.json" in said
    assert "hint: is it an index's address? a proxy or a login page may have answered in its place" in said


def test_refresh_says_what_people_have_to_sign(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's clock is moved to where targets, claims and index have 20 days, and then none."""
    move_the_clock(site)
    monkeypatch.setenv("PYTHONPATH", str(site.folder))
    for days, code, told in ((70, 0, "expires in "), (100, 1, "expired")):
        monkeypatch.setenv("HOURS", str(days * 24))
        done = site.carnet("refresh", "mirror", "--clock-is-right", *site.secret, code=code)
        assert done.stdout.startswith("signed again: ")
        assert f"warning: targets {told}" in done.stderr
        assert "hint: its holders sign the next version: `carnet root --help`" in done.stderr


@pytest.mark.parametrize("command", ["status", "refresh"])
def test_a_database_that_is_gone_is_told(command: str, site: Site) -> None:
    before = sorted(site.mirror.rglob("*"))
    (site.mirror / "mirror.db").rename(site.folder / "kept.db")
    done = site.carnet(command, "mirror", code=3)
    assert done.stderr.startswith(
        "error: mirror holds the files of a mirror, and its database mirror.db is gone\nhint: put"
    )
    (site.folder / "kept.db").rename(site.mirror / "mirror.db")
    assert sorted(site.mirror.rglob("*")) == before
    site.carnet("fsck", "mirror")
