"""How a room tells that a long piece of work goes on, to whoever has a terminal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Is given a label, such as `fetching`, and the number of units; the function then says that so many more are done."""
