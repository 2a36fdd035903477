# SPDX-License-Identifier: GPL-2.0-or-later
"""The DMA engine: registers and descriptors as docs/dma_engine.md says, in literal words."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from smmu_emu.devices import dma_engine
from smmu_emu.devices.dma_descriptor import Descriptor
from smmu_emu.devices.dma_engine import DmaEngine
from smmu_emu.devices.pcie_host import PcieHost
from smmu_emu.memory import PhysicalMemory
from smmu_emu.transaction import Attributes, Fault, Transaction, Translation
from tests.unit.smmuv3 import rig as smmu

DOC = Path(__file__).resolve().parents[3] / "docs" / "dma_engine.md"

RAM, WINDOW = 0x4000_0000, 0x1000_0000
TABLE, SOURCE, TARGET = RAM + 0x1000, RAM + 0x4000, RAM + 0x8000
FORBIDDEN, NOBODY = 0x8000_0000, 0x2000_0000

MAGIC, CHANNELS, FEATURES, CONTROL, ATC_ENTRIES, ATS_REQUESTS, INVALIDATIONS, RESPONSES = range(
    0, 0x20, 4
)
COMMAND, STATUS, COMPLETED, COUNT, TABLE_LO, TABLE_HI, ACCESS, MSI_DATA = range(0, 0x20, 4)
MSI_LO, MSI_HI, REFUSED_LO, REFUSED_HI = range(0x20, 0x30, 4)
BUSY, DONE, FETCH_REFUSED, TRANSFER_FAILED, RESULT_REFUSED = range(1, 6)
NOTHING, READ, COPY, FILL = range(4)
PRIVILEGED, SSV, CAN_WAIT, ATS = 0x10, 0x20, 0x40, 0x80
NOT_RUN, OK, READ_REFUSED, WRITE_REFUSED, BAD_DESCRIPTOR = range(5)


class Recording:
    """Passes addresses below `FORBIDDEN` through and refuses the others; keeps what it saw.

    Transactions to the addresses in ``held`` wait until `release`.
    """

    def __init__(self) -> None:
        self.log: list[Transaction] = []
        self.held: set[int] = set()
        self.waiting: list[tuple[Transaction, Callable[[Translation | Fault], None]]] = []

    def translate(self, transaction: Transaction) -> Translation | Fault:
        self.log.append(transaction)
        if transaction.iova >= FORBIDDEN:
            return Fault(0x10, transaction)
        return Translation(transaction.iova, 12, Attributes(0xFF, 3))

    def submit(
        self, transaction: Transaction, answer: Callable[[Translation | Fault], None]
    ) -> Translation | Fault:
        if transaction.iova & -0x1000 in self.held:
            self.waiting.append((transaction, answer))
            return Fault(0x10, transaction, stag=len(self.waiting))
        return self.translate(transaction)

    def release(self) -> None:
        self.held.clear()
        waiting, self.waiting = self.waiting, []
        for transaction, answer in waiting:
            answer(self.translate(transaction))

    def translate_range(self, example: Transaction, size: int) -> None:
        return None


class Rig:
    """An engine on a host with 64 KiB of RAM, its registers in a window."""

    def __init__(self) -> None:
        self.memory = PhysicalMemory()
        self.memory.add_ram(RAM, 0x1_0000)
        self.unit = Recording()
        self.host = PcieHost(self.memory, self.unit)
        self.memory.add_device(WINDOW, 0x1_0000, self.host.aperture(WINDOW), "window")
        self.reported: list[tuple[int, str]] = []
        self.engine = DmaEngine(lambda offset, kind: self.reported.append((offset, kind)))
        self.host.add(self.engine, "00:02.0")
        self.enable()

    def enable(self, command: int = 6) -> None:
        self.host.ecam.write(0x10010, 4, WINDOW)
        self.host.ecam.write(0x10004, 4, command)

    def get(self, register: int, channel: int | None = None) -> int:
        data = self.memory.read(WINDOW + _place(register, channel), 4)
        assert data is not None
        return int.from_bytes(data, "little")

    def set(self, register: int, value: int, channel: int | None = 0) -> None:
        assert self.memory.write(WINDOW + _place(register, channel), value.to_bytes(4, "little"))

    def describe(self, index: int, *words: int, table: int = TABLE) -> None:
        assert self.memory.write(table + 64 * index, descriptor(*words))

    def start(self, count: int = 1, channel: int = 0, table: int = TABLE) -> int:
        """Run a table; the channel's STATUS."""
        self.set(COUNT, count, channel)
        self.set(TABLE_LO, table & 0xFFFF_FFFF, channel)
        self.set(TABLE_HI, table >> 32, channel)
        self.set(COMMAND, 1, channel)
        return self.get(STATUS, channel)

    def result(self, index: int = 0, table: int = TABLE) -> tuple[int, ...]:
        """VALUE, RESULT, MOVED and REFUSED of a descriptor."""
        data = self.memory.read(table + 64 * index + 24, 24)
        assert data is not None
        return struct.unpack("<QB3xIQ", data)


