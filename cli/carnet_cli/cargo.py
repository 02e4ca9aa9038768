"""`cargo carnet`: the same cargo command, behind the verifying gate."""

from __future__ import annotations

import click


@click.group()
def command() -> None:
    """Run a cargo command on verified crates only."""
