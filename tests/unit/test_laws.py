# SPDX-License-Identifier: GPL-2.0-or-later
"""The laws of the house: who may import whom, what declarations may hold, what stays unloaded."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EMULATOR, WRITER = ROOT / "smmu_emu", ROOT / "pgtable"
HEAVY = ("unicorn", "capstone", "elftools", "fdt", "numpy", "click")
MEETING_ROOMS = ("driver", "cli", "report", "testing", "pytest_plugin.py")
"""Where the writer of tables and the walker may meet."""


def _sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def _imports(path: Path) -> Iterator[str]:
    """Top-level packages that a module imports, wherever in it, types only or not."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and _is_dynamic_import(node):
            yield str(node.args[0].value).split(".")[0]  # type: ignore[attr-defined]


def _is_dynamic_import(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    known = bool(call.args) and isinstance(call.args[0], ast.Constant)
    return name in ("import_module", "__import__") and known


def _importers(folder: Path, package: str) -> set[str]:
    """Modules of a folder that import a package, relative to the root."""
    return {
        str(path.relative_to(ROOT)) for path in _sources(folder) if package in set(_imports(path))
    }


def test_there_is_something_to_judge() -> None:
    assert len(_sources(EMULATOR)) > 20
    assert len(_sources(WRITER)) > 5


def test_writer_of_tables_knows_nothing_of_the_emulator() -> None:
    assert _importers(WRITER, "smmu_emu") == set()


def test_writer_of_tables_needs_no_library_of_the_emulator() -> None:
    for package in ("unicorn", "capstone", "click"):
        assert _importers(WRITER, package) == set(), package
    assert _importers(WRITER, "elftools") == {"pgtable/inspect/dumps.py"}


def test_hardware_knows_nothing_of_the_writer_of_tables() -> None:
    """If the walker took the writer's idea of a descriptor, one mistake would hide the other."""
    allowed = tuple(f"smmu_emu/{room}" for room in MEETING_ROOMS)
    strangers = {name for name in _importers(EMULATOR, "pgtable") if not name.startswith(allowed)}

    assert strangers == set()


def test_unicorn_is_imported_in_the_rooms_of_the_core_alone() -> None:
    strangers = {n for n in _importers(EMULATOR, "unicorn") if not n.startswith("smmu_emu/cpu/")}

    assert strangers == set()


def test_capstone_is_imported_by_the_disassembly_alone() -> None:
    assert _importers(EMULATOR, "capstone") <= {"smmu_emu/trace/disassembly.py"}


def test_fdt_is_imported_by_the_device_tree_alone() -> None:
    assert _importers(EMULATOR, "fdt") == {"smmu_emu/board/devicetree.py"}


def test_elftools_is_imported_by_the_loader_and_the_trace_alone() -> None:
    strangers = {
        name
        for name in _importers(EMULATOR, "elftools")
        if name != "smmu_emu/board/loader.py" and not name.startswith("smmu_emu/trace/")
    }

    assert strangers == set()


def _spec_modules() -> list[Path]:
    return [path for path in _sources(EMULATOR) if path.parent.name == "spec"]


@pytest.mark.parametrize("path", _spec_modules(), ids=lambda path: path.stem)
def test_declarations_compute_nothing(path: Path) -> None:
    """Classes, constants and docstrings; at most private helpers that build a constant table."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        assert not isinstance(node, ast.For | ast.While | ast.Try | ast.With | ast.Lambda), (
            f"{path.name}:{node.lineno} computes"
        )
        if isinstance(node, ast.ClassDef):
            methods = [n.name for n in node.body if isinstance(n, ast.FunctionDef)]
            assert not methods, f"{path.name}: {node.name} has methods {methods}"
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        assert function.name.startswith("_"), f"{path.name}: {function.name}() is not a declaration"
        assert len(function.body) == 1, f"{path.name}: {function.name}() does more than declare"


@pytest.mark.parametrize("path", _spec_modules(), ids=lambda path: path.stem)
def test_declarations_import_nothing_but_their_tools(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("smmu_emu"):
            assert node.module == "smmu_emu.bits" or ".spec" in str(node.module), node.module


def _loaded_by(statement: str) -> set[str]:
    """Heavy packages in a fresh interpreter after a statement."""
    code = f"import sys; {statement}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import smmu_emu",
        "import smmu_emu.smmuv3",
        "import smmu_emu.memory, smmu_emu.port, smmu_emu.tlb, smmu_emu.clock",
    ],
)
def test_import_is_light(statement: str) -> None:
    """Heavy libraries load when they are used."""
    assert _loaded_by(statement) == set()


def test_devices_ask_before_they_build_an_event() -> None:
    """The tap costs nothing while nobody listens."""
    for path in _sources(EMULATOR):
        text = path.read_text()
        if ".tap.fault(" in text:
            assert "if self.tap.listeners" in text, path.name


@pytest.mark.parametrize("word", ["time", "random", "datetime", "secrets", "uuid"])
def test_nothing_in_the_device_depends_on_the_world(word: str) -> None:
    """Time is virtual and runs are deterministic: no clock and no dice in the SMMU's rooms."""
    for folder in (EMULATOR / "smmuv3", EMULATOR / "walk"):
        assert _importers(folder, word) == set()
    for name in ("tlb.py", "bits.py", "clock.py", "port.py", "memory.py", "transaction.py"):
        assert word not in set(_imports(EMULATOR / name)), name


def test_every_module_names_its_licence_and_its_purpose() -> None:
    for path in [*_sources(EMULATOR), *_sources(WRITER)]:
        text = path.read_text()
        assert text.startswith("# SPDX-License-Identifier: GPL-2.0-or-later\n"), path
        if len(text.splitlines()) > 1:
            assert ast.get_docstring(ast.parse(text)), f"{path}: no docstring"