def _place(register: int, channel: int | None) -> int:
    return register if channel is None else 0x100 + 0x80 * channel + register


def descriptor(
    flags: int, length: int = 0, source: int = 0, target: int = 0, value: int = 0
) -> bytes:
    return struct.pack("<IIQQQ32s", flags, length, source, target, value, b"\xcc" * 32)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_configuration_space_names_the_engine(rig: Rig) -> None:
    assert rig.host.ecam.read(0x10000, 4) == 0x5D4A_1234
    assert rig.host.ecam.read(0x10008, 4) == 0x0880_0000
    rig.host.ecam.write(0x10010, 4, 0xFFFF_FFFF)
    assert rig.host.ecam.read(0x10010, 4) == 0xFFFF_F000


def test_registers_after_reset(rig: Rig) -> None:
    assert [rig.get(offset) for offset in range(0, 0x20, 4)] == [0x3141_4D44, 8, 0, 0, 0, 0, 0, 0]
    for channel in range(8):
        assert [rig.get(offset, channel) for offset in range(0, 0x30, 4)] == [0] * 12


def test_registers_hold_what_the_document_says_they_hold(rig: Rig) -> None:
    for channel in range(8):
        for offset in range(0, 0x30, 4):
            if offset != COMMAND:
                rig.set(offset, 0xFFFF_FFFF, channel)
    held = {COUNT: 0x1FF, TABLE_LO: 0xFFFF_FFC0, ACCESS: 0xFFFF_F0F0, MSI_LO: 0xFFFF_FFFC}
    held |= dict.fromkeys((TABLE_HI, MSI_DATA, MSI_HI), 0xFFFF_FFFF)
    for channel in range(8):
        values = {offset: rig.get(offset, channel) for offset in range(0, 0x30, 4)}
        assert values == dict.fromkeys(range(0, 0x30, 4), 0) | held


def test_offsets_without_a_register_are_told(rig: Rig) -> None:
    assert rig.get(0x20) == 0
    rig.set(0x500, 1, None)
    assert rig.reported == [(0x20, "read"), (0x500, "write")]


def test_copy_moves_bytes_and_writes_its_result(rig: Rig) -> None:
    rig.memory.write(SOURCE + 3, bytes(range(100)))
    rig.describe(0, COPY, 100, SOURCE + 3, TARGET + 5)
    assert rig.start() == DONE
    assert rig.memory.read(TARGET + 4, 102) == b"\0" + bytes(range(100)) + b"\0"
    assert rig.result() == (0x0706_0504_0302_0100, OK, 100, 0)
    assert rig.memory.read(TABLE, 24) == descriptor(COPY, 100, SOURCE + 3, TARGET + 5)[:24]
    assert rig.memory.read(TABLE + 48, 16) == b"\xcc" * 16
    assert rig.get(COMPLETED, 0) == 1


