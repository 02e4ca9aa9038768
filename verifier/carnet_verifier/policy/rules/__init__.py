"""The rules, one in each file here and in `runs`: a new one is a new file, and nothing else has to know of it.

A file says what stands for it: `RULE = Rule(...)`. Configuration, the proxy, help texts, documents and results iterate
over `ALL`. The rules that ship with carnet have to be there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from carnet.errors import FormatError
from carnet_verifier.policy.rule import Rule, Setting

if TYPE_CHECKING:
    from importlib.machinery import SourceFileLoader

_SPEC: Any = __spec__
_LOADER: Any = _SPEC.loader


def _modules() -> Iterator[ModuleType]:
    from carnet_verifier.policy.rules import runs

    yield from _modules_in(__name__, __path__)
    yield from _modules_in(runs.__name__, runs.__path__)


def _modules_in(package: str, path: Iterable[str]) -> Iterator[ModuleType]:
    for folder in path:
        try:
            files = os.listdir(folder)  # noqa: PTH208  -- names are all
        except NotADirectoryError:  # we are in an archive, of which the import system knows more
            from importlib import import_module
            from pkgutil import iter_modules

            yield from (import_module(f"{package}.{found.name}") for found in iter_modules([folder]) if not found.ispkg)
            continue
        # Images are made smaller by leaving out the source: there the compiled files stand in its place.
        found = {file.partition(".")[0]: file for file in sorted(files, reverse=True) if file.endswith((".py", ".pyc"))}
        for name, file in found.items():
            if not name.startswith("_"):
                yield _load(package, f"{package}.{name}", f"{folder}/{file}")


def _load(package: str, name: str, path: str) -> ModuleType:
    """Import a module whose file is known, as this one was: to look for it takes as long as to load it.

    Every look at a lock imports every rule, so that it counts.
    """
    if name not in sys.modules:
        module = sys.modules[name] = ModuleType(name)
        loader: SourceFileLoader = type(_LOADER)(name, path)
        module.__spec__ = type(_SPEC)(name, loader, origin=path)
        module.__file__, module.__loader__, module.__package__ = path, loader, package
        loader.exec_module(module)
    setattr(sys.modules[package], name.rpartition(".")[2], sys.modules[name])
    return sys.modules[name]


def _rule(module: ModuleType) -> Rule:
    rule = module.RULE
    name = module.__name__.rpartition(".")[2].replace("_", "-")
    if not isinstance(rule, Rule) or rule.name != name:
        raise TypeError(f"{module.__name__} has to say `RULE = Rule({name!r}, ...)`")
    return rule


_OURS = frozenset(
    (
        *(
            "banned",
            "downgrade",
            "empty-lock",
            "git",
            "index-differs",
            "level",
            "mass-yank",
            "no-checksum",
            "no-memory",
        ),
        *("other-registry", "read-only-home", "released", "takeover", "unremembered", "yanked", "young"),
    )
)


def _found() -> tuple[Rule, ...]:
    """Every rule, by name. A folder may grow; one that has lost a rule would let in what that rule denies."""
    rules = tuple(sorted(map(_rule, _modules()), key=lambda rule: rule.name))
    lost = _OURS.difference(rule.name for rule in rules)
    if lost:
        raise ImportError(f"carnet is not whole: the rule {min(lost)} is missing from {__path__}: install it again")
    return rules


ALL: tuple[Rule, ...] = _found()
"""Every rule, by name."""


def named(name: str) -> Rule:
    """Find a rule by its name.

    Raises:
        FormatError: There is no such rule.
    """
    for rule in ALL:
        if rule.name == name:
            return rule
    raise FormatError(f"{name[:40]!a} is not a rule", hint=f"the rules are {', '.join(rule.name for rule in ALL)}")


def settings() -> tuple[Setting[object], ...]:
    """What policies may ask, of every rule."""
    return tuple(setting for rule in ALL for setting in rule.settings)
