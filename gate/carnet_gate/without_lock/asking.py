"""Commands that ask the registry: `info`, `search`, and what `publish --dry-run` asks.

Behind a local registry cargo refuses them, so they ask the verifying one on loopback, by its name: cargo asks a source
that stands in the place of crates.io only when it is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from carnet_gate.admission import Grounds
from carnet_gate.choosing.resolving import resolving
from carnet_gate.commands.table import COMMANDS
from carnet_gate.confinement.protection import Confine
from carnet_gate.gate import Gate
from carnet_gate.home import quoted
from carnet_gate.project import LockOnDisk, Project
from carnet_gate.reporter import Reporter


def ask(project: Project, grounds: Grounds, confine: Confine, reporter: Reporter, *, also: Sequence[str] = ()) -> int:
    """Run a command that asks the registry and compiles nothing.

    Args:
        project: Where it runs.
        grounds: What the registry decides by: it shows what may be admitted, and serves what is.
        confine: Keeps cargo, and what it starts, from writing to carnet's own folder.
        reporter: Is told what of the user's configuration does not hold.
        also: More flags.

    Returns:
        cargo's exit status.

    Raises:
        CarnetError: Nothing could be asked.
    """
    command = project.invocation.command
    if command.name == "search":
        reporter.warn("the signed index is asked by name: `search` finds crates of that name, and no other words")
    pinned = LockOnDisk(project.workspace).read_if_any()
    with (
        grounds.open_view() as view,
        resolving(project, view, pinned, grounds, confine, reporter) as (home, within, choices),
    ):
        registry = f"registries.{home.name}.index={quoted(home.source['registry'])}"
        status = project.cargo.run(
            *command.words,
            *home.flags,
            *("--config", registry, "--registry", home.name),
            *also,
            *project.invocation.args,
            environment=home.environment(project),
            within=within,
        )
        if status != 0 and (skipped := choices.skipped(())):
            reporter.skipped(skipped)
        return status


def rehearse(gate: Gate, project: Project, grounds: Grounds, confine: Confine, reporter: Reporter) -> int:
    """Run `publish --dry-run`: what is packed is compiled behind the gate, and what an upload would be told is asked.

    Args:
        gate: The gate in front of `packing(project)`.
        project: What would be published.
        grounds: What is decided by.
        confine: Keeps cargo, and what it starts, from writing to carnet's own folder.
        reporter: Is told what is found.

    Returns:
        cargo's exit status.

    Raises:
        CarnetError: What is packed was not compiled, or nothing could be asked.
    """
    status = gate.run()
    if status != 0:
        return status
    also = [] if project.invocation.has("--no-verify") else ["--no-verify"]
    return ask(project, grounds, confine, reporter, also=also)


def packing(project: Project) -> Project:
    """The same project, to be packed as `publish` packs it."""
    invocation = project.invocation
    packed = replace(invocation, command=COMMANDS["package"], args=invocation.without("--dry-run", "-n"))
    return replace(project, invocation=packed)
