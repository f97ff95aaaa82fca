"""Imports point downwards only, without cycles, and each library stays on the floors that may know it."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "smbfuse"

# The first part of a module's name below `smbfuse` decides its floor.
FLOORS = {
    "__init__": 0, "errors": 0, "ntstatus": 0, "settings": 0,
    "wire": 1, "proto": 2, "client": 3, "core": 4, "fuse": 5, "cli": 6, "__main__": 6,
}  # fmt: skip
# The same within core. What it has beside these folders stands under all of them.
CORE = {"server": 1, "cache": 2, "files": 3, "locks": 3, "calls": 4}
# Libraries that not every floor may import, and the parts that may.
LIBRARIES = {
    "trio": {"client", "core", "fuse", "cli", "__main__"},
    "pyfuse3": {"fuse", "cli"},
    "spnego": {"client"},
    "logging": set(FLOORS) - {"wire", "proto"},
    "socket": set(FLOORS) - {"wire", "proto"},
    "time": set(FLOORS) - {"wire", "proto"},
}

Imports = dict[str, set[str]]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.Module, modules: set[str]) -> Iterator[str]:
    """Names of the modules that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in modules else node.module


def without_type_imports(tree: ast.Module) -> ast.Module:
    """The file without `if TYPE_CHECKING:` at its top level."""
    body = [node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")]
    return ast.Module(body, tree.type_ignores)


def all_imports(root: Path = ROOT, view: Callable[[ast.Module], ast.Module] = lambda tree: tree) -> Imports:
    files = {module_name(path): path for path in root.rglob("*.py")}
    native = {module_name(path) for path in root.rglob("*.c")}
    return {name: set(imported(view(ast.parse(path.read_text())), native | set(files))) for name, path in files.items()}


def part(module: str) -> str:
    return module.partition(".")[2].partition(".")[0] or "__init__"


def floor(module: str) -> tuple[int, int]:
    below_core = module.removeprefix("smbfuse.core.").partition(".")[0]
    return FLOORS[part(module)], CORE.get(below_core, 0) if part(module) == "core" else 0


def upward(imports: Imports) -> list[str]:
    return [
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in others
        if other.partition(".")[0] == "smbfuse" and floor(other) > floor(name)
    ]


def misplaced(imports: Imports) -> list[str]:
    return [
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in others
        if part(name) not in LIBRARIES.get(other.partition(".")[0], FLOORS)
    ]


IMPORTS = all_imports()


def test_every_part_has_a_floor() -> None:
    assert {part(name) for name in IMPORTS} <= set(FLOORS)


def test_imports_point_downwards() -> None:
    assert upward(IMPORTS) == []


def test_libraries_stay_on_their_floors() -> None:
    assert misplaced(IMPORTS) == []


def test_no_cycles() -> None:
    # Two classes of one floor may name each other in annotations; up the floors even that is forbidden, above.
    graphlib.TopologicalSorter(all_imports(view=without_type_imports)).prepare()


def test_the_checks_can_fail() -> None:
    assert upward({"smbfuse.wire.header": {"smbfuse.client.connection"}})
    assert upward({"smbfuse.core.server.nt": {"smbfuse.core.cache.inodes"}})
    assert upward({"smbfuse.core.settle": {"smbfuse.core.server.nt"}})
    assert not upward({"smbfuse.core.cache.inodes": {"smbfuse.core.server.attrs", "smbfuse.client.tree"}})
    assert misplaced({"smbfuse.proto.engine": {"trio"}})
    assert misplaced({"smbfuse.core.calls.vfs": {"pyfuse3.asyncio"}})
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"smbfuse.a": {"smbfuse.b"}, "smbfuse.b": {"smbfuse.a"}}).prepare()
