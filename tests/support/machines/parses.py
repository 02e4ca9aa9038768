"""How often bytes are parsed, by whoever asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from carnet import strictjson
from carnet.cargo import crate as crate_file
from carnet.digests import sha256_hex


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Counts by sha256 how often bytes are parsed as JSON or unpacked as a tarball."""
    counts: Counter[str] = Counter()

    def counted(real: Any) -> Any:
        def call(data: bytes, *arguments: Any, **options: Any) -> Any:
            counts[sha256_hex(data)] += 1
            return real(data, *arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strictjson, "parse", counted(strictjson.parse))
        patch.setattr(crate_file, "_inflate", counted(crate_file._inflate))
        yield counts
