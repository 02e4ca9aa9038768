"""What lies in the work tree and is no part of what is tagged: told to whoever signs, so that nobody believes it is.

Files are compared here and not by git, whose comparison runs the filters that a repository configures.
"""

from __future__ import annotations

from pathlib import Path

from carnet.errors import ConfigError, SigningError
from carnet_signer.steps.gitsource import SourceTree, run_git

_SHOWN = 3


def left_out(repository: Path, folder: str, tree: SourceTree) -> tuple[str, ...]:
    """Compare the package's folder in the work tree with the commit that is tagged.

    Args:
        repository: As it was named; a bare one has no work tree, and nothing to be said of it.
        folder: The package's folder in it; empty at its top.
        tree: The commit.

    Returns:
        One line when something differs: how many files, and the first of them.
    """
    try:
        top = Path(run_git("rev-parse", "--show-toplevel", cwd=repository).rstrip("\n"))
        head = run_git("rev-parse", "HEAD", cwd=top).strip()
        listing = run_git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=top).split("\0")
        sparse = Path(run_git("rev-parse", "--git-path", "info/sparse-checkout", cwd=top).rstrip("\n"))
    except (ConfigError, SigningError):
        return ()
    if head != tree.commit:
        return (f"the work tree is at commit {head[:12]}, and what is tagged is {tree.commit[:12]}",)
    above = f"{folder}/" if folder else ""
    known = {*tree.files, *tree.links, *tree.gitlinks}
    new = {path for path in listing if path.startswith(above) and path.rstrip("/") not in known}
    absent_is_same = (top / sparse).exists()
    other = {
        path
        for path, file in tree.files.items()
        if path.startswith(above) and not _same(top / path, file.data, absent_is_same=absent_is_same)
    }
    found = sorted({path for path in new if path and (top / path).exists()} | other)
    if not found:
        return ()
    names = ", ".join(ascii(path[:100])[1:-1] for path in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    files, they = ("file is", "it is") if len(found) == 1 else ("files are", "they are")
    return (
        f"{len(found)} uncommitted {files} not part of what is tagged: {names}{more}; if {they} to be, commit (`git "
        "commit`) and tag that",
    )


def _same(path: Path, data: bytes, *, absent_is_same: bool) -> bool:
    """Whether a file holds what the commit has, be it with the ends of lines that some checkouts write."""
    try:
        if path.is_symlink() or path.stat().st_size > 2 * len(data):
            return False
        found = path.read_bytes()
    except FileNotFoundError:
        return absent_is_same
    except OSError:
        return False
    return found == data or found.replace(b"\r\n", b"\n") == data.replace(b"\r\n", b"\n")
