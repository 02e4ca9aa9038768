"""SoftHSM: tokens in a folder, which stand for smart cards and hardware security modules."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PIN = "8249-alice"
_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
MODULE = next((path for path in _MODULES if Path(path).exists()), "")


def _missing() -> str:
    if not MODULE or shutil.which("softhsm2-util") is None:
        return "SoftHSM is not installed (Debian's package softhsm2)"
    if importlib.util.find_spec("pkcs11") is None:
        return "python-pkcs11 is not installed (the extra `hsm`)"
    return ""


needs_softhsm = pytest.mark.skipif(bool(_missing()), reason=_missing())


@dataclass(frozen=True)
class SoftHsm:
    """Where SoftHSM keeps its tokens.

    Attributes:
        folder: Its own folder.
        environment: What a process needs to find it.
    """

    folder: Path
    environment: dict[str, str]

    def add_token(self, label: str, pin: str = PIN) -> None:
        """Plug a new token in."""
        command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "87654321"]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **self.environment})
        restart()

    def remove_tokens(self) -> None:
        """Pull all tokens out."""
        for token in (self.folder / "tokens").iterdir():
            shutil.rmtree(token)


@contextmanager
def softhsm(folder: Path) -> Iterator[SoftHsm]:
    """SoftHSM with tokens of its own, for this process and its children."""
    folder.mkdir()
    (folder / "tokens").mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
    environment = {"SOFTHSM2_CONF": str(configuration), "PYKCS11LIB": MODULE}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        restart()
        yield SoftHsm(folder, environment)
    restart()


def restart() -> None:
    """Let the module look anew at where its tokens are."""
    import pkcs11

    loaded: Any = pkcs11._loaded.get(os.path.realpath(MODULE))
    if loaded is not None and loaded.initialized:
        loaded.finalize()
