# SPDX-License-Identifier: GPL-2.0-or-later
"""A core behind the SMMU: its accesses are transactions, and faults reach the right instruction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pgtable import Arena, Prot
from smmu_emu.cpu.exit import ExitInfo, ExitKind
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.errors import ConfigurationError
from smmu_emu.machine import Machine, RunResult
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.smmuv3.device import Delays
from smmu_emu.smmuv3.spec.event import EventRecord
from smmu_emu.snapshot import Snapshot
from smmu_emu.transaction import Transaction
from tests.unit.cpu import a64

RAM = 0x4000_0000
SID = 0x20
TABLES_AT = 0x4800_0000
CODE_PA, CODE = 0x4100_0000, 0x10_0000_0000
VECTORS_PA, VECTORS = 0x4110_0000, 0x10_0010_0000
DATA_PA, DATA = 0x4200_0000, 0x20_0000_0000
SMMU_PA, SMMU = 0x0905_0000, 0x30_0000_0000
UART_PA, UART = 0x0900_0000, 0x30_1000_0000
BYPASSED = 0x4010_0000
NOT_MAPPED = 0x40_0000_0000

CMDQ_PROD, GBPA, CR0 = 0x98, 0x44, 0x20
GBPA_ABORT = 1 << 31 | 1 << 20
F_TRANSLATION, F_PERMISSION = 0x10, 0x13
SCTLR_EL1 = (3, 0, 1, 0, 0)
LDTR_X0_X1, STTR_X0_X1 = 0xF840_0820, 0xF800_0820
LDP_X4_X5_X1 = 0xA940_1424


class Rig:
    """A driver has mapped code, vectors that spin, data, the SMMU and the UART, all elsewhere."""

    def __init__(self, *words: int | list[int], **options: Any) -> None:
        self.machine = Machine.virt(
            ram=256 << 20, smmu_ids=PRESETS["full"], core_stream=SID, **options
        )
        self.smmu = self.machine.smmu
        self.put(CODE_PA, *words)
        self.put(VECTORS_PA + 0x200, a64.SPIN)
        self.put(VECTORS_PA + 0x400, a64.SPIN)
        arena = Arena(TABLES_AT, 4 << 20, self.machine.ram.view[TABLES_AT - RAM :])
        self.driver = Smmuv3Driver(self.smmu, arena)
        self.domain = self.driver.domain()
        for iova, pa in ((CODE, CODE_PA), (VECTORS, VECTORS_PA)):
            self.domain.map(iova, pa, 0x2000, Prot.READ)  # EL1 executes nothing EL0 may write
        for iova, pa, size in (
            (DATA, DATA_PA, 0x2000),
            (SMMU, SMMU_PA, 0x2_0000),
            (UART, UART_PA, 0x1000),
        ):
            self.domain.map(iova, pa, size)
        self.driver.attach(SID, self.domain)
        self.core = self.machine.core
        self.core.reset(CODE)
        self.core.write("VBAR_EL1", VECTORS)
        self.core.set_x(1, DATA)

    def put(self, pa: int, *words: int | list[int]) -> None:
        data = a64.code(*words)
        self.machine.ram.view[pa - RAM : pa - RAM + len(data)] = data

    def word64(self, pa: int) -> int:
        return self.machine.ram.words[(pa - RAM) // 8]

    def store64(self, pa: int, value: int) -> None:
        self.machine.ram.words[(pa - RAM) // 8] = value

    def run(self, limit: int = 1000) -> ExitInfo:
        return self.core.run(limit)

    def events(self) -> list[EventRecord]:
        return [EventRecord.from_bytes(data) for data in self.driver.events.drain()]

    @property
    def transactions(self) -> int:
        (port,) = [port for port in self.machine.dma_ports if port.memory.name == "core"]
        return port.transactions

    def unmap_by_the_core(self, iova: int) -> None:
        """Unmap a page, and leave to the core the doorbell (X3 at X2) that makes it take effect."""
        prod = self.driver.commands.prod
        self.domain.invalidate = False
        self.domain.unmap(iova, 0x1000)
        # TLBI_NH_VA, Leaf, for the domain's ASID
        where = self.driver.commands.base + 16 * (prod & 127)
        self.store64(where, 0x12 | self.domain.asid << 48)
        self.store64(where + 8, iova | 1)
        self.core.set_x(2, SMMU)
        self.core.set_x(3, prod + 1)


def fault(rig: Rig) -> tuple[int, int, int]:
    """ESR, FAR and ELR of the exception that the core took."""
    assert rig.core.pc in (VECTORS + 0x200, VECTORS + 0x400)
    read = rig.core.read
    return read("ESR_EL1"), read("FAR_EL1"), read("ELR_EL1")


# -- what passes


def test_core_executes_loads_and_stores_where_the_tables_say() -> None:
    rig = Rig(a64.ldr(0, 1), a64.add(0, 0, 1), a64.str_(0, 1, 8), a64.SPIN)
    rig.store64(DATA_PA, 41)
    rig.run(4)
    assert rig.word64(DATA_PA + 8) == 42
    assert rig.core.pc == CODE + 12
    assert not rig.events()


def test_first_access_of_each_kind_to_a_page_is_a_transaction() -> None:
    accesses = [a64.ldr(0, 1), a64.ldr(0, 1, 8), a64.str_(0, 1), a64.ldr(0, 1, 0x800)]
    rig = Rig(*accesses, a64.NOP, a64.SPIN)
    rig.run(6)
    assert rig.transactions == 3  # a fetch, a read, a write
    assert (rig.smmu.path.misses, rig.smmu.path.hits) == (2, 1)


def test_pages_of_one_block_hit_the_tlb_of_the_smmu() -> None:
    rig = Rig(*[a64.ldr(0, 1), a64.ldr(0, 2)], a64.SPIN)
    rig.domain.map(0x50_0000_0000, 0x4400_0000, 2 << 20)
    rig.core.set_x(1, 0x50_0000_0000)
    rig.core.set_x(2, 0x50_0001_0008)
    rig.run(2)
    assert rig.transactions == 3
    assert (rig.smmu.path.misses, rig.smmu.path.hits) == (2, 1)


def test_device_registers_are_reached_through_the_tables() -> None:
    rig = Rig(*a64.mov(0, ord("y")), a64.str_w(0, 1), a64.SPIN)
    rig.core.set_x(1, UART)
    rig.run(10)
    assert rig.machine.output == b"y"


def test_device_without_a_mapping_is_not_there() -> None:
    rig = Rig(a64.str_w(0, 1), a64.SPIN)
    rig.core.set_x(1, UART_PA)
    rig.run(10)
    assert fault(rig) == (0x9600_0050, UART_PA, CODE)
    assert rig.machine.output == b""


def test_unaligned_load_over_two_pages_takes_bytes_of_both() -> None:
    rig = Rig(a64.ldr(0, 1), a64.SPIN)
    rig.domain.unmap(DATA + 0x1000, 0x1000)
    rig.domain.map(DATA + 0x1000, 0x4300_0000, 0x1000)
    rig.store64(DATA_PA + 0xFF8, 0x1122_3344_5566_7788)
    rig.store64(0x4300_0000, 0x99AA_BBCC_DDEE_FF00)
    rig.core.set_x(1, DATA + 0xFFC)
    rig.run(1)
    assert rig.core.x(0) == 0xDDEE_FF00_1122_3344


def test_stage_2_alone_translates_a_core() -> None:
    rig = Rig(a64.ldr(0, 1), a64.SPIN)
    host = rig.driver.stage2()
    host.map(CODE_PA, CODE_PA, 0x1000)
    host.map(0x6000_0000, DATA_PA, 0x1000)
    rig.driver.attach(SID, host)
    rig.store64(DATA_PA, 7)
    rig.core.reset(CODE_PA)
    rig.core.set_x(1, 0x6000_0000)
    rig.run(1)
    assert rig.core.x(0) == 7


def test_substream_of_the_core_chooses_its_tables() -> None:
    rig = Rig(a64.ldr(0, 1), a64.SPIN, core_substream=3)
    spaces = rig.driver.substreams(bits=2)
    spaces[3] = rig.domain
    rig.driver.attach_substreams(SID, spaces)
    rig.store64(DATA_PA, 7)
    rig.run(1)
    assert rig.core.x(0) == 7


def test_core_passes_untranslated_before_the_smmu_is_enabled() -> None:
    with Machine.virt(core_stream=SID) as machine:
        machine.load(a64.code(a64.ldr(0, 1), a64.SPIN), load_address=BYPASSED)
        machine.run(0)
        machine.core.set_x(1, BYPASSED)
        machine.run(1)
        assert machine.core.x(0) & 0xFFFF_FFFF == a64.ldr(0, 1)


def test_transactions_are_made_at_the_time_of_their_instruction() -> None:
    rig = Rig(a64.NOP, a64.ldr(0, 1), a64.NOP, a64.br(3), a64.SPIN)
    rig.domain.map(NOT_MAPPED, CODE_PA, 0x1000, Prot.READ)
    rig.core.set_x(3, NOT_MAPPED + 16)
    times: list[tuple[int, int]] = []
    translate = rig.smmu.translate

    def timed(transaction: Transaction) -> object:
        times.append((transaction.iova, rig.machine.clock.now))
        return translate(transaction)

    rig.smmu.translate = timed  # type: ignore[method-assign, assignment]
    rig.machine.clock.advance(1000)
    rig.run(5)
    assert times == [(CODE, 1000), (DATA, 1001), (NOT_MAPPED + 16, 1004)]


# -- what does not


def test_load_from_nowhere_aborts_at_its_instruction() -> None:
    rig = Rig(a64.NOP, a64.ldr(0, 1, 0x18), a64.SPIN)
    rig.core.set_x(0, 5)
    rig.core.set_x(1, NOT_MAPPED)
    rig.run(10)
    assert fault(rig) == (0x9600_0010, NOT_MAPPED + 0x18, CODE + 4)
    assert rig.core.x(0) == 5
    (event,) = rig.events()
    assert (event.Number, event.StreamID, event.InputAddr) == (
        F_TRANSLATION,
        SID,
        NOT_MAPPED + 0x18,
    )
    assert (event.RnW, event.PnU, event.InD) == (1, 1, 0)


def test_store_to_a_read_only_page_aborts_as_a_write() -> None:
    rig = Rig(a64.ldr(0, 1), a64.str_(0, 1, 0x10), a64.SPIN)
    rig.domain.map(NOT_MAPPED, DATA_PA, 0x1000, Prot.READ)
    rig.core.set_x(1, NOT_MAPPED)
    rig.run(10)
    assert fault(rig) == (0x9600_0050, NOT_MAPPED + 0x10, CODE + 4)
    (event,) = rig.events()
    assert (event.Number, event.RnW) == (F_PERMISSION, 0)


def test_branch_to_nowhere_aborts_at_its_target() -> None:
    rig = Rig(a64.br(1))
    rig.core.set_x(1, NOT_MAPPED + 0x40)
    rig.run(10)
    assert fault(rig) == (0x8600_0010, NOT_MAPPED + 0x40, NOT_MAPPED + 0x40)
    (event,) = rig.events()
    assert (event.InputAddr, event.RnW, event.PnU, event.InD) == (NOT_MAPPED + 0x40, 1, 1, 1)


def test_fetch_from_a_page_without_execute_permission_aborts() -> None:
    rig = Rig(a64.br(1))
    rig.domain.map(NOT_MAPPED, CODE_PA, 0x1000, Prot.READ | Prot.WRITE | Prot.NOEXEC)
    rig.core.set_x(1, NOT_MAPPED)
    rig.run(10)
    assert fault(rig)[0] == 0x8600_0010
    assert [event.Number for event in rig.events()] == [F_PERMISSION]


def test_second_page_of_an_access_aborts_with_its_own_address() -> None:
    rig = Rig(LDP_X4_X5_X1, a64.SPIN)
    rig.domain.unmap(DATA + 0x1000, 0x1000)
    rig.core.set_x(1, DATA + 0xFF8)
    rig.core.set_x(4, 4)
    rig.run(10)
    assert fault(rig) == (0x9600_0010, DATA + 0x1000, CODE)
    assert rig.core.x(4) == 4
    assert [event.InputAddr for event in rig.events()] == [DATA + 0x1000]


def test_user_code_is_unprivileged() -> None:
    rig = Rig(a64.msr(0, 3, 0, 4, 0, 0), a64.msr(1, 3, 0, 4, 0, 1), a64.ERET)
    rig.domain.unmap(DATA, 0x1000)
    rig.domain.map(DATA, DATA_PA, 0x1000, Prot.READ | Prot.WRITE | Prot.PRIV)
    rig.domain.map(NOT_MAPPED, CODE_PA + 0x1000, 0x1000, Prot.READ)
    rig.put(CODE_PA + 0x1000, a64.ldr(0, 2))
    rig.core.set_x(0, 0x3C0)  # EL0
    rig.core.set_x(1, NOT_MAPPED)
    rig.core.set_x(2, DATA)
    rig.run(10)
    assert fault(rig) == (0x9200_0010, DATA, NOT_MAPPED)
    (event,) = rig.events()
    assert (event.Number, event.PnU) == (F_PERMISSION, 0)


@pytest.mark.parametrize("instruction", [LDTR_X0_X1, STTR_X0_X1])
def test_unprivileged_forms_at_el1_are_unprivileged(instruction: int) -> None:
    rig = Rig(a64.ldr(0, 1), a64.str_(0, 1), instruction, a64.SPIN)
    rig.domain.unmap(DATA, 0x1000)
    rig.domain.map(DATA, DATA_PA, 0x1000, Prot.READ | Prot.WRITE | Prot.PRIV)
    rig.run(10)
    assert fault(rig)[2] == CODE + 8
    (event,) = rig.events()
    assert (event.Number, event.PnU, event.RnW) == (F_PERMISSION, 0, instruction == LDTR_X0_X1)


def test_refusals_without_abort_read_zero_and_ignore_writes_every_time() -> None:
    rig = Rig(a64.ldr(0, 1), a64.str_(1, 1, 8), a64.ldr(3, 1), a64.SPIN)
    offset = rig.domain.cd_address - RAM
    word = int.from_bytes(rig.machine.ram.view[offset : offset + 8], "little")
    rig.store64(RAM + offset, word & ~(1 << 46))  # CD.A
    rig.core.set_x(0, 5)
    rig.core.set_x(3, 5)
    rig.core.set_x(1, NOT_MAPPED)
    rig.run(3)
    assert rig.core.pc == CODE + 12
    assert (rig.core.x(0), rig.core.x(3)) == (0, 0)
    assert [event.InputAddr - NOT_MAPPED for event in rig.events()] == [0, 8, 0]


def test_translation_to_nowhere_is_an_external_abort() -> None:
    rig = Rig(a64.ldr(0, 1, 8), a64.SPIN)
    rig.domain.map(NOT_MAPPED, 0x2_0000_0000, 0x1000)
    rig.core.set_x(1, NOT_MAPPED)
    rig.run(10)
    assert fault(rig) == (0x9600_0010, NOT_MAPPED + 8, CODE)
    assert not rig.events()


def test_core_that_may_not_fetch_its_vectors_is_stopped() -> None:
    rig = Rig(a64.ldr(0, 1), a64.SPIN)
    rig.domain.unmap(VECTORS, 0x2000)
    rig.core.set_x(1, NOT_MAPPED)
    assert rig.run(1000).kind is ExitKind.LOCKUP


# -- invalidation


def test_stale_hit_of_the_smmu_reaches_the_core_until_the_invalidation() -> None:
    rig = Rig(a64.ldr(0, 1), a64.b(-1))
    rig.run(10)
    rig.domain.invalidate = False
    rig.domain.unmap(DATA, 0x1000)
    rig.core.forget_translations()
    before = rig.smmu.path.hits
    rig.run(10)
    assert rig.smmu.path.hits == before + 2  # asked anew, and the SMMU still hits
    assert not rig.events()
    rig.driver.commands.issue(0x30)  # TLBI_NSNH_ALL
    rig.run(10)
    assert fault(rig)[:2] == (0x9600_0010, DATA)


def test_invalidation_of_what_the_smmu_does_not_hold_costs_nothing() -> None:
    rig = Rig(a64.ldr(0, 1), a64.b(-1))
    rig.run(10)
    before = rig.transactions
    rig.domain.unmap(DATA + 0x1000, 0x1000)
    rig.run(10)
    assert rig.transactions == before


def test_tlbi_by_the_core_takes_effect_at_the_next_instruction() -> None:
    rig = Rig(a64.ldr(0, 1), a64.str_w(3, 2, CMDQ_PROD), a64.ldr(0, 1), a64.SPIN)
    rig.run(1)
    rig.unmap_by_the_core(DATA)
    rig.run(10)
    assert fault(rig) == (0x9600_0010, DATA, CODE + 8)
    assert len(rig.events()) == 1


def test_core_may_take_its_own_code_away() -> None:
    rig = Rig(a64.NOP, a64.str_w(3, 2, CMDQ_PROD), a64.NOP, a64.SPIN)
    rig.run(1)
    rig.unmap_by_the_core(CODE)
    rig.run(10)
    assert fault(rig) == (0x8600_0010, CODE + 8, CODE + 8)


def test_late_command_takes_effect_at_its_time() -> None:
    doorbell = [a64.ldr(0, 1), a64.str_w(3, 2, CMDQ_PROD)]
    rig = Rig(*doorbell, a64.add(5, 5, 1), a64.ldr(0, 1), a64.b(-2))
    rig.run(1)
    rig.smmu.delays = Delays(commands=30)
    rig.unmap_by_the_core(DATA)
    rig.run(100)
    assert fault(rig) == (0x9600_0010, DATA, CODE + 12)
    assert rig.core.x(5) == 10 + 1  # 30 instructions, and on to the next load


def test_change_of_the_stream_reaches_the_core() -> None:
    rig = Rig(a64.ldr(0, 1), a64.b(-1))
    rig.run(10)
    rig.driver.detach(SID)
    assert rig.run(1000).kind is ExitKind.LOCKUP  # not even the vectors
    assert not rig.events()


def test_aborting_bypass_reaches_the_next_instruction() -> None:
    with Machine.virt(core_stream=SID) as machine:
        words = [a64.str_w(0, 2, GBPA), a64.NOP, a64.SPIN]
        machine.load(a64.code(*words), load_address=BYPASSED)
        machine.run(0)
        machine.core.set_x(0, GBPA_ABORT)
        machine.core.set_x(2, SMMU_PA)
        assert machine.run(20).kind is ExitKind.LOCKUP
        assert machine.core.read("ELR_EL1") == 0x200
        assert machine.smmu.path.misses == 0


def test_switching_the_smmu_off_reaches_the_next_instruction() -> None:
    rig = Rig(a64.str_w(31, 2, CR0), a64.NOP, a64.SPIN)
    rig.core.set_x(2, SMMU)
    assert rig.run(20).kind is ExitKind.LOCKUP
    assert ("nothing", CODE + 4) in [(site.where, site.pa) for site in rig.machine.unmodelled]


def test_smmu_with_a_single_entry_gets_the_core_on() -> None:
    rig = Rig(a64.ldr(0, 1), a64.add(5, 5, 1), a64.str_(5, 2), a64.b(-3))
    rig.smmu.tlb.capacity = 1
    rig.core.set_x(2, DATA + 0x1000)
    rig.run(400)
    assert rig.word64(DATA_PA + 0x1000) == 100
    assert not rig.events()


def test_dma_into_code_that_runs_elsewhere_is_executed() -> None:
    rig = Rig(a64.add(5, 5, 1), a64.b(-1))
    rig.run(10)
    assert rig.machine.memory.write(CODE_PA, a64.code(a64.add(5, 5, 2)))
    before = rig.core.x(5)
    rig.run(10)
    assert rig.core.x(5) == before + 10


def test_run_in_pieces_is_the_same_run() -> None:
    def trace(pieces: int) -> tuple[int, ...]:
        rig = Rig(a64.ldr(0, 1), a64.str_(5, 1), a64.add(5, 5, 1), a64.b(-3))
        for _ in range(pieces):
            rig.run(120 // pieces)
        path = rig.smmu.path
        return rig.transactions, path.hits, path.misses, rig.core.x(5), rig.machine.clock.now

    assert trace(1) == trace(120)


# -- the rest


def test_snapshot_keeps_what_the_smmu_answered() -> None:
    rig = Rig(a64.ldr(0, 1), a64.str_(5, 2), a64.add(5, 5, 1), a64.b(-3))
    rig.core.set_x(2, DATA + 0x1000)
    rig.run(3)
    snapshot = rig.machine.snapshot()

    def rest() -> tuple[int, ...]:
        rig.run(20)
        return rig.transactions, rig.smmu.path.hits, rig.core.x(5), rig.core.pc

    first = rest()
    rig.driver.detach(SID)
    rig.machine.restore(snapshot)
    assert rest() == first
    assert not rig.events()


def test_snapshot_in_a_file_keeps_what_the_smmu_answered(tmp_path: Path) -> None:
    def made(snapshot: Path | None) -> tuple[int, ...]:
        rig = Rig(a64.ldr(0, 1), a64.str_(5, 2), a64.add(5, 5, 1), a64.b(-3))
        rig.core.set_x(2, DATA + 0x1000)
        if snapshot is None:
            rig.run(3)
            rig.machine.snapshot().save(tmp_path / "snapshot")
        else:
            rig.machine.restore(Snapshot.load(snapshot))
        rig.run(20)
        return rig.transactions, rig.smmu.path.hits, rig.core.x(5), rig.core.pc

    assert made(None) == made(tmp_path / "snapshot")


def test_debugger_looks_without_a_transaction() -> None:
    rig = Rig(a64.NOP, a64.SPIN)
    rig.store64(DATA_PA, 0x0102_0304)
    assert rig.core.read_virtual(DATA, 4) == b"\x04\x03\x02\x01"
    assert rig.core.read_virtual(NOT_MAPPED, 4) is None
    assert rig.core.translate(DATA + 0x123) == DATA_PA + 0x123
    assert (rig.transactions, rig.smmu.path.misses, len(rig.smmu.tlb)) == (0, 0, 0)
    assert not rig.events()


def test_breakpoint_is_at_the_address_that_the_core_uses() -> None:
    rig = Rig(a64.NOP, a64.NOP, a64.NOP, a64.SPIN)
    rig.core.add_breakpoint(CODE + 8)
    assert rig.run().kind is ExitKind.BREAKPOINT
    assert rig.core.pc == CODE + 8


def test_enabling_the_own_mmu_is_told_of() -> None:
    rig = Rig(a64.msr(0, *SCTLR_EL1), a64.ISB, a64.ldr(0, 1), a64.SPIN)
    rig.core.set_x(0, rig.core.read("SCTLR_EL1") | 1)
    rig.store64(DATA_PA, 7)
    rig.run(4)
    assert rig.core.x(0) == 7
    (site,) = rig.machine.unmodelled
    assert site.pc == CODE
    assert "no MMU of its own" in site.where


def test_reset_of_the_machine_forgets_everything() -> None:
    with Machine.virt(core_stream=SID) as machine:
        machine.load(a64.code(a64.NOP, a64.SPIN), load_address=BYPASSED)

        def counts() -> tuple[RunResult, int]:
            result = machine.run(5)
            return result, sum(port.transactions for port in machine.dma_ports)

        first = counts()
        machine.reset()
        assert counts() == first
        assert first[1] == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"core_stream": 1 << 32}, "StreamID 0x100000000"),
        ({"core_stream": -1}, "StreamID -0x1"),
        ({"core_stream": 1, "core_substream": 1 << 20}, "SubstreamID 0x100000"),
        ({"core_substream": 1}, "needs a StreamID"),
        ({"core_stream": 1, "iommu": None}, "this machine has none"),
    ],
)
def test_core_stream_that_cannot_be_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Machine.virt(**options)
