"""The doors of foreign input, found in the source: every one of them is behind a fuzzed reader."""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType

from tests.fuzz.worlds import Target

from carnet.errors import CarnetError

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "evidence", "signer", "verifier", "gate", "mirror", "cli", "layouts")
_FORMATS = {
    *(("strictjson", "parse"), ("strictjson", "parse_object"), ("stricttoml", "parse"), ("json", "loads")),
    *(("tomllib", "loads"), ("zlib", "decompressobj"), ("struct", "unpack"), ("struct", "unpack_from")),
}
"""What turns bytes into values, as it is called."""
_FORMAT_NAMES = frozenset({"parse_object"})
_FIRST_WORDS = ("from_", "parse", "read", "feed")


def doors() -> Iterator[str]:
    """Every function that parses a format itself, or by its name and arguments reads bytes: `path:Class.function`."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield from (f"{path.relative_to(ROOT)}:{name}" for name in doors_in(path.read_text()))


def doors_in(source: str) -> list[str]:
    """Those of one module: `Class.function`."""
    finder = _Finder()
    finder.visit(ast.parse(source))
    return list(finder.found)


class _Finder(ast.NodeVisitor):
    def __init__(self) -> None:
        self._within: list[str] = []
        self.found: dict[str, None] = {}

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._enter(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        takes = (argument.annotation for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs))
        bytes_come_in = any(annotation is not None and "bytes" in ast.unparse(annotation) for annotation in takes)
        if bytes_come_in and node.name.lstrip("_").startswith(_FIRST_WORDS):
            self.found[".".join((*self._within, node.name))] = None
        self._enter(node)

    def _enter(self, node: ast.ClassDef | ast.FunctionDef) -> None:
        self._within.append(node.name)
        self.generic_visit(node)
        self._within.pop()

    def visit_Call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Attribute(value=ast.Name(id=module), attr=name) if (module, name) in _FORMATS:
                self.found[".".join(self._within)] = None
            case ast.Name(id=name) if name in _FORMAT_NAMES:
                self.found[".".join(self._within)] = None
        self.generic_visit(node)


def entered(target: Target) -> set[str]:
    """The functions that a target's seeds lead through, written as `doors` writes them."""
    codes: set[CodeType] = set()

    def see(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            codes.add(frame.f_code)

    seeds = list(target.seeds())
    sys.setprofile(see)
    try:
        for seed in seeds:
            with contextlib.suppress(CarnetError):
                target.read(seed)
    finally:
        sys.setprofile(None)
    ours = [code for code in codes if code.co_filename.startswith(f"{ROOT}/")]
    return {f"{Path(c.co_filename).relative_to(ROOT)}:{c.co_qualname.replace('<locals>.', '')}" for c in ours}
