"""python-tuf's own client over what a mirror has published: does it get every target that carnet lists?

Only `fsck` asks it: a client looks at what is signed already, and then a refusal comes too late to keep it back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from carnet.errors import CarnetError, OpinionsDiffer, StorageError
from carnet.tuf import paths
from carnet.tuf.roles import TargetFile, Targets
from carnet_mirror.second_opinion.agreement import agreeing, demand_same
from carnet_mirror.second_opinion.python_tuf import LIBRARY
from carnet_mirror.state.store import Store

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
Report = Callable[[str, str | Exception], None]
_URL = "http://mirror/"
"""Never resolved: every request is answered from the store."""


def fetch_everything(store: Store, targets: Mapping[str, Targets], report: Report, progress: Progress) -> None:
    """Let a client of python-tuf's that pins the first root refresh, find each target, and download it.

    It goes by this machine's clock, as such a client does.

    Args:
        store: The mirror.
        targets: carnet's reading of the roles that are trusted.
        report: Gets each disagreement.
        progress: Makes the progress bars.

    Raises:
        StorageError: There is no temporary directory to be had.
    """
    listed = [(path, target) for role in targets.values() for path, target in role.targets.items()]
    try:
        with tempfile.TemporaryDirectory(prefix="carnet-fsck-") as folder:
            client = _client(store, Path(folder))
            with progress("asking python-tuf's client", len(listed)) as count:
                for path, target in listed:
                    count(1)
                    try:
                        _fetch(client, path, target, Path(folder) / "target")
                    except OpinionsDiffer as error:
                        report(error.file, error)
    except CarnetError as error:
        report(error.file if isinstance(error, OpinionsDiffer) else "metadata", error)
    except OSError as error:
        raise StorageError(f"cannot use a temporary directory: {error.strerror or error}") from None


def _client(store: Store, folder: Path) -> Updater:
    root = store.served(paths.METADATA_PREFIX + paths.metadata_name(paths.ROOT, 1))
    with agreeing("metadata/timestamp.json", "refresh", ours="clients are served", library=LIBRARY):
        client = Updater(
            str(folder),
            _URL + paths.METADATA_PREFIX,
            str(folder),
            _URL + paths.TARGETS_PREFIX,
            _StoreFetcher(store),
            bootstrap=root,
        )
        client.refresh()
    return client


def _fetch(client: Updater, path: str, target: TargetFile, place: Path) -> None:
    with agreeing(path, "look-up", ours="it is listed", library=LIBRARY):
        found = client.get_targetinfo(path)
    if found is None:
        raise OpinionsDiffer(path, "look-up", ours="it is listed", theirs="there is no such target", library=LIBRARY)
    ours = {"length": target.length, "hashes": dict(target.hashes)}
    theirs = {"length": found.length, "hashes": dict(found.hashes)}
    demand_same(path, ours, theirs, library=LIBRARY, field="target")
    with agreeing(path, "download", ours="it is published", library=LIBRARY):
        client.download_target(found, str(place))


class _StoreFetcher(FetcherInterface):
    """Answers a client's requests from the store: nothing goes over a network."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def _fetch(self, url: str) -> Iterator[bytes]:
        data = self._store.served(unquote(urlsplit(url).path).removeprefix("/"))
        if data is None:
            raise DownloadHTTPError("there is no such file", 404)
        yield data