def test_fill_repeats_its_value_across_pages(rig: Rig) -> None:
    rig.describe(0, FILL, 9, 0, TARGET + 0xFFD, 0x8877_6655_4433_2211)
    assert rig.start() == DONE
    assert (
        rig.memory.read(TARGET + 0xFFC, 11) == b"\0" + bytes.fromhex("112233445566778811") + b"\0"
    )
    writes = [t for t in rig.unit.log if t.iova >= TARGET]
    assert [(t.iova, t.write) for t in writes] == [(TARGET + 0xFFD, True), (TARGET + 0x1000, True)]


def test_read_gives_the_first_bytes_and_writes_nothing(rig: Rig) -> None:
    rig.memory.write(SOURCE, bytes.fromhex("0102030405060708090a"))
    rig.describe(0, READ, 10, SOURCE, TARGET, 0xFFFF)
    rig.describe(1, READ, 3, SOURCE + 1, TARGET, 0xFFFF)
    assert rig.start(2) == DONE
    assert rig.result(0) == (0x0807_0605_0403_0201, OK, 10, 0)
    assert rig.result(1) == (0x04_0302, OK, 3, 0)
    assert rig.memory.read(TARGET, 16) == bytes(16)


def test_copy_is_cut_at_pages_of_both_sides(rig: Rig) -> None:
    data = bytes(i * 7 & 0xFF for i in range(0x2000))
    rig.memory.write(SOURCE, data)
    rig.describe(0, COPY, 0x1800, SOURCE + 0x700, TARGET + 0x300)
    assert rig.start() == DONE
    assert rig.memory.read(TARGET + 0x300, 0x1800) == data[0x700:0x1F00]
    log = [t.iova for t in rig.unit.log if t.iova >= SOURCE]
    assert log == [
        *(SOURCE + 0x700, TARGET + 0x300),
        *(SOURCE + 0x1000, TARGET + 0xC00),
        *(SOURCE + 0x1400, TARGET + 0x1000),
    ]


def test_nothing_moves_nothing_and_is_done(rig: Rig) -> None:
    rig.describe(0, NOTHING, 100, FORBIDDEN, FORBIDDEN)
    rig.describe(1, COPY, 0, FORBIDDEN, FORBIDDEN)
    assert rig.start(2) == DONE
    assert rig.result(0)[1:] == (OK, 0, 0)
    assert rig.result(1)[1:] == (OK, 0, 0)


@pytest.mark.parametrize(
    ("flags", "substream_id", "privileged"),
    [
        (0, None, False),
        (PRIVILEGED, None, True),
        (SSV, 0, False),
        (SSV | 0xFFFFF << 12, 0xFFFFF, False),
        (SSV | PRIVILEGED | CAN_WAIT | 5 << 12, 5, True),
        (5 << 12, None, False),
    ],
)
def test_accesses_carry_what_descriptor_and_channel_say(
    rig: Rig, flags: int, substream_id: int | None, privileged: bool
) -> None:
    rig.describe(0, COPY | flags, 4, SOURCE, TARGET)
    assert rig.start() == DONE
    data = [t for t in rig.unit.log if t.iova >= SOURCE]
    assert data == [
        Transaction(0x10, SOURCE, False, privileged, False, substream_id),
        Transaction(0x10, TARGET, True, privileged, False, substream_id),
    ]
    table = [t for t in rig.unit.log if t.iova < SOURCE]
    assert table == [Transaction(0x10, TABLE), Transaction(0x10, TABLE + 24, True)]
    rig.unit.log.clear()
    rig.set(ACCESS, flags)
    rig.describe(0, NOTHING)
    assert rig.start() == DONE
    assert [(t.substream_id, t.privileged) for t in rig.unit.log] == [
        (substream_id, privileged)
    ] * 2


