"""Which check is taken out in this process, and which tests saw which checks fire.

Processes that tests start come here as well, through `startup/sitecustomize.py` and the environment:

    CARNET_MUTANT           the site that is taken out
    CARNET_MUTANTS_FIRED    a folder: every check that fires is written down there, beside the test that made it fire
    CARNET_MUTANTS_CODE     a folder for compiled modules; that it is set turns all of this on
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.util
import marshal
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import CodeType, ModuleType

PLACES = {
    "carnet": "core",
    "carnet_verifier": "verifier",
    "carnet_gate": "gate",
    "carnet_signer.metadata": "signer",
}
"""Packages whose checks are taken out -> the folder that they stand in."""
CODE, FIRED, MUTANT = "CARNET_MUTANTS_CODE", "CARNET_MUTANTS_FIRED", "CARNET_MUTANT"

active = os.environ.get(MUTANT, "")
"""The site that is taken out; empty for none."""
_seen: set[tuple[str, str]] = set()
_open, _write, _close = os.open, os.write, os.close  # tests put others in their place


def on(site: str) -> bool:
    """Whether the check at a site, which is about to fire, is to fire; who made it fire is written down."""
    folder = os.environ.get(FIRED)
    if folder:
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
        if (test, site) not in _seen:
            _seen.add((test, site))
            how = "here" if "pytest" in sys.modules else "process"
            line = f"{test}\t{how}\t{site}\n".encode()
            file = _open(f"{folder}/{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            _write(file, line)
            _close(file)
    return site != active


def is_ours(module: str) -> bool:
    """Whether the checks of this module are taken out."""
    return any(module == package or module.startswith(package + ".") for package in PLACES)


def take_out(site: str) -> None:
    """Take a check out, in this process and in those that it starts."""
    global active  # noqa: PLW0603 -- it is a switch
    active = os.environ[MUTANT] = site


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        source = Path(self.path).read_bytes()
        place = Path(os.environ[CODE])
        kept = place / hashlib.sha256(_version() + source).hexdigest()
        try:
            return marshal.loads(kept.read_bytes())  # type: ignore[no-any-return]
        except FileNotFoundError:
            pass
        from tests.mutants import sites

        code = compile(sites.switchable(fullname, ast.parse(source)), self.path, "exec", dont_inherit=True)
        draft = kept.with_suffix(f".{os.getpid()}")
        draft.write_bytes(marshal.dumps(code))
        draft.replace(kept)
        return code


def _version() -> bytes:
    """What compiled modules depend on beside their source."""
    return Path(__file__).with_name("sites.py").read_bytes() + sys.version.encode()


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(("carnet.", "carnet_")):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            return None
        if is_ours(fullname):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


def install() -> None:
    """Let the modules of `PLACES` be imported with switchable checks."""
    sys.meta_path.insert(0, _Finder())
