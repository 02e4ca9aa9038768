"""Every report is rendered for people and for machines, beside each other."""

from __future__ import annotations

import importlib
import pkgutil

from carnet_cli import report


def renderers(ending: str) -> set[str]:
    found = set()
    for module in pkgutil.iter_modules(report.__path__):
        names = vars(importlib.import_module(f"carnet_cli.report.{module.name}"))
        found |= {f"{module.name}.{name.removesuffix(ending)}" for name in names if name.endswith(ending)}
    return found - {"signing.words"}  # a part of two reports


def test_a_report_for_people_is_one_for_machines_too() -> None:
    assert len(renderers("_as_text")) > 10
    assert renderers("_as_text") == renderers("_as_json")
