"""What an alias of cargo's configuration stands for: the user's, the project's, the environment's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from carnet.errors import ConfigError
from carnet.value import value
from carnet_gate.config import documents_in, file_in, is_same, read_argument


@value
class Aliases:
    """The aliases that cargo would know in a folder.

    cargo reads `--config` first, then the environment, then the files: the nearest one first, that of CARGO_HOME last.
    What it would put together of several lists is refused: it depends on cargo's version.

    Attributes:
        folder: Where cargo would run.
        own_home: The user's CARGO_HOME.
        environment: The user's variables.
    """

    folder: Path
    own_home: Path
    environment: Mapping[str, str]

    def __call__(self, name: str, configs: Sequence[str]) -> tuple[str, ...] | None:
        """The words that an alias stands for; None when there is no alias of that name.

        Args:
            name: What was typed.
            configs: The values of `--config` that stood before it.

        Raises:
            ConfigError: A file cannot be read, or the alias is not what cargo can follow.
        """
        found = list(self._said(name, configs))
        if not found:
            return None
        where, said = found[0]
        if isinstance(said, str):
            return tuple(said.split())
        if not isinstance(said, list) or not all(isinstance(word, str) for word in said):
            raise ConfigError(f"{where}: `alias.{name}` is neither a string nor a list of them", hint="mend it there")
        if len(found) > 1:
            raise ConfigError(
                f"`alias.{name}` is a list in {where}, and stands in {found[1][0]} too",
                hint="write it in one place: cargo would join the lists",
            )
        return tuple(said)

    def _said(self, name: str, configs: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Who says something of an alias, whose word counts most first."""
        for argument in reversed(configs):
            yield from _in(documents_in(*read_argument(argument, self.folder)), name)
        variable = "CARGO_ALIAS_" + name.upper().replace("-", "_")
        if variable in self.environment:
            yield variable, self.environment[variable]
        folders = [above / ".cargo" for above in (self.folder, *self.folder.parents)]
        if not any(is_same(folder, self.own_home) for folder in folders):
            folders.append(self.own_home)
        for folder in folders:
            file, document = file_in(folder)
            yield from _in(documents_in(document, str(file), folder), name)


def _in(documents: Iterator[tuple[Mapping[str, Any], str, int]], name: str) -> Iterator[tuple[str, Any]]:
    for document, where, _ in documents:
        table = document.get("alias")
        if isinstance(table, dict) and name in table:
            yield where, table[name]
