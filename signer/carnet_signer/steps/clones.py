"""Clones that do not hold everything: what such a one lacks, and the git command that brings it."""

from __future__ import annotations

import shlex
from pathlib import Path


def git_in(git_dir: Path) -> str:
    """The beginning of a git command for a repository, as somebody types it."""
    folder = git_dir.parent if git_dir.name == ".git" else git_dir
    return f"git -C {shlex.quote(str(folder))}"


def without_an_object(git_dir: Path) -> tuple[str, str]:
    """Why an object is not there or cannot be read, and what to type.

    Args:
        git_dir: A git directory.

    Returns:
        What the repository is, to follow the reason, and a hint.
    """
    git = git_in(git_dir)
    if any((git_dir / "objects/pack").glob("*.promisor")):
        return (
            f"{git_dir} is a partial clone (`--filter`), without it",
            f"`{git} fetch --refetch --no-filter` brings all of it",
        )
    if (git_dir / "shallow").exists():
        return f"{git_dir} is a shallow clone (`--depth`)", f"`{git} fetch --unshallow` brings the rest"
    return (
        f"{git_dir} is not whole",
        f"`{git} fsck` says what is wrong with it; a new clone of where it came from is whole",
    )


def without_a_revision(git_dir: Path) -> str:
    """What to type when a repository has no such tag or commit."""
    git = git_in(git_dir)
    if (git_dir / "shallow").exists():
        return (
            f"it is a shallow clone: `{git} fetch --unshallow --tags` brings the rest; or name another with --revision"
        )
    return f"`{git} fetch --tags` brings tags that were made elsewhere; name one, or a commit, with --revision"