def test_refused_read_stops_the_channel(rig: Rig) -> None:
    rig.describe(0, FILL, 4, 0, TARGET, 7)
    rig.describe(1, READ, 4, FORBIDDEN + 0x123)
    rig.describe(2, FILL, 4, 0, TARGET + 4, 7)
    assert rig.start(3) == TRANSFER_FAILED
    assert rig.get(COMPLETED, 0) == 1
    assert rig.result(1)[1:] == (READ_REFUSED, 0, FORBIDDEN + 0x123)
    assert (rig.get(REFUSED_LO, 0), rig.get(REFUSED_HI, 0)) == (FORBIDDEN + 0x123, 0)
    assert rig.result(2)[1] == 0xCC
    assert rig.memory.read(TARGET, 8) == b"\x07" + bytes(7)


def test_refused_write_tells_how_far_it_came(rig: Rig) -> None:
    rig.describe(0, FILL, 0x3000, 0, RAM + 0xF000, 0x55)
    rig.unit.translate = lambda t: (  # type: ignore[method-assign]
        Fault(0x10, t) if t.iova == RAM + 0x1_0000 else Translation(t.iova, 12, Attributes(0, 0))
    )
    assert rig.start() == TRANSFER_FAILED
    assert rig.result() == (0x55, WRITE_REFUSED, 0x1000, RAM + 0x1_0000)
    assert rig.memory.read(RAM + 0xFFF8, 8) == b"\x55" + bytes(7)


def test_external_abort_is_a_refusal(rig: Rig) -> None:
    rig.describe(0, READ, 4, NOBODY)
    assert rig.start() == TRANSFER_FAILED
    assert rig.result()[1:] == (READ_REFUSED, 0, NOBODY)


def test_refused_descriptor_stops_the_channel(rig: Rig) -> None:
    assert rig.start(table=FORBIDDEN + 0x40) == FETCH_REFUSED
    assert (rig.get(REFUSED_LO, 0), rig.get(REFUSED_HI, 0)) == (FORBIDDEN + 0x40, 0)
    assert rig.get(COMPLETED, 0) == 0


def test_refused_result_stops_the_channel(rig: Rig) -> None:
    rig.describe(0, FILL, 4, 0, TARGET, 7)
    rig.unit.translate = lambda t: (  # type: ignore[method-assign]
        Fault(0x13, t) if t.write and t.iova < SOURCE else Translation(t.iova, 12, Attributes(0, 0))
    )
    assert rig.start() == RESULT_REFUSED
    assert rig.get(REFUSED_LO, 0) == TABLE + 24
    assert rig.memory.read(TARGET, 1) == b"\x07"
    assert rig.get(COMPLETED, 0) == 0


@pytest.mark.parametrize(
    ("flags", "length"), [(4, 4), (15, 0), (FILL, (16 << 20) + 1), (COPY, 0xFFFF_FFFF)]
)
def test_descriptor_without_sense_is_refused(rig: Rig, flags: int, length: int) -> None:
    rig.describe(0, flags, length, SOURCE, TARGET, 1)
    assert rig.start() == TRANSFER_FAILED
    assert rig.result() == (1, BAD_DESCRIPTOR, 0, 0)
    assert rig.memory.read(TARGET, 1) == b"\0"


def test_count_of_zero_is_done_at_once_and_large_ones_are_cut(rig: Rig) -> None:
    assert rig.start(0) == DONE
    assert rig.unit.log == []
    assert rig.start(0x1FF) == DONE
    assert rig.get(COMPLETED, 0) == 256


def test_table_wraps_at_the_end_of_addresses(rig: Rig) -> None:
    assert rig.start(2, table=(1 << 64) - 64) == FETCH_REFUSED
    assert (rig.get(REFUSED_LO, 0), rig.get(REFUSED_HI, 0)) == (0xFFFF_FFC0, 0xFFFF_FFFF)
    rig.unit.translate = lambda t: Translation(  # type: ignore[method-assign]
        RAM + 0x2000 + (t.iova & 0xFFF), 12, Attributes(0, 0)
    )
    assert rig.start(2, table=(1 << 64) - 64) == DONE


