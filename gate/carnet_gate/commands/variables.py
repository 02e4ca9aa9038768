"""The variables that a cargo command is started with."""

from __future__ import annotations

from collections.abc import Mapping

SHIMMED = "CARNET_SHIMMED_CARGO"
"""By which a shim says what cargo it stands before: whatever PATH leads to may be the shim again."""


def compiling_nothing(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a cargo command that compiles nothing.

    Such a command, too, asks a compiler for its version and target. With these variables that is the user's own, and no
    wrapper and no compiler that a configuration file names is started.

    Args:
        environment: The variables that it would have otherwise.
    """
    return {
        **environment,
        "RUSTC": environment.get("RUSTC") or "rustc",
        "RUSTC_WRAPPER": "",
        "RUSTC_WORKSPACE_WRAPPER": "",
    }
