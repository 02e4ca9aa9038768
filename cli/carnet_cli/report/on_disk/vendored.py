"""What `carnet vendor` wrote, and the lines that make builds use it: cargo's, Bazel's (rules_rust), Nix's (nixpkgs)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from carnet import strictjson
from carnet.value import value
from carnet_cli.terminal import output
from carnet_verifier.cargo.vendoring import INDEX, Written

_SHOWN = 20
"""Differences that are shown of what somebody had changed."""


@value
class VendorReport:
    """What was written.

    Attributes:
        folder: Where.
        kind: `directory` or `local-registry`.
        tool: For which program lines are printed.
        written: What became of the folder.
        crates: How many crates it holds.
        url: The repository that vouches for them.
    """

    folder: Path
    kind: str
    tool: str
    written: Written
    crates: int
    url: str


def vendor_as_text(report: VendorReport) -> None:
    """For people: the lines for a configuration on stdout, and what was done on stderr."""
    written, where = report.written, f"{report.crates} crates in {report.folder}"
    for difference in written.mended[:_SHOWN]:
        output.warn(f"somebody had changed it: {difference.said}")
    if len(written.mended) > _SHOWN:
        output.warn(f"and {len(written.mended) - _SHOWN} more files; all were written anew")
    if written.is_unchanged:
        output.note(f"{where} are as they should be: nothing was written")
    else:
        new, again = (_crates(report, parts) for parts in (written.new, written.again))
        kept = report.crates - new - again
        states = ((new, "new"), (again, "written anew"), (kept, "as before"), (len(written.removed), "removed"))
        counted = ", ".join(f"{number} {words}" for number, words in states if number)
        output.note(f"{where}, vouched for by {report.url}: {counted or 'written anew'}")
    file, otherwise = TOOLS[report.tool][0]
    if sys.stdout.isatty():
        output.note(f"To use it, add this to {file}{otherwise}:\n")
    else:  # where nobody sees what follows
        output.note(f"To use it, add the lines on stdout to {file}{otherwise}")
    output.echo(TOOLS[report.tool][1](report), end="")


def _crates(report: VendorReport, parts: Collection[str]) -> int:
    """How many of some parts are crates."""
    return len(parts) - (report.kind == "local-registry" and INDEX in parts)


def vendor_as_json(report: VendorReport) -> Iterator[Any]:
    """For machines: one object (docs/cli-json.md)."""
    yield {
        "reason": "vendored",
        "folder": str(report.folder),
        "kind": report.kind,
        "crates": report.crates,
        "new": list(report.written.new),
        "mended": sorted({difference.said for difference in report.written.mended}),
        "removed": list(report.written.removed),
        "kept": report.written.kept,
        "config": TOOLS[report.tool][1](report),
        "repository": report.url,
    }


def _cargo(report: VendorReport) -> str:
    """The same lines as cargo's own; JSON's strings are strings of TOML."""
    return (
        '[source.crates-io]\nreplace-with = "vendored-sources"\n\n'
        f"[source.vendored-sources]\n{report.kind} = {_quoted(report)}\n"
    )


def _bazel(report: VendorReport) -> str:
    commented = "".join(f"#     {line}".rstrip() + "\n" for line in _cargo(report).splitlines())
    return (
        "# .cargo/config.toml, by which crate_universe resolves without a network:\n"
        f"{commented}"
        "# Each crate is downloaded with the sha256 of Cargo.lock, which is what was admitted.\n"
        'crate = use_extension("@rules_rust//crate_universe:extensions.bzl", "crate")\n'
        "crate.from_cargo(\n"
        '    name = "crates",\n'
        '    cargo_config = "//:.cargo/config.toml",\n'
        '    cargo_lockfile = "//:Cargo.lock",\n'
        '    manifests = ["//:Cargo.toml"],\n'
        ")\n"
        'use_repo(crate, "crates")\n'
    )


def _nix(report: VendorReport) -> str:
    if report.kind == "directory":
        return f"# in rustPlatform.buildRustPackage; the folder is part of src\ncargoVendorDir = {_quoted(report)};\n"
    return (
        "# in rustPlatform.buildRustPackage; importCargoLock compares downloads with the lock, which was admitted\n"
        "cargoLock.lockFile = ./Cargo.lock;\n"
    )


def _quoted(report: VendorReport) -> str:
    return strictjson.encode(str(report.folder)).decode()


TOOLS: dict[str, tuple[tuple[str, str], Callable[[VendorReport], str]]] = {
    "cargo": ((".cargo/config.toml", " (`--for bazel` and `--for nix` print other lines)"), _cargo),
    "bazel": (("MODULE.bazel", ", with rules_rust"), _bazel),
    "nix": (("the package", ", with nixpkgs"), _nix),
}
"""For each program: into what the lines go, what else is to be said of them, and the lines."""