def test_start_needs_the_bus_master_bit(rig: Rig) -> None:
    rig.enable(2)
    rig.describe(0, FILL, 4, 0, TARGET, 7)
    assert rig.start() == 0
    assert rig.unit.log == []
    assert rig.reported == [(0, "START while the command register's bus-master bit is 0")]
    rig.enable(6)
    rig.set(COMMAND, 0)
    assert rig.get(STATUS, 0) == 0
    assert rig.start() == DONE


# -- waiting


def test_access_that_cannot_wait_is_never_held(rig: Rig) -> None:
    rig.unit.held = {TARGET}
    rig.describe(0, FILL, 4, 0, TARGET, 7)
    assert rig.start() == DONE


def test_channel_waits_for_a_held_access_and_goes_on(rig: Rig) -> None:
    rig.unit.held = {TARGET}
    rig.describe(0, CAN_WAIT | FILL, 4, 0, TARGET, 7)
    rig.describe(1, FILL, 4, 0, TARGET + 4, 8)
    assert rig.start(2) == BUSY
    assert rig.result()[1] == 0xCC
    rig.set(COMMAND, 1)
    assert len(rig.unit.waiting) == 1
    rig.unit.release()
    assert rig.get(STATUS, 0) == DONE
    assert rig.get(COMPLETED, 0) == 2
    assert rig.memory.read(TARGET, 8) == bytes.fromhex("0700000008000000")


def test_held_fetch_and_result_go_on_as_well(rig: Rig) -> None:
    rig.set(ACCESS, CAN_WAIT)
    rig.unit.held = {TABLE}
    rig.describe(0, FILL, 4, 0, TARGET, 7)
    assert rig.start() == BUSY
    rig.unit.held = {TABLE}
    waiting, rig.unit.waiting = rig.unit.waiting, []
    for transaction, answer in waiting:
        answer(rig.unit.translate(transaction))
    assert rig.get(STATUS, 0) == BUSY
    assert rig.memory.read(TARGET, 1) == b"\x07"
    assert rig.result()[1] == 0xCC
    rig.unit.release()
    assert rig.get(STATUS, 0) == DONE
    assert rig.result()[1] == OK


def test_several_channels_wait_at_once(rig: Rig) -> None:
    for channel in range(8):
        table, page = TABLE + 64 * channel, TARGET + 0x1000 * (channel % 7)
        rig.unit.held.add(page)
        rig.describe(0, CAN_WAIT | FILL, 4, 0, page + 8 * channel, channel + 1, table=table)
        assert rig.start(1, channel, table) == BUSY
    rig.unit.release()
    assert [rig.get(STATUS, channel) for channel in range(8)] == [DONE] * 8


def test_held_access_that_is_refused_in_the_end(rig: Rig) -> None:
    rig.unit.held = {FORBIDDEN}
    rig.describe(0, CAN_WAIT | READ, 4, FORBIDDEN)
    assert rig.start() == BUSY
    rig.unit.release()
    assert rig.get(STATUS, 0) == TRANSFER_FAILED
    assert rig.result()[1:] == (READ_REFUSED, 0, FORBIDDEN)


def test_reset_forgets_what_waits(rig: Rig) -> None:
    rig.unit.held = {TARGET}
    rig.describe(0, CAN_WAIT | FILL, 4, 0, TARGET, 7)
    assert rig.start() == BUSY
    rig.engine.reset()
    rig.enable()
    assert rig.get(STATUS, 0) == 0
    rig.unit.release()
    assert rig.get(STATUS, 0) == 0
    rig.describe(0, FILL, 4, 0, TARGET, 7)
    assert rig.start() == DONE


# -- completion


def test_message_follows_the_state(rig: Rig) -> None:
    seen: list[int] = []
    memory_write = rig.engine.dma.memory.write

    def write(pa: int, data: bytes | memoryview) -> bool:
        if pa == SOURCE:
            seen.append(rig.engine.block.values["0.STATUS"])
        return memory_write(pa, data)

    rig.engine.dma.memory.write = write
    rig.set(MSI_LO, SOURCE)
    rig.set(MSI_DATA, 0x1122_3344)
    rig.describe(0, NOTHING)
    assert rig.start() == DONE
    assert rig.memory.read(SOURCE, 8) == bytes.fromhex("4433221100000000")
    assert seen == [DONE]
    assert rig.unit.log[-1] == Transaction(0x10, SOURCE, True)


