# SPDX-License-Identifier: GPL-2.0-or-later
"""What an installed package needs besides Python files is named in pyproject.toml."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_NEEDED = ("images/aarch32/*",)
"""Images that no command names."""


@pytest.mark.parametrize("package", ["smmu_emu", "pgtable"])
def test_every_file_that_is_no_module_is_packaged(package: str) -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = (*table["tool"]["setuptools"]["package-data"][package], *NOT_NEEDED)
    folder = ROOT / package
    links = [path for path in folder.iterdir() if path.is_symlink()]
    files = [*folder.rglob("*"), *(one for link in links for one in link.rglob("*"))]
    names = {
        str(path.relative_to(folder))
        for path in files
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert names
    assert [name for name in sorted(names) if not any(fnmatch(name, one) for one in patterns)] == []
