# SPDX-License-Identifier: GPL-2.0-or-later
"""Code in flash: executed where it is, while the flash shows it; registers when it does not."""

from __future__ import annotations

from pathlib import Path

from smmu_emu.cpu.exit import ExitKind
from smmu_emu.machine import Machine
from tests.unit.cpu import a64

RAM = 0x4010_0000
FLASH_1 = 0x400_0000


def strb(rt: int, rn: int) -> int:
    """strb wT, [xN]"""
    return 0x3900_0000 | rn << 5 | rt


def ldrb(rt: int, rn: int) -> int:
    """ldrb wT, [xN]"""
    return 0x3940_0000 | rn << 5 | rt


POWER_OFF = [*a64.mov(0, 0x8400_0008), a64.hvc()]


def machine(*words: int | list[int]) -> Machine:
    """One that starts with this code in flash."""
    return Machine.virt(devices=(), bios=a64.code(*words))


def run(made: Machine) -> None:
    assert made.run(100_000).kind is ExitKind.POWER_OFF


def test_code_in_flash_runs_with_its_system_registers_watched() -> None:
    """The counter is virtual time there as well, which hooks on its instructions see to."""
    with machine(a64.mrs(5, 3, 3, 14, 0, 2), a64.mrs(6, 3, 3, 14, 0, 1), POWER_OFF) as made:
        run(made)
        assert made.core.pc == 0x1C
        assert made.core.x(5) <= made.core.x(6) < 1000


def test_tree_is_at_the_start_of_ram() -> None:
    with machine(POWER_OFF) as made:
        assert made.memory.read(0x4000_0000, 4) == b"\xd0\x0d\xfe\xed"
        run(made)


def test_first_store_turns_flash_into_registers() -> None:
    """From RAM: query mode shows Q where code was, read-array mode shows the code again."""
    code = a64.code(
        [*a64.mov(1, 0x154), *a64.mov(2, 0x98), strb(2, 1)],
        [*a64.mov(3, 0x40), ldrb(4, 3)],
        [*a64.mov(2, 0xFF), strb(2, 1), ldrb(5, 3)],
        POWER_OFF,
    )
    with machine([*a64.mov(9, RAM), a64.br(9)], [a64.NOP] * 11, [0x1122_33C7]) as made:
        made.load_blob(RAM, code)
        run(made)
        assert (made.core.x(4), made.core.x(5)) == (ord("Q"), 0xC7)
        made.reset()
        run(made)
        assert (made.core.x(4), made.core.x(5)) == (ord("Q"), 0xC7)


def test_code_programmed_into_flash_is_executed() -> None:
    """RAM erases a sector of the second bank, programs a branch there, and calls it."""
    program = a64.br(10)
    first, second = program & 0xFFFF, program >> 16
    strh = 0x7900_0000

    def store(value: int, at: int) -> list[int]:
        return [*a64.mov(1, at), *a64.mov(2, value), strh | 1 << 5 | 2]

    code = a64.code(
        [*store(0x20, FLASH_1), *store(0xD0, FLASH_1)],
        [*store(0x40, FLASH_1), *store(first, FLASH_1)],
        [*store(0x40, FLASH_1 + 2), *store(second, FLASH_1 + 2)],
        [*store(0xFF, FLASH_1), *a64.mov(9, FLASH_1), 0x1000_004A, a64.br(9)],  # adr x10, .+8
        POWER_OFF,
    )
    with machine([*a64.mov(9, RAM), a64.br(9)]) as made:
        made.load_blob(RAM, code)
        run(made)
        assert made.devices["flash1"].contents.view[:4] == program.to_bytes(4, "little")


def test_code_that_hides_itself_takes_an_abort() -> None:
    """Flash in query mode cannot be executed: the next fetch is an external abort at 0x200."""
    with machine([*a64.mov(1, 0x154), *a64.mov(2, 0x98), strb(2, 1), a64.NOP]) as made:
        result = made.run(100)
        assert result.kind is ExitKind.LOCKUP
        assert "instruction abort" in result.reason


def test_long_reads_are_memory_again() -> None:
    """A loop over 64 KiB of flash after a query: few loads are calls of the device."""
    loop = [ldrb(4, 1), a64.add(1, 1, 1), a64.sub(3, 3, 1), a64.cbnz(3, -3)]
    code = a64.code(
        [*a64.mov(1, FLASH_1), *a64.mov(2, 0x98), strb(2, 1), *a64.mov(2, 0xFF), strb(2, 1)],
        [*a64.mov(3, 1 << 16), *loop],
        POWER_OFF,
    )
    with machine([*a64.mov(9, RAM), a64.br(9)]) as made:
        made.load_blob(RAM, code)
        bank, calls = made.devices["flash1"], 0
        read = bank.read

        def counting(offset: int, size: int) -> int:
            nonlocal calls
            calls += 1
            return int(read(offset, size))

        bank.read = counting
        result = made.run(1_000_000)
        assert result.kind is ExitKind.POWER_OFF
        assert 0 < calls < 100


def test_snapshot_brings_the_flash_back() -> None:
    code = a64.code([*a64.mov(1, 0x154), *a64.mov(2, 0x98), strb(2, 1)], POWER_OFF)
    with machine([*a64.mov(9, RAM), a64.br(9)]) as made:
        made.load_blob(RAM, code)
        before = made.snapshot()
        run(made)
        assert not made.devices["flash0"].shows_contents
        after = made.snapshot()
        made.restore(before)
        assert made.devices["flash0"].shows_contents
        run(made)
        made.restore(after)
        assert made.memory.read(0x40, 1) == b"Q"


def test_dma_reads_flash_and_commands_it() -> None:
    with machine(POWER_OFF) as made:
        assert made.dma(1).read(0, 4) == a64.code(POWER_OFF)[:4]
        made.dma(1).write(0x154, b"\x98")
        assert made.dma(1).read(0x40, 1) == b"Q"


def test_snapshot_in_a_file_holds_what_was_programmed(tmp_path: Path) -> None:
    with machine(POWER_OFF) as made:
        bank = made.devices["flash1"]
        for value in (0x20, 0xD0, 0x40, 0x5A, 0x98):
            bank.write(0x8_0000, 1, value)
        made.snapshot().save(tmp_path / "flash.snap")
    with Machine.load_snapshot(tmp_path / "flash.snap") as again:
        bank = again.devices["flash1"]
        assert bank.read(0x40, 1) == ord("Q")
        bank.write(0, 1, 0xFF)
        assert bank.read(0x8_0000, 2) == 0xFF5A
        run(again)