def test_message_is_sent_after_failure_too_and_may_be_lost(rig: Rig) -> None:
    rig.set(MSI_LO, SOURCE)
    rig.set(MSI_DATA, 9)
    assert rig.start(table=FORBIDDEN) == FETCH_REFUSED
    assert rig.memory.read(SOURCE, 1) == b"\x09"
    rig.set(MSI_LO, FORBIDDEN)
    assert rig.start(0) == 0x100 | DONE
    rig.set(MSI_LO, 0)
    assert rig.start(0) == DONE


def test_engine_cannot_reach_its_own_registers(rig: Rig) -> None:
    """Else channels could start each other for ever."""
    rig.set(MSI_LO, WINDOW + 0x180)
    rig.set(MSI_DATA, 1)
    rig.describe(0, FILL, 4, 0, WINDOW + 0x180, 1)
    rig.describe(1, READ, 4, WINDOW)
    assert rig.start(1) == 0x100 | TRANSFER_FAILED
    assert rig.result()[1:] == (WRITE_REFUSED, 0, WINDOW + 0x180)
    assert rig.start(1, table=TABLE + 64) == 0x100 | TRANSFER_FAILED
    assert rig.get(STATUS, 1) == 0


# -- behind an SMMU


SID = 0x10
IOVA = 0x20_0000


class Behind:
    """An engine behind a real SMMUv3, stage 1 with identity for the table and one page to play."""

    def __init__(self, ids: dict[str, int], **cd: int) -> None:
        self.bench, self.tree = smmu.stage1_bench(smmu.make_ids(**ids), **cd)
        self.bench.ste(SID, **{**smmu.S1_STE, "EATS": 1})
        self.host = PcieHost(self.bench.memory, self.bench.smmu)
        self.engine = DmaEngine()
        self.host.add(self.engine, "00:02.0")
        self.host.ecam.write(0x10004, 4, 6)
        self.page = self.bench.alloc(0x1000)
        self.table = self.bench.alloc(0x1000)
        self.tree.page(self.table, self.table)

    def start(self, *words: int, channel: int = 0) -> int:
        assert self.bench.memory.write(self.table + 64 * channel, descriptor(*words))
        base = 0x100 + 0x80 * channel
        self.engine.write(base + COUNT, 4, 1)
        self.engine.write(base + TABLE_LO, 8, self.table + 64 * channel)
        self.engine.write(base + COMMAND, 4, 1)
        return self.engine.read(base + STATUS, 4) or 0

    def status(self, channel: int = 0) -> int:
        return self.engine.read(0x100 + 0x80 * channel + STATUS, 4) or 0

    def result(self, channel: int = 0) -> int:
        data = self.bench.memory.read(self.table + 64 * channel + 32, 1)
        assert data is not None
        return data[0]

    def word(self, pa: int) -> int | None:
        return self.bench.memory.read_u64(pa)


def test_stalled_access_is_resumed_by_command() -> None:
    behind = Behind({"STALL_MODEL": 0}, S=1)
    assert behind.start(CAN_WAIT | FILL, 8, 0, IOVA, 0x99) == BUSY
    (record,) = behind.bench.events()
    event = smmu.get(smmu.literals.EVENT, record)
    assert (event["Number"], event["Stall"], event["InputAddr"]) == (0x10, 1, IOVA)
    behind.tree.page(IOVA, behind.page)
    behind.bench.do(smmu.cmd("RESUME", StreamID=SID, STAG=event["STAG"], Ac=1))
    assert (behind.status(), behind.result()) == (DONE, OK)
    assert behind.word(behind.page) == 0x99


