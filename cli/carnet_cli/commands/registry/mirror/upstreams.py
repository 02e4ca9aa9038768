"""Where a mirror's crates come from: what an operator names, on the command line or in `mirror.toml`, as upstreams."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from carnet.durable import read_named_file
from carnet.errors import ConfigError
from carnet.tuf.roles import Root
from carnet_cli.commands.network import network_for
from carnet_cli.config import home
from carnet_mirror.pull.settings import UpstreamSettings
from carnet_mirror.upstream.cargo import CargoUpstream
from carnet_mirror.upstream.folder import FolderUpstream
from carnet_mirror.upstream.mirror import remembered_upstream
from carnet_mirror.upstream.packages import IndexedUpstream
from carnet_mirror.upstream.routed import FromThere, RoutedUpstream
from carnet_mirror.upstream.sparse import SparseUpstream
from carnet_mirror.upstream.stopping import Stopped
from carnet_verifier.net.address import repository_url

CARGO = "cargo"
SECONDS = 1800.0
"""How long the operator's own cargo may fetch for one `carnet mirror sync`."""
MakeUpstream = Callable[[Stopped], IndexedUpstream]


@dataclass(frozen=True)
class Sources:
    """What upstreams are made with.

    Attributes:
        directory: The mirror, which remembers what it saw of other mirrors.
        named: Those of its `mirror.toml`.
        cargo: The program that fetches where the operator's own cargo does.
        seconds: How long that may fetch.
        remembering: Whether index files that were asked for are not asked for again: for as long as one pull lasts.
    """

    directory: Path
    named: Sequence[UpstreamSettings]
    cargo: str
    seconds: float
    remembering: bool = True

    def make(self, said: str, root: Path | None = None) -> MakeUpstream:
        """What makes the upstream of one run: the one that is named, for what no rule lets come from elsewhere.

        Args:
            said: `cargo`, the URL of a sparse index, the address of a mirror, a folder, or a label of `mirror.toml`.
            root: The root file of that mirror.

        Raises:
            ConfigError: What is configured cannot be used.
            StorageError: The disk failed.
        """
        label = next((one for one in self.named if one.label == said), None)
        if label is not None and root is not None:
            raise ConfigError(
                f"mirror.toml says which root {said} has", hint="leave --upstream-root away, or name the address itself"
            )
        otherwise = self._one(label or UpstreamSettings(said, root))
        routes = [(one, self._one(one)) for one in self.named if one.crates]
        if not routes:
            return otherwise
        return lambda stopped: RoutedUpstream(
            otherwise(stopped), tuple(FromThere(one.label, one.crates, made(stopped)) for one, made in routes)
        )

    def uses_cargo(self, said: str) -> bool:
        """Whether the operator's own cargo fetches something of it."""
        return said == CARGO or any(one.place == CARGO and (one.crates or one.label == said) for one in self.named)

    def _one(self, settings: UpstreamSettings) -> MakeUpstream:
        place, network = settings.place, network_for()
        if settings.root is not None:
            if place == CARGO or place.startswith("sparse+"):
                raise ConfigError(
                    f"{place[:200]} is no mirror of carnet's, and has no root",
                    hint="name the mirror itself, such as https://host/, or the folder that it was exported into",
                )
            data = read_named_file(settings.root, "the root of the upstream", max_bytes=Root.MAX_BYTES)
            at = repository_url(place) if "://" in place else Path(place)
            upstream = remembered_upstream(self.directory, at, data, home.now, network)
            return lambda stopped: upstream
        if place == CARGO:
            # It runs with a copy of the user's configuration, in which a relative path would lead elsewhere.
            authorities = {} if network.ca_file is None else {"CARGO_HTTP_CAINFO": network.ca_file}
            environment = {**os.environ, **authorities}
            return lambda stopped: CargoUpstream(
                self.cargo, home.cargo_home(), environment, self.seconds, stopped, registry=settings.registry
            )
        if place.startswith(("http://", "https://")):
            raise ConfigError(
                f"{place[:200]} is a mirror of carnet's, or an index: it is not said which",
                hint="a mirror is verified with its root, --upstream-root FILE; of a sparse index write sparse+URL",
            )
        if "://" in place:
            sparse = SparseUpstream(place, network=network)  # what is wrong with it is told now
            if not self.remembering:
                return lambda stopped: sparse
            return lambda stopped: SparseUpstream(place, network=network, remembered={}, stopped=stopped)
        if (Path(place) / "metadata").is_dir():
            raise ConfigError(
                f"{place} is an exported mirror, and nobody says which root it has",
                hint='add --upstream-root FILE, or in mirror.toml root = "FILE": the root file of that mirror',
            )
        folder = FolderUpstream(Path(place))
        return lambda stopped: folder
