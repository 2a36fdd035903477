# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding the engine's private state, and being light until then."""

from __future__ import annotations

import subprocess
import sys

import pytest

from smmu_emu.cpu import layout
from smmu_emu.errors import EmulatorError
from tests.unit.cpu.core_helpers import RAM, STOP, Board


def test_counter_and_limit_are_neighbours():
    found = layout.find_layout()
    assert found.limit == found.counter + 1


def test_unknown_build_of_unicorn_is_refused_with_advice(monkeypatch):
    monkeypatch.setattr(layout, "_MARKS", [0x1111_2222_3333_4444] * 29)
    monkeypatch.setattr(layout, "_PC_MARK", 0x9999)
    monkeypatch.setattr(layout, "execute", lambda *arguments: None)
    with pytest.raises(EmulatorError, match=r"pip install unicorn==2\.1\.4"):
        layout.find_layout.__wrapped__()


def test_registers_agree_with_the_interface():
    board = Board(STOP)
    for number in range(31):
        board.core.set_x(number, 0x1000 + number)
        assert board.core._engine.get(f"X{number}") == 0x1000 + number
    board.core.write("SP", 0x7777)
    assert board.core._engine.get("SP") == board.core._engine.registers[31] == 0x7777
    assert board.core._engine.get("PC") == board.core.pc == RAM


@pytest.mark.parametrize("module", ["smmu_emu", "smmu_emu.cpu.aarch64", "smmu_emu.cpu.at"])
def test_importing_does_not_load_the_engine(module):
    script = f"import sys, {module}; sys.exit('unicorn' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
