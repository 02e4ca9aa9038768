"""How a command reaches servers: what was read of it, and what the user should know of that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from carnet_cli.config.network.reading import read_network
from carnet_cli.terminal import output

if TYPE_CHECKING:
    from carnet_verifier.net.route import Network


def network_for(*about: Path) -> Network:
    """How servers are reached; what is found and does not count is said.

    Args:
        about: Folders of the project that a command is about; that in which it runs when there is none.

    Raises:
        ConfigError: A setting is wrong.
        StorageError: A file cannot be read.
    """
    settings = read_network(*about)
    output.warn_all(settings.remarks)
    return settings.network
