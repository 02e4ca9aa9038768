"""A fetcher without a network: over a store's read function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import unquote

from carnet.errors import FormatError, TransportError
from carnet.tuf.paths import check_target_path


class ReadFetcher:
    """Fetches through a function that reads a stored file by its plain (unquoted) path, such as a mirror's store.

    Args:
        read: Path below the repository's base, such as `metadata/2.root.json`, to its bytes, or None when absent.
    """

    def __init__(self, read: Callable[[str], bytes | None]) -> None:
        self._read = read

    def get(self, path: str, *, max_bytes: int) -> bytes:
        """See `carnet_verifier.net.fetch.Fetcher.get`.

        Raises:
            TransportError: As there.
        """
        try:
            data = self._read(check_target_path(unquote(path)))
        except FormatError:
            data = None
        if data is None:
            raise TransportError(f"{path[:120]}: there is no such file", status=404)
        if len(data) > max_bytes:
            raise TransportError(f"{path[:120]} has {len(data)} bytes, and at most {max_bytes} were asked for")
        return data

    def get_many(self, requests: Sequence[tuple[str, int]], *, large: bool = False) -> list[bytes | TransportError]:
        """See `carnet_verifier.net.fetch.Fetcher.get_many`."""
        answers: list[bytes | TransportError] = []
        for path, max_bytes in requests:
            try:
                answers.append(self.get(path, max_bytes=max_bytes))
            except TransportError as error:
                answers.append(error)
        return answers
