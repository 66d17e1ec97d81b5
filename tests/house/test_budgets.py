"""The tail is what makes a house hard to live in: sizes, edges and rooms, kept by a test."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "lastgood"

FILE_LINES = 400
FUNCTION_LINES = 50
CLASS_LINES = 250

EDGES = {"src/lastgood/engine/step.py", "src/lastgood/api/app.py"}
"""The only places that may catch everything: the engine's step and the API's last handler."""

PURE = ("domain", "planning", "judging")
"""Rooms that import nothing but the standard library and what is below them."""


@cache
def tracked(pattern: str = "") -> tuple[str, ...]:
    """Committed and new files, so that a breach is found before it is committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", pattern or "."]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(path for path in listed.split("\0") if path and (ROOT / path).is_file())


@cache
def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), path)


def product() -> list[str]:
    return [path for path in tracked("*.py") if not path.startswith("tests/")]


def spans(path: str, *kinds: type[ast.AST]) -> list[tuple[str, int]]:
    """Place and length of each definition of ``kinds``."""
    return [
        (f"{path}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(tree(path))
        if isinstance(node, kinds) and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]


def test_there_is_something_to_measure() -> None:
    assert len(product()) > 50


def test_files_are_short() -> None:
    lines = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in tracked("*.py")}
    assert {path: count for path, count in lines.items() if count > FILE_LINES} == {}


def test_functions_are_short() -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [span for path in product() for span in spans(path, *kinds) if span[1] > FUNCTION_LINES]
    assert found == []


def test_classes_are_short() -> None:
    found = [s for path in tracked("*.py") for s in spans(path, ast.ClassDef) if s[1] > CLASS_LINES]
    assert found == []


def test_our_own_modules_are_not_imported_for_types_only() -> None:
    found = []
    for path in product():
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.If) or "TYPE_CHECKING" not in ast.unparse(node.test):
                continue
            own = [s for s in node.body if re.match(r"(from|import) (lastgood|\.)", ast.unparse(s))]
            found += [f"{path}:{statement.lineno}" for statement in own]
    assert found == []


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    names = [] if handler.type is None else re.findall(r"\w+", ast.unparse(handler.type))
    return handler.type is None or bool({"Exception", "BaseException"} & set(names))


def _only_passes_on(handler: ast.ExceptHandler) -> bool:
    """Cleaning up and raising the same again hides nothing."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_everything_is_caught_only_at_the_edges() -> None:
    found = [
        f"{path}:{node.lineno}"
        for path in product()
        if path not in EDGES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler) and _catches_everything(node) and not _only_passes_on(node)
    ]
    assert found == []


def test_modules_import_each_other_one_way() -> None:
    graph = grimp.build_graph("lastgood", cache_dir=None)
    order = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(order).prepare()  # raises CycleError with the modules of the cycle


@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_imports_only_the_standard_library(room: str) -> None:
    found = []
    for path in tracked(f"src/lastgood/{room}/*.py"):
        for node in ast.walk(tree(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
            outside = {n.split(".")[0] for n in names} - sys.stdlib_module_names - {"lastgood"}
            found += [f"{path}: {name}" for name in outside]
    assert found == []


def test_every_driver_has_settings_and_a_readme() -> None:
    folders = [p.parent for p in (PACKAGE / "drivers").glob("*/driver.py")]
    assert len(folders) >= 1
    missing = [
        f"{folder.name}/{name}"
        for folder in folders
        for name in ("README.md", "settings.py")
        if not (folder / name).is_file()
    ]
    assert missing == []


def test_packages_are_named_and_otherwise_empty() -> None:
    """Importing a light module must not pull in what its neighbours need."""
    found = []
    for path in tracked("src/lastgood/*/__init__.py"):
        body = tree(path).body
        if ast.get_docstring(tree(path)) is None or len(body) > 1:
            found.append(path)
    assert found == []