def test_stalled_access_is_ended_by_command() -> None:
    behind = Behind({"STALL_MODEL": 0, "STALL_MAX": 4}, S=1)
    assert behind.start(CAN_WAIT | FILL, 8, 0, IOVA, 0x99) == BUSY
    assert behind.start(CAN_WAIT | READ, 8, IOVA, channel=1) == BUSY
    behind.bench.do(smmu.cmd("STALL_TERM", StreamID=SID))
    assert (behind.status(), behind.result()) == (TRANSFER_FAILED, WRITE_REFUSED)
    assert (behind.status(1), behind.result(1)) == (TRANSFER_FAILED, READ_REFUSED)


def test_ats_keeps_translations_until_they_are_invalidated() -> None:
    behind = Behind({"ATS": 1})
    engine = behind.engine
    behind.tree.page(IOVA, behind.page)
    assert engine.read(FEATURES, 4) == 1
    engine.write(CONTROL, 4, 1)
    assert engine.read(CONTROL, 4) == 1
    assert behind.start(ATS | FILL, 8, 0, IOVA, 0x11) == DONE
    assert behind.start(ATS | FILL, 8, 0, IOVA + 8, 0x22) == DONE
    assert (behind.word(behind.page), behind.word(behind.page + 8)) == (0x11, 0x22)
    assert [engine.read(r, 4) for r in (ATC_ENTRIES, ATS_REQUESTS, INVALIDATIONS)] == [1, 1, 0]
    behind.tree.set(IOVA, 3, 0)
    behind.bench.do(smmu.cmd("TLBI_NSNH_ALL"))
    assert behind.start(ATS | FILL, 8, 0, IOVA, 0x33) == DONE
    behind.bench.do(smmu.cmd("ATC_INV", StreamID=SID, Address=IOVA & -0x1000, Size=0))
    assert [engine.read(r, 4) for r in (ATC_ENTRIES, ATS_REQUESTS, INVALIDATIONS)] == [0, 1, 1]
    assert behind.start(ATS | FILL, 8, 0, IOVA, 0x44) == TRANSFER_FAILED
    assert behind.result() == WRITE_REFUSED
    assert behind.word(behind.page) == 0x33


def test_switching_ats_off_empties_the_cache() -> None:
    behind = Behind({"ATS": 1})
    behind.tree.page(IOVA, behind.page)
    behind.engine.write(CONTROL, 4, 3)
    assert behind.engine.read(CONTROL, 4) == 3
    assert behind.start(ATS | FILL, 8, 0, IOVA, 0x11) == DONE
    behind.engine.write(CONTROL, 4, 0)
    assert behind.engine.read(ATC_ENTRIES, 4) == 0
    assert behind.start(ATS | FILL, 8, 0, IOVA, 0x22) == DONE
    assert behind.engine.read(ATS_REQUESTS, 4) == 1
    behind.engine.reset()
    assert [behind.engine.read(r, 4) for r in (CONTROL, ATS_REQUESTS)] == [0, 0]


# -- the document


def rows(heading: str) -> list[list[str]]:
    """Cells of the tables under a heading of the document."""
    text = DOC.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_document_lists_every_register_as_it_is() -> None:
    listed = [tuple(row[:3]) for row in rows("Registers") if row[0].startswith("0x")]
    names = {1: "R", 2: "W", 3: "RW"}
    declared = [
        (f"0x{offset:02x}", name, names[access])
        for name, offset, access, _, _ in (
            *dma_engine.COMMON_REGISTERS,
            *dma_engine.CHANNEL_REGISTERS,
        )
    ]
    assert listed == declared


def test_document_lists_every_state_and_field() -> None:
    states = {row[1]: int(row[0]) for row in rows("Registers") if row[0].isdigit()}
    assert states == {state.name: int(state) for state in dma_engine.State}
    fields = {row[1]: row[0] for row in rows("Descriptors") if re.match(r"\d", row[0])}
    assert fields == {
        name: str(field.lsb) if field.width == 1 else f"{field.msb}:{field.lsb}"
        for name, field in Descriptor.FIELDS.items()
    }
