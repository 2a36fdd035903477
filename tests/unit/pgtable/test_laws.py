# SPDX-License-Identifier: GPL-2.0-or-later
"""What this package may import, and when."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pgtable

PACKAGE = Path(pgtable.__file__).parent
OUTSIDE = {"numpy"}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


def test_the_writers_import_nothing_of_the_emulator_and_little_else() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.parts[-2] not in ("pgtable", "formats"):
            continue
        others = imported(path) - set(sys.stdlib_module_names) - {"pgtable"} - OUTSIDE
        assert not others, f"{path.name} imports {sorted(others)}"


def fresh(code: str) -> str:
    """Run code in a new interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); {code}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_no_numpy_and_no_format() -> None:
    heavy = "[m for m in sys.modules if m.split('.')[0] == 'numpy' or 'formats.' in m]"
    assert fresh(f"import pgtable; print({heavy})") == "[]"
    assert fresh(f"import pgtable; pgtable.Arena(0, 4096); print({heavy})") == "[]"


def test_a_format_brings_no_other_family_along() -> None:
    code = (
        "import pgtable; pgtable.formats.load('APPLE_DART'); "
        "print([m for m in sys.modules if 'formats.' in m and ('lpae' in m or 'v7s' in m)])"
    )
    assert fresh(code) == "[]"


def test_every_public_name_is_there() -> None:
    for name in pgtable.__all__:
        assert hasattr(pgtable, name), name
