"""The built-in inspection `unpack`: is the tarball what was tagged? In process, in memory, no shell."""

from __future__ import annotations

from collections.abc import Set

from carnet.crate import CrateFile
from carnet.steps import TagRecord


def unpack(crate: CrateFile, tag: TagRecord, generated: Set[str] = frozenset()) -> tuple[str, ...]:
    """Compare a tarball with what was tagged, file by file.

    Returns:
        Findings: differences that are cargo's own doing.

    Raises:
        RuleViolation: A file is missing, extra, or not the tagged one.
    """
    raise NotImplementedError
