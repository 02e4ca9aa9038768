"""What is in the work tree and not in the commit is told before anybody signs; nothing of it is taken, nothing runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.worlds.release import git, make_repository

from carnet_signer.steps.gitsource import read_commit
from carnet_signer.steps.worktree import left_out

FILES = {"a/Cargo.toml": b"", "a/src/lib.rs": b"one\ntwo\n", "b/Cargo.toml": b"", ".gitignore": b"target\n"}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repository", FILES, links={"a/link": "src/lib.rs"})


def told(repository: Path, folder: str = "a", revision: str = "v1") -> tuple[str, ...]:
    return left_out(repository, folder, read_commit(repository, revision))


def test_a_clean_work_tree_is_not_spoken_of(repository: Path, tmp_path: Path) -> None:
    (repository / "a/target").mkdir()
    (repository / "a/target/built").touch()
    (repository / "a/src/lib.rs").write_bytes(b"one\r\ntwo\r\n")  # as a checkout on another system has it
    (repository / "b/new.rs").touch()  # another package
    assert told(repository) == ()
    git(tmp_path, "clone", "--quiet", "--bare", str(repository), "bare")
    assert told(tmp_path / "bare") == ()


def test_what_is_changed_new_staged_or_gone_is_counted(repository: Path) -> None:
    (repository / "a/src/lib.rs").write_text("evil\n")
    assert told(repository) == (
        "1 uncommitted file is not part of what is tagged: a/src/lib.rs; if it is to be, commit (`git commit`) and "
        "tag that",
    )
    (repository / "a/src/new.rs").touch()
    (repository / "a/staged.rs").touch()
    git(repository, "add", "a/staged.rs")
    (repository / "a/Cargo.toml").unlink()
    (line,) = told(repository / "a")
    assert line.startswith(
        "4 uncommitted files are not part of what is tagged: a/Cargo.toml, a/src/lib.rs, a/src/new.rs and 1 more; "
    )
    assert told(repository, folder="")[0].startswith("4 uncommitted files")
    assert told(repository, folder="b") == ()


def test_a_work_tree_at_another_commit_is_told_as_that(repository: Path) -> None:
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "later")
    (line,) = told(repository)
    assert line.startswith(
        f"the work tree is at commit {git(repository, 'rev-parse', 'HEAD')[:12]}, and what is tagged"
    )


def test_no_filter_of_the_repository_runs(repository: Path, tmp_path: Path) -> None:
    git(repository, "config", "filter.evil.clean", f"touch {tmp_path}/ran; cat")
    git(repository, "config", "core.fsmonitor", f"touch {tmp_path}/ran")
    (repository / ".git/info/attributes").write_text("* filter=evil\n")
    (repository / "a/src/lib.rs").write_text("changed\n")
    assert len(told(repository)) == 1
    assert not (tmp_path / "ran").exists()
