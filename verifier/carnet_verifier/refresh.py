"""The TUF client workflow (specification, section 5): from a pinned root to one consistent, verified view."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from carnet_verifier.fetch import Fetcher
from carnet_verifier.repository import TrustedRepository
from carnet_verifier.trust import TrustDirectory

__all__ = ["TrustedRepository", "preview", "read_repository", "refresh"]


def refresh(trust: TrustDirectory, fetcher: Fetcher, *, now: datetime) -> TrustedRepository:
    """Bring what a client trusts up to date, and remember it durably.

    Args:
        trust: The client's memory; locked while this runs.
        fetcher: The repository.
        now: The fixed time of this refresh (TUF 5.1), aware, UTC.

    Raises:
        MetadataError: A check failed; nothing newer than what was verified so far is remembered.
        TransportError: A file could not be fetched.
        StorageError: The disk failed, or another process held the lock.
    """
    raise NotImplementedError


def read_repository(root: bytes, fetcher: Fetcher, *, now: datetime) -> TrustedRepository:
    """The same checks from a pinned root, without a memory: for a mirror that looks at its own files, and for tests."""
    raise NotImplementedError


def preview(
    current: TrustedRepository, roles: Mapping[str, bytes], targets: Mapping[str, bytes] | None = None
) -> TrustedRepository:
    """The current view with submitted files laid on top: what clients would see once they are published.

    Each submitted role must be the next version (current + 1, or 1 for a new role), unexpired and signed by the
    threshold that its delegator names; the delegator may be submitted as well. Everything else stays as it is.

    Args:
        current: The view to lay them on; it stays as it is.
        roles: Role name to file, targets roles only.
        targets: Target path to bytes that `download` is to find, beside those that are published.

    Raises:
        MetadataError: A submitted role fails a check.
        FormatError: A submitted role does not parse.
    """
    raise NotImplementedError
