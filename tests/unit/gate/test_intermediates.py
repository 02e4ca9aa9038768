"""The folder for what only cargo looks at: where there can be none of the gate's own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from carnet.errors import ConfigError, StorageError
from carnet_gate.args import parse
from carnet_gate.comparison import intermediates
from carnet_gate.gate import Gate


def test_a_folder_of_intermediates_that_is_gone_again_is_not_recorded() -> None:
    assert b"carnet-0" in intermediates._text("carnet-0", (1, 2, 3))
    with pytest.raises(StorageError, match="is gone again"):
        intermediates._text("carnet-0", None)


def test_an_old_cargo_and_a_target_folder_of_ones_own(tmp_path: Path) -> None:
    """Both would be one folder for what the gate builds and what others did."""
    found: Any = Gate.__new__(Gate)
    found._folder, found._reporter = tmp_path, SimpleNamespace(warn=lambda text: None)
    for args, refused in ((["build"], False), (["build", "--target-dir", "x"], True)):
        found._project = SimpleNamespace(invocation=parse(args), separates=False, outputs=(tmp_path / "target",))
        if refused:
            with pytest.raises(ConfigError, match="cannot keep what the gate builds apart"):
                found._apart()
        else:
            found._apart()
