"""`carnet shim`: a cargo home for editors, whose cargo goes through the gate."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from carnet.errors import ConfigError
from carnet_cli.config import home
from carnet_cli.config.shims.folder import Shim, is_shim, remove
from carnet_cli.terminal import output


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--remove", "removes", is_flag=True, help="Take it away again.")
def command(folder: Path, removes: bool) -> None:
    """Write a cargo home for editors, whose cargo goes through the gate.

    An editor that is started with CARGO_HOME=DIR and CARGO=DIR/bin/cargo takes that for cargo, whichever of the two it
    looks at. There, what compiles crates or chooses versions goes through the gate, as with `cargo carnet`; what does
    neither passes to your own cargo, with your own configuration and credentials. DIR must be empty or new, and lie in
    no project; the same again changes nothing. For example:

    \b
        carnet shim ~/.local/share/carnet/shim
        carnet shim --remove ~/.local/share/carnet/shim
    """
    folder = folder.expanduser().resolve()
    if removes:
        left = remove(folder)
        if left is None:
            output.echo(f"there is no shim in {folder}: nothing was removed")
            return
        output.echo(f"the shim in {folder} is removed")
        for path in left:
            output.note(f"left: {path}, which `carnet shim` did not write")
        return
    shim = Shim(folder, _own_cargo(), _own_home())
    changed = shim.write()
    output.echo(f"{shim.program} {'stands' if changed else 'stood already'} before {shim.cargo}")
    output.echo("editors take it where they are started with both of")
    output.echo(f"    CARGO_HOME={folder}")
    output.echo(f"    CARGO={shim.program}")


def _own_home() -> Path:
    own = home.cargo_home()
    if is_shim(own / "bin/cargo"):
        raise ConfigError(f"CARGO_HOME is {own}, which is a shim's", hint="unset CARGO_HOME, and run this again")
    return own


def _own_cargo() -> Path:
    """The cargo that the user calls: in PATH, or in CARGO_HOME. What a relative PATH leads to depends on the folder."""
    folders = [one for one in os.environ.get("PATH", "").split(os.pathsep) if one.startswith("/")]
    for one in (*folders, str(_own_home() / "bin")):
        found = shutil.which("cargo", path=one)
        if found is not None and not is_shim(Path(found)):
            return Path(found)
    raise ConfigError("cargo is not installed, or not in PATH", hint="install it (https://rustup.rs)")
