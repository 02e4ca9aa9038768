"""`record` in clones as CI systems make them: what is not there is named, and the git command of the hint brings it."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from tests.support.machines.command import Ran, carnet, done

from carnet_signer.keys import file

pytestmark = pytest.mark.cargo
MANIFEST = '[package]\nname = "foo"\nversion = "0.1.0"\nedition = "2021"\nlicense = "MIT"\ndescription = "d"\n'


def git(*arguments: str, cwd: Path | None = None) -> None:
    settings = ("-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *settings, *arguments], cwd=cwd, check=True, capture_output=True, timeout=60)


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two commits and a tag, which git serves in parts."""
    monkeypatch.chdir(tmp_path)
    generate = file.generate_key
    monkeypatch.setattr(file, "generate_key", lambda *args: generate(*args, kdf_rounds=1))
    done("key", "generate", "alice", "--insecure-no-passphrase")
    up = tmp_path / "up"
    (up / "src").mkdir(parents=True)
    (up / "Cargo.toml").write_text(MANIFEST)
    git("init", "-q", str(up))
    git("config", "uploadpack.allowFilter", "true", cwd=up)
    for text in ("// one\n", "// two\n"):
        (up / "src/lib.rs").write_text(text)
        git("add", ".", cwd=up)
        git("commit", "-qm", text, cwd=up)
    git("tag", "v0.1.0", "HEAD~1", cwd=up)
    return up


def tag(source: str, *more: str) -> Ran:
    ran = carnet("record", "tag", "--key", "alice", "--source", source, "--offline", *more)
    assert "Traceback" not in ran.err
    return ran


def command_of(ran: Ran) -> list[str]:
    (hint,) = [line for line in ran.err.splitlines() if line.startswith("hint: ")]
    command = shlex.split(hint.split("`")[1])
    assert command[0] == "git"
    return command[1:]


@pytest.mark.parametrize("kind", ["blob:none", "tree:0"])
def test_a_partial_clone(upstream: Path, kind: str) -> None:
    git("clone", "-q", f"--filter={kind}", "--no-checkout", f"file://{upstream}", "a clone")
    ran = tag("a clone")
    assert ran.status == 3
    assert "is a partial clone (`--filter`)" in ran.err
    git(*command_of(ran))
    assert tag("a clone").status == 0


def test_a_shallow_clone_without_the_tag(upstream: Path) -> None:
    git("clone", "-q", "--depth", "1", f"file://{upstream}", "clone")
    assert tag("clone", "-o", "of-head").status == 0
    ran = tag("clone", "--revision", "v0.1.0")
    assert ran.status == 2
    assert "it is a shallow clone" in ran.err
    git(*command_of(ran))
    assert tag("clone", "--revision", "v0.1.0").status == 0


def test_a_clone_without_tags(upstream: Path) -> None:
    git("clone", "-q", "--no-tags", f"file://{upstream}", "clone")
    ran = tag("clone", "--revision", "v0.1.0")
    assert ran.status == 2
    git(*command_of(ran))
    assert tag("clone", "--revision", "v0.1.0").status == 0


def test_a_repository_that_lost_an_object(upstream: Path) -> None:
    oid = subprocess.run(
        ["git", "rev-parse", "HEAD:src/lib.rs"], cwd=upstream, capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()
    (upstream / ".git/objects" / oid[:2] / oid[2:]).unlink()
    ran = tag("up")
    assert ran.status == 3
    assert "is not whole" in ran.err
    assert command_of(ran)[-1] == "fsck"


def test_a_file_name_that_no_package_contains(upstream: Path) -> None:
    for name in (b"src/a\xffb.rs", b"src/a\\b.rs", b"src/a\nb.rs"):
        path = bytes(upstream) + b"/" + name
        with open(path, "wb"):  # noqa: PTH123  -- pathlib takes no bytes
            pass
        git("add", "-A", cwd=upstream)
        git("commit", "-qm", "odd", cwd=upstream)
        ran = tag("up")
        assert ran.status == 1
        assert "`git mv`" in ran.err
        assert "src/a" in ran.err
        git("rm", "-q", "--cached", name.decode("utf-8", "surrogateescape"), cwd=upstream)
        Path(upstream / name.decode("utf-8", "surrogateescape")).unlink()
        git("commit", "-qm", "even", cwd=upstream)
