"""python-tuf's own client over a publication: what everybody else's tools make of what we publish."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from carnet.tuf import paths
from carnet_signer.metadata.publish import Publication


class PublicationFetcher(FetcherInterface):
    """Serves a publication to python-tuf's client."""

    def __init__(self, publication: Publication) -> None:
        self.publication = publication
        self.requests: list[str] = []

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = unquote(urlsplit(url).path).lstrip("/")
        self.requests.append(path)
        data = self.publication.read(path)
        if data is None:
            raise DownloadHTTPError(f"no {path}", 404)
        yield data


def stock_client(
    publication: Publication, root: bytes, folder: Path, *, snapshot_max_length: int = 2_000_000
) -> Updater:
    """A client that has pinned `root` and keeps its state in `folder`; one refresh for each."""
    config = UpdaterConfig(snapshot_max_length=snapshot_max_length)
    (folder / "metadata").mkdir(parents=True, exist_ok=True)
    (folder / "targets").mkdir(exist_ok=True)
    first = not (folder / "metadata" / "root.json").exists()
    return Updater(
        str(folder / "metadata"),
        f"http://publication/{paths.METADATA_PREFIX}",
        str(folder / "targets"),
        f"http://publication/{paths.TARGETS_PREFIX}",
        PublicationFetcher(publication),
        config,
        bootstrap=root if first else None,
    )


def read_target(client: Updater, path: str) -> bytes | None:
    """Look a target up and download it; None is signed proof of absence."""
    info = client.get_targetinfo(path)
    return None if info is None else Path(client.download_target(info)).read_bytes()
