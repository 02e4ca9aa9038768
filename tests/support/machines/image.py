"""A container as CI makes it of an image: a read-only root without git, and the job's own folders."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
_TOOLS = ("sh", "cc", "ld", "as", "ar", "env", "uname", "cat", "ls", "mkdir", "sleep")
"""What is in its /usr/bin: a shell, what links programs, and nothing that fetches or compares."""
_GIT = ("/usr/lib/git-core", "/usr/libexec/git-core", "/usr/local/libexec/git-core")


@cache
def toolchain() -> Path:
    """The folder of the toolchain that cargo is from; skips where there is none."""
    if shutil.which("rustc") is None:
        pytest.skip("there is no rustc")
    printed = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True)
    return Path(printed.stdout.strip())


class Image:
    """An image, with this checkout's carnet and this machine's toolchain in it.

    Args:
        folder: Where the image's own files are made.
    """

    def __init__(self, folder: Path) -> None:
        bwrap = shutil.which("bwrap")
        if bwrap is None:
            pytest.skip("bwrap is not installed: no container can be made")
        tools = folder / "tools"
        tools.mkdir()
        for name in _TOOLS:
            found = shutil.which(name)
            if found is None:
                pytest.skip(f"{name} is not installed: it belongs into the image")
            shutil.copy(Path(found).resolve(), tools / name)
        # A machine's own Python and Rust lie beside its git.
        python = Path(sys.executable).resolve()
        for program in (python, *(toolchain() / "bin" / name for name in ("cargo", "rustc", "rustdoc"))):
            if program.parent == Path("/usr/bin"):
                shutil.copy(program.resolve(), tools / program.name)
        if python.parent == Path("/usr/bin"):
            (tools / "python3").symlink_to(python.name)
        kept = [path for path in ("/lib", "/lib32", "/lib64", "/bin", "/sbin") if Path(path).is_symlink()]
        mine = {sys.prefix, sys.base_prefix, str(PROJECT), str(toolchain())} - {"/usr"}
        self._prefix = [
            *(bwrap, "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--as-pid-1", "--tmpfs", "/"),
            *("--ro-bind", "/usr", "/usr", "--ro-bind", str(tools), "/usr/bin"),
            *(word for path in _GIT if Path(path).is_dir() for word in ("--tmpfs", path)),
            *(word for path in kept for word in ("--symlink", str(Path(path).readlink()), path)),
            *(
                word
                for path in ("/lib", "/lib64")
                if not Path(path).is_symlink()
                for word in ("--ro-bind-try", path, path)
            ),
            *("--ro-bind", "/etc", "/etc", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
            *(word for path in sorted(mine, key=len) for word in ("--ro-bind", path, path)),
        ]
        tried = subprocess.run(
            [*self._prefix, "--", "/usr/bin/sh", "-c", ":"], capture_output=True, text=True, check=False
        )
        if tried.returncode != 0:
            pytest.skip(f"bwrap makes no container here: {tried.stderr.strip()[:100]}")

    def command(
        self, script: str, cwd: Path, *, writable: tuple[Path, ...], readable: tuple[Path, ...] = ()
    ) -> list[str]:
        """The command line that runs a script in a container.

        Args:
            script: For `sh -eu`.
            cwd: Where it runs; can be written.
            writable: More folders of the job's.
            readable: Folders that are there, and can only be read.
        """
        binds = [word for path in (cwd, *writable) for word in ("--bind", str(path), str(path))]
        binds += [word for path in readable for word in ("--ro-bind", str(path), str(path))]
        end = ("--remount-ro", "/", "--chdir", str(cwd), "--", "/usr/bin/sh", "-eu", "-c", script)
        return [*self._prefix, *binds, *end]

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """All variables: PATH leads to carnet, the toolchain and the image's few tools."""
        path = f"{Path(sys.executable).parent}:{toolchain()}/bin:/usr/bin"
        return {"PATH": path, "NO_COLOR": "1", "CARGO_TERM_COLOR": "never", **more}
