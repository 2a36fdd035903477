# SPDX-License-Identifier: GPL-2.0-or-later
"""A format from another distribution: installed into an environment of its own, and removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import pgtable

DIST = Path(__file__).parent / "distribution" / "amd_v1"
OTHERS = os.pathsep.join(
    [str(Path(pgtable.__file__).parent.parent), str(Path(np.__file__).parent.parent)]
)

ASK = """
import pgtable
print(pgtable.formats.status("AMD_IOMMU_V1").state.value)
try:
    cfg = pgtable.PageTableConfig(pgsize_bitmap=0x1000, ias=48, oas=48)
    with pgtable.alloc("AMD_IOMMU_V1", cfg) as table:
        print("made", table.fmt)
except pgtable.PgtableError as error:
    print(type(error).__name__, type(error.__cause__).__name__, error)
print(pgtable.formats.status("AMD_IOMMU_V1").state.value)
"""

WORK = """
from pgtable import *
tlb = FlushRecorder()
mem = Arena(0x4000_0000, 1 << 20)
cfg = PageTableConfig(pgsize_bitmap=0x1000, ias=64, oas=52, tlb=tlb)
table = alloc("AMD_IOMMU_V1", cfg, memory=mem)
table.map(0x1000, 0x8000_1000, 0x1000, Prot.READ | Prot.WRITE)
assert table.iova_to_phys(0x1234) == 0x8000_1234
# PR, FC, IR, IW; the walk down from level 3: each table's entry names the level below it
assert mem.words[0x2008 >> 3] == 0x7000_0000_8000_1001, hex(mem.words[0x2008 >> 3])
assert mem.words[0] == 0x6000_0000_4000_1401, hex(mem.words[0])
assert mem.words[0x1000 >> 3] == 0x6000_0000_4000_2201
# 16K: four entries of level 7, their size in the lowest zero bit of the address
table.map(0x4000, 0x9000_4000, 0x4000, Prot.READ)
assert mem.words[0x2020 >> 3] == 0x3000_0000_9000_5E01, hex(mem.words[0x2020 >> 3])
assert [tuple(run) for run in table.runs(0, 0x10000)] == [(0x1000, 0x1000, 1), (0x4000, 0x4000, 1)]
# six levels
assert table.regs.mode == 3
table.map(1 << 63, 0x1_0000_0000, 1 << 30, Prot.WRITE)
assert table.regs.mode == 6 and table.iova_to_phys((1 << 63) + 5) == 0x1_0000_0005
assert table.iova_to_phys(0x1234) == 0x8000_1234
try:
    table.map(0x5000, 0, 0x1000, Prot.READ)
except AlreadyMappedError as error:
    assert error.iova == 0x5000
try:
    unregister("AMD_IOMMU_V1")
except FormatInUseError as error:
    assert error.tables == 1
table.unmap(1 << 63, 1 << 30)
table.unmap(0x4000, 0x4000)
table.close()
assert mem.used == 0 and tlb.events[-1][0] == "flush_all"
try:
    alloc("AMD_IOMMU_V1", PageTableConfig(pgsize_bitmap=0x1000, ias=48, oas=48, quirks=1))
except ConfigRefusedError as error:
    print(error)
unregister("AMD_IOMMU_V1")
"""


class Environment:
    """A virtual environment that sees this package and what it needs."""

    def __init__(self, where: Path) -> None:
        venv.create(where, with_pip=False)
        self.python = where / "bin" / "python"
        for packages in where.glob("lib/python*/site-packages"):
            # An emptied folder would be removed, and then missing from a later process's path.
            (packages / "README").write_text("an environment of a test\n")

    def run(self, code: str, **variables: str) -> str:
        done = subprocess.run(
            [self.python, "-c", code],
            env={**os.environ, "PYTHONPATH": OTHERS, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pip(self, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--python", self.python, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    where = tmp_path_factory.mktemp("third-party")
    yield Environment(where / "venv")
    shutil.rmtree(where)


@pytest.fixture
def installed(environment: Environment, tmp_path: Path) -> Iterator[Environment]:
    source = tmp_path / "source"
    shutil.copytree(DIST, source)
    environment.pip("install", "--no-index", "--no-deps", str(source))
    yield environment
    environment.pip("uninstall", "--yes", "pgtable-amd-v1")


def test_a_format_nobody_has_installed_is_unknown(environment: Environment) -> None:
    first, second, third = environment.run(ASK).splitlines()
    assert (first, third) == ("unknown", "unknown")
    assert second.startswith("UnknownFormatError NoneType unknown page table format 'AMD_IOMMU_V1'")


def test_an_installed_format_loads_works_and_leaves_with_its_distribution(
    installed: Environment,
) -> None:
    assert installed.run(ASK).splitlines() == [
        "known, not asked for yet",
        "made AMD_IOMMU_V1",
        "loaded",
    ]
    assert installed.run(WORK) == "AMD_IOMMU_V1: quirks = 1 refused: this format has none\n"
    installed.pip("uninstall", "--yes", "pgtable-amd-v1")
    assert installed.run(ASK).splitlines()[0] == "unknown"


def test_an_installed_format_that_cannot_be_imported_says_why(installed: Environment) -> None:
    first, second, third = installed.run(ASK, PGTABLE_AMD_V1_BROKEN="1").splitlines()
    assert (first, third) == ("known, not asked for yet", "known, not loadable now")
    assert second == (
        "FormatNotLoadableError ImportError page table format 'AMD_IOMMU_V1' is provided by "
        "pgtable-amd-v1 1.2 but cannot be used now: "
        "ImportError: libamdvi.so.3: cannot open shared object file"
    )


def test_a_running_process_sees_a_new_distribution_after_refresh(
    environment: Environment, tmp_path: Path
) -> None:
    code = f"""
import subprocess, sys, pgtable
assert pgtable.formats.status("AMD_IOMMU_V1").state is pgtable.State.UNKNOWN
subprocess.run([{sys.executable!r}, "-m", "pip", "--python", sys.executable, "install", "--quiet",
    "--no-index", "--no-deps", {str(tmp_path / "source")!r}], check=True, env={dict(os.environ)!r})
assert pgtable.formats.status("AMD_IOMMU_V1").state is pgtable.State.UNKNOWN
pgtable.formats.refresh()
print(pgtable.formats.load("AMD_IOMMU_V1").name)
"""
    shutil.copytree(DIST, tmp_path / "source")
    try:
        assert environment.run(code) == "AMD_IOMMU_V1\n"
    finally:
        environment.pip("uninstall", "--yes", "pgtable-amd-v1")
