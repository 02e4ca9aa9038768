"""What an editor asks of the standard library: its sources are the toolchain's, and their metadata comes from there.

rust-analyzer has cargo describe `lib/rustlib/src/rust/library` of the toolchain, with all that its lock names, so as to
know what `Vec` is. Those crates are no part of any build here: the toolchain brings the library built. So the answer is
the toolchain's own packages, and what depends on what among them. No crate of the lock is in it, nothing is fetched,
resolved or compiled, and only the manifest counts that lies in the toolchain whose cargo this shim stands before.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carnet.errors import ConfigError
from carnet_gate.commands.named_lock import without_name
from carnet_gate.commands.variables import compiling_nothing

if TYPE_CHECKING:
    from carnet_gate.args import Invocation

_BELOW_SYSROOT = "lib/rustlib/src/rust/library/Cargo.toml"
_ASKS = ("metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path")

Document = dict[str, Any]


def own_manifest(found: Invocation, cargo: str, here: Path, environment: Mapping[str, str]) -> Path | None:
    """The standard library's manifest, where that is what is to be described; None for all else.

    Args:
        found: The command.
        cargo: The user's own; a rustc lies beside it, or in PATH.
        here: Where the command runs, whose toolchain file was looked at.
        environment: Its variables.

    Returns:
        The manifest in the toolchain, without links.
    """
    if found.subcommand != "metadata" or found.manifest_path is None:
        return None
    named = Path(os.path.realpath(here / found.manifest_path))
    if not (named.parent / "std/Cargo.toml").is_file():  # most manifests: no compiler has to be asked
        return None
    rustc = shutil.which(Path(cargo).with_name("rustc")) or shutil.which("rustc", path=environment.get("PATH"))
    if rustc is None:
        return None
    toolchain = [f"+{found.toolchain}"] if found.toolchain is not None else []
    sysroot = _said([rustc, *toolchain, "--print", "sysroot"], here, environment).strip()
    return named if sysroot and named == Path(os.path.realpath(Path(sysroot) / _BELOW_SYSROOT)) else None


def describe(manifest: Path, cargo: str, toolchain: Sequence[str], environment: Mapping[str, str]) -> str:
    """Describe the standard library, as `cargo metadata` would, without the crates that its lock names.

    Args:
        manifest: From `own_manifest`.
        cargo: The user's own.
        toolchain: `+TOOLCHAIN`, or nothing.
        environment: The command's variables.

    Raises:
        ConfigError: This cargo cannot read it.
    """
    variables = compiling_nothing(without_name(environment))
    said = _said([cargo, *toolchain, *_ASKS, str(manifest)], manifest.parent, variables)
    try:
        document = json.loads(said)  # as in `carnet_gate.project`: not our strict reader
        packages = [one for one in document["packages"] if manifest.parent in Path(one["manifest_path"]).parents]
        nodes = _nodes(packages)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ConfigError(
            f"cargo does not describe {manifest}", hint=f"look at what `{cargo} {' '.join(_ASKS)} {manifest}` says"
        ) from None
    return json.dumps({**document, "packages": packages, "resolve": {"nodes": nodes, "root": None}})


def _nodes(packages: Sequence[Document]) -> list[Document]:
    """What depends on what, among packages that are folders of one workspace."""
    ids = {os.path.dirname(package["manifest_path"]): package["id"] for package in packages}  # noqa: PTH120
    nodes = []
    for package in packages:
        deps: dict[tuple[str, str], list[Document]] = {}
        for one in package["dependencies"]:
            if one.get("path") in ids and one["kind"] != "dev":
                name = str(one["rename"] or one["name"]).replace("-", "_")
                kinds = deps.setdefault((name, ids[one["path"]]), [])
                kinds.append({"kind": one["kind"], "target": one["target"]})
        nodes.append(
            {
                "id": package["id"],
                "dependencies": sorted({to for _, to in deps}),
                "deps": [{"name": name, "pkg": to, "dep_kinds": kinds} for (name, to), kinds in deps.items()],
                "features": [],
            }
        )
    return nodes


def _said(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
    """What a program prints; nothing where it fails."""
    try:
        done = subprocess.run(command, cwd=folder, env=dict(environment), stdout=subprocess.PIPE, check=False)
    except OSError:
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
