"""cargo and carnet in homes of their own, so that a test sees nothing of this machine's and leaves nothing on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CARGO = shutil.which("cargo")
_MAIN = "from carnet_cli.start import {0}; {0}()"
_REAL_HOME = Path(os.environ.get("HOME", "/"))


@dataclass
class Machine:
    """A user's machine: a home with cargo and carnet, and projects.

    Attributes:
        path: Everything is below it.
        environment: More variables, over those that every command gets.
    """

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.path / "home"

    @property
    def cargo_home(self) -> Path:
        """The user's own."""
        return self.home / ".cargo"

    @property
    def carnet_home(self) -> Path:
        return self.path / "carnet"

    def configure(self, text: str) -> Path:
        """Write the user's own `carnet.toml`."""
        file = self.home / ".config/carnet/carnet.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.parent.chmod(0o700)
        file.write_text(text)
        file.chmod(0o600)
        return file

    @property
    def registry(self) -> Path:
        """The local registry of the one repository that is trusted."""
        return next((self.carnet_home / "cargo").iterdir()) / "registry"

    def sources(self, stem: str) -> list[Path]:
        """Where cargo unpacked a crate behind the gate."""
        return sorted(self.carnet_home.glob(f"cargo/*/home*/registry/src/*/{stem}"))

    def env(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
        for folder in (self.home, self.cargo_home):
            folder.mkdir(parents=True, exist_ok=True)
        return {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{kept.get('PATH', '')}",
            "HOME": str(self.home),
            "CARGO_HOME": str(self.cargo_home),
            "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(_REAL_HOME / ".rustup")),
            "RUSTUP_TOOLCHAIN": os.environ.get("RUSTUP_TOOLCHAIN", ""),
            "CARNET_HOME": str(self.carnet_home),
            "NO_COLOR": "1",
            "CARGO_TERM_COLOR": "never",
            **self.environment,
            **(more or {}),
        }

    def run(
        self, *command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in self.env(env).items() if value or name != "RUSTUP_TOOLCHAIN"}
        return subprocess.run(
            command, cwd=cwd or self.path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    def carnet(
        self, *args: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`carnet ARGS...`"""
        return self.run(sys.executable, "-c", _MAIN.format("main"), *args, cwd=cwd, env=env)

    def cargo_carnet(
        self, *args: str, cwd: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`cargo-carnet ARGS...`"""
        return self.run(sys.executable, "-c", _MAIN.format("cargo_main"), *args, cwd=cwd, env=env)

    def trust(self, root: bytes, url: str) -> None:
        """Trust a repository."""
        file = self.path / "root.json"
        file.write_bytes(root)
        done = self.carnet("trust", "add", url, "--root", str(file))
        assert done.returncode == 0, done.stderr

    def project(
        self,
        name: str = "app",
        dependencies: Mapping[str, str] | None = None,
        *,
        main: str = "fn main() {}\n",
        extra: str = "",
        folder: str | None = None,
    ) -> Path:
        """A program that depends on crates: name to the right side of the `=`."""
        path = self.path / (folder or name)
        (path / "src").mkdir(parents=True)
        lines = "".join(f"{crate} = {wanted}\n" for crate, wanted in (dependencies or {}).items())
        (path / "Cargo.toml").write_text(
            f'[package]\nname = "{name}"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n{lines}{extra}'
        )
        (path / "src/main.rs").write_text(main)
        return path
