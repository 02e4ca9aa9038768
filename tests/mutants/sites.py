"""The checks that can be taken out: every raise, and every call of a check whose value is dropped.

`sites` lists those of a module; `switchable` rewrites its syntax tree so that each can be taken out while it runs:

    raise X(...)          if switch.on("<site>"): raise X(...)
    check_x(...)          if switch.active != "<site>":
                              try: check_x(...)
                              except BaseException: switch.on("<site>"); raise

The conditions stay and are evaluated, so that taking a raise out changes nothing for a test in which it was not
reached: only those in which it fired can tell.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.mutants import switch

ROOT = Path(__file__).resolve().parents[2]
_FIRST_WORDS = ("check", "verify", "compare", "require", "demand", "refuse", "lint", "lists", "delegates", "same")
_SWITCH = "__carnet_switch__"


@dataclass(frozen=True, order=True)
class Site:
    """One check.

    Attributes:
        where: Module and function, `carnet.tuf.keys:PublicKey.from_object`.
        what: The statement; with a number when the function has it more than once.
        line: Where it stands today; for people.
    """

    where: str
    what: str
    line: int = 0

    @property
    def name(self) -> str:
        """What it is called in results, whatever line it moves to."""
        return f"{self.where}: {self.what}"

    @property
    def module(self) -> str:
        """The module's dotted name."""
        return self.where.partition(":")[0]


def modules() -> dict[str, Path]:
    """Every module whose checks are taken out, by its dotted name."""
    found = {}
    for package, folder in switch.PLACES.items():
        top = ROOT / folder
        for path in sorted((top / package.replace(".", "/")).rglob("*.py")):
            parts = path.relative_to(top).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def sites(module: str, tree: ast.Module) -> list[Site]:
    """The checks of a module, in the order in which they stand."""
    finder = _Finder(module)
    finder.visit(tree)
    return [site for _, site in finder.found]


def all_sites() -> list[Site]:
    """The checks of all modules."""
    return [site for module, path in modules().items() for site in sites(module, ast.parse(path.read_bytes()))]


def switchable(module: str, tree: ast.Module) -> ast.Module:
    """Rewrite a module so that each of its checks can be taken out; see the module's docstring."""
    finder = _Finder(module)
    finder.visit(tree)
    tree = _Rewriter({id(node): site.name for node, site in finder.found}).visit(tree)
    first = next((at for at, node in enumerate(tree.body) if not _stands_first(node)), len(tree.body))
    tree.body.insert(first, ast.parse(f"import tests.mutants.switch as {_SWITCH}").body[0])
    return ast.fix_missing_locations(tree)


def _stands_first(node: ast.stmt) -> bool:
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return docstring or (isinstance(node, ast.ImportFrom) and node.module == "__future__")


def _is_check(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name.lstrip("_").partition("_")[0] in _FIRST_WORDS


class _Finder(ast.NodeVisitor):
    def __init__(self, module: str) -> None:
        self._module = module
        self._within: list[str] = []
        self._seen: Counter[tuple[str, str]] = Counter()
        self.found: list[tuple[ast.stmt, Site]] = []

    def _enter(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self._within.append(node.name)
        self.generic_visit(node)
        self._within.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _enter  # noqa: N815 -- ast's names

    def visit_Raise(self, node: ast.Raise) -> None:
        self._add(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call) and _is_check(node.value.func):
            self._add(node)

    def _add(self, node: ast.stmt) -> None:
        where, what = f"{self._module}:{'.'.join(self._within) or '<module>'}", ast.unparse(node)
        self._seen[where, what] += 1
        count = self._seen[where, what]
        self.found.append((node, Site(where, what if count == 1 else f"{what}  # {count}", node.lineno)))


class _Rewriter(ast.NodeTransformer):
    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names

    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        return self._rewrite(node, f"if {_SWITCH}.on({self._names[id(node)]!r}): raise")

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        name = self._names.get(id(node))
        if name is None:
            return node
        return self._rewrite(
            node,
            f"if {_SWITCH}.active != {name!r}:\n try: raise\n except BaseException:\n  {_SWITCH}.on({name!r})\n  raise",
        )

    @staticmethod
    def _rewrite(node: ast.stmt, template: str) -> ast.stmt:
        """Put the statement where the first `raise` of the template stands; lines stay those of the source."""
        new = ast.parse(template).body[0]
        assert isinstance(new, ast.If)
        holder = new.body[0] if isinstance(new.body[0], ast.Try) else new
        holder.body[0] = node
        for part in ast.walk(new):
            if part is not node and hasattr(part, "lineno"):
                ast.copy_location(part, node)
        return new
