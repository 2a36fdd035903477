# SPDX-License-Identifier: GPL-2.0-or-later
"""Arm's SMMUv3TestEngine: frames, commands, order, data, messages, faults and stalls.

What RAND48 writes was computed with the C library's srand48 and lrand48.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from smmu_emu.devices.pcie_host import PcieHost
from smmu_emu.devices.smmu_test_engine import SmmuTestEngine
from smmu_emu.machine import Machine
from smmu_emu.memory import PhysicalMemory
from smmu_emu.transaction import Attributes, Fault, Transaction, Translation
from tests.unit.smmuv3 import rig as smmu

RAM, BAR0, TABLE, PENDING = 0x4000_0000, 0x1000_0000, 0x1010_0000, 0x1020_0000
CMD, UCTRL, LAUNCHED, RETURNED, MSI, VECTOR = 0x00, 0x04, 0x08, 0x0C, 0x10, 0x18
ATTRIBUTES, SEED, BEGIN, END, STRIDE, UDATA = 0x20, 0x24, 0x28, 0x30, 0x38, 0x40
SUM, WHERE = UDATA + 8, UDATA + 16
PRIVILEGED, SUBSTREAM, PORT = 0x1_0000, 0x1_000C, 0x1_0004
HALTED, MEMCPY, RAND48, SUM64, MISCONFIGURED, ERROR = 1, 2, 3, 4, 0xFFFF_FFFE, 0xFFFF_FFFF
NORMAL = 0x42FF_42FF
"""Write-back, inner shareable, Non-secure, unprivileged data; as Arm's tests have it."""
BAD = 0x8000_0000
WIDE = {MSI, BEGIN, END, STRIDE, UDATA, SUM, WHERE}


class Tables:
    """Translates 1:1; `BAD` and above fault, pages in ``stalling`` wait for `resume`."""

    def __init__(self, *stalling: int) -> None:
        self.stalling = set(stalling)
        self.log: list[Transaction] = []
        self.held: list[tuple[Transaction, Callable[[Translation | Fault], None]]] = []

    def translate(self, transaction: Transaction) -> Translation | Fault:
        self.log.append(transaction)
        if transaction.iova >= BAD:
            return Fault(0x10, transaction)
        return Translation(transaction.iova, 12, Attributes(0xFF, 3))

    def submit(
        self, transaction: Transaction, answer: Callable[[Translation | Fault], None]
    ) -> Translation | Fault:
        if transaction.iova & ~0xFFF in self.stalling:
            self.held.append((transaction, answer))
            return Fault(0x10, transaction, stag=len(self.held))
        return self.translate(transaction)

    def resume(self) -> None:
        transaction, answer = self.held.pop(0)
        answer(self.translate(transaction))

    def translate_range(self, example: Transaction, size: int) -> None:
        return None


class Rig:
    """An engine at 00:01.0, decoded, bus master, with messages on; 64 KiB of RAM."""

    def __init__(self, tables: Tables | None = None) -> None:
        self.memory = PhysicalMemory()
        self.memory.add_ram(RAM, 0x10000)
        self.host = PcieHost(self.memory, tables)
        self.memory.add_device(BAR0, 0x100_0000, self.host.aperture(BAR0), "window")
        self.reported: list[tuple[int, str]] = []
        self.engine = SmmuTestEngine(lambda at, kind: self.reported.append((at, kind)))
        self.host.add(self.engine, "00:01.0")
        for register, value in ((0x10, BAR0), (0x18, TABLE), (0x20, PENDING), (0x04, 6)):
            self.host.ecam.write(0x8000 | register, 4, value)
        self.host.ecam.write(0x8042, 2, 0x8000)

    def config(self, register: int) -> int:
        return self.host.ecam.read(0x8000 | register, 4)

    def read(self, pa: int, size: int = 4) -> int:
        data = self.memory.read(pa, size)
        assert data is not None
        return int.from_bytes(data, "little")

    def write(self, pa: int, value: int, size: int = 4) -> bool:
        return self.memory.write(pa, value.to_bytes(size, "little"))

    def __getitem__(self, register: int) -> int:
        return self.read(BAR0 + register, 8 if register % 128 in WIDE else 4)

    def __setitem__(self, register: int, value: int) -> None:
        wide = register % 128 in WIDE and register < PRIVILEGED
        assert self.write(BAR0 + register, value, 8 if wide else 4)

    def start(self, command: int, begin: int, end: int, **options: int) -> int:
        """Fill frame 0 and give it a command; what it shows then."""
        fields = {"stride": 1, "seed": 0, "target": 0, "attributes": NORMAL, "msi": 0} | options
        self[BEGIN], self[END], self[STRIDE] = begin, end, fields["stride"]
        self[SEED], self[UDATA], self[ATTRIBUTES] = (
            fields["seed"],
            fields["target"],
            fields["attributes"],
        )
        self[MSI], self[VECTOR] = fields["msi"], fields.get("vector", 0)
        self[SUBSTREAM] = fields.get("substream", 0xFFFF_FFFF)
        self[CMD] = command
        return self[CMD]

    def set_vector(self, number: int, address: int, data: int) -> None:
        self.write(TABLE + 16 * number, address, 8)
        self.write(TABLE + 16 * number + 8, data, 8)

    def fill(self, address: int, size: int) -> bytes:
        data = bytes(n * 7 & 0xFF for n in range(size))
        assert self.memory.write(address, data)
        return data


@pytest.fixture
def rig() -> Rig:
    return Rig()


# -- identity and registers


def test_configuration_space(rig: Rig) -> None:
    assert rig.config(0x00) == 0xFF80_13B5
    assert rig.config(0x08) == 0xFF00_000F
    assert rig.config(0x2C) == 0x0000_13B5
    assert [rig.config(0x40 + at) for at in (0, 4, 8)] == [0x87FF_0011, 2, 4]
    for bar, readback in ((0x10, 0xFFFC_0004), (0x18, 0xFFFF_8004), (0x20, 0xFFFF_F004)):
        rig.host.ecam.write(0x8000 | bar, 8, 2**64 - 1)
        assert (rig.config(bar), rig.config(bar + 4)) == (readback, 0xFFFF_FFFF)


@pytest.mark.parametrize("frame", [0, 0x80, 0xFF80, 0x2_0000, 0x2_FF80])
def test_frames_after_reset(rig: Rig, frame: int) -> None:
    def words() -> list[int]:
        return [rig.read(BAR0 + frame + at) for at in range(0, 0x80, 4)]

    rig.write(BAR0 + frame + UCTRL, 5)
    rig.write(BAR0 + frame + CMD, 77)
    rig.host.reset()
    for register, value in ((0x10, BAR0), (0x04, 6)):
        rig.host.ecam.write(0x8000 | register, 4, value)
    assert words() == [1, *[0] * 31]
    frame += PRIVILEGED
    assert words() == [1, 0, 0, 0xFFFF_FFFF, *[0] * 28]


def test_fields_keep_what_is_written_at_any_size(rig: Rig) -> None:
    rig.write(BAR0 + BEGIN, 0x1122_3344_5566_7788, 8)
    rig.write(BAR0 + BEGIN + 2, 0xABCD, 2)
    rig.write(BAR0 + BEGIN + 7, 0xEE, 1)
    assert rig[BEGIN] == 0xEE22_3344_ABCD_7788
    rig.write(BAR0 + PRIVILEGED + 0x78, 2**64 - 1, 8)
    assert rig.read(BAR0 + PRIVILEGED + 0x78, 8) == 2**64 - 1


def test_counts_are_read_only_and_frames_stay_non_secure(rig: Rig) -> None:
    rig.write(BAR0 + LAUNCHED, 2**64 - 1, 8)
    rig.write(BAR0 + PRIVILEGED, 0x300)
    assert (rig[LAUNCHED], rig[RETURNED], rig[PRIVILEGED]) == (0, 0, 0x301)


@pytest.mark.parametrize("size", [1, 2, 8])
def test_cmd_is_written_as_a_word(rig: Rig, size: int) -> None:
    rig.write(BAR0 + CMD, 0xFF, size)
    assert rig[CMD] == HALTED
    assert rig.reported == [(0, f"write of {size} bytes to cmd")]


@pytest.mark.parametrize(
    ("command", "shown"), [(0, HALTED), (1, HALTED), (5, MISCONFIGURED), (ERROR, MISCONFIGURED)]
)
def test_cmd_that_is_no_command(rig: Rig, command: int, shown: int) -> None:
    assert rig.start(command, RAM, RAM + 0xFFF) == shown


# -- commands


def test_memcpy_of_two_frames_as_arms_suite_does_it(rig: Rig) -> None:
    data = rig.fill(RAM, 0x4000)
    for number in range(2):
        frame, begin = 0x80 * number, RAM + 0x2000 * number
        rig[frame + PRIVILEGED] = rig[frame + PORT] = 0
        rig[frame + PRIVILEGED + 8] = number
        rig[frame + SUBSTREAM] = 0xFFFF_FFFF
        rig[frame + UCTRL] = rig[frame + SEED] = 0
        rig[frame + BEGIN], rig[frame + END] = begin, begin + 0x1FFF
        rig[frame + STRIDE], rig[frame + UDATA] = 1, begin + 0x4000
        rig[frame + CMD] = MEMCPY
        assert rig[frame + CMD] == HALTED
    assert rig.memory.read(RAM + 0x4000, 0x4000) == data
    assert (rig[LAUNCHED], rig[RETURNED]) == (4, 4)


def test_memcpy_of_odd_places(rig: Rig) -> None:
    data = rig.fill(RAM + 0xFF1, 0x1234)
    assert rig.start(MEMCPY, RAM + 0xFF1, RAM + 0xFF0 + 0x1234, target=RAM + 0x5003) == HALTED
    assert rig.memory.read(RAM + 0x5002, 0x1236) == b"\0" + data + b"\0"


def test_memcpy_with_a_stride_moves_single_words(rig: Rig) -> None:
    rig.fill(RAM, 64)
    assert rig.start(MEMCPY, RAM + 3, RAM + 40, stride=16, target=RAM + 0x100) == HALTED
    copied = rig.memory.read(RAM + 0x100, 48)
    source = rig.memory.read(RAM, 40)
    assert source is not None
    none = bytes(8)
    assert copied == source[:8] + none + source[16:24] + none + source[32:40] + none
    assert rig[LAUNCHED] == 6


def test_stride_longer_than_the_range_moves_one_word(rig: Rig) -> None:
    rig.fill(RAM, 64)
    rig.start(MEMCPY, RAM, RAM + 31, stride=1 << 40, target=RAM + 0x100)
    assert (rig[CMD], rig[RETURNED]) == (HALTED, 2)


@pytest.mark.parametrize(
    ("seed", "pages"),
    [
        (0, [0, 1, 2, 3, 4, 5]),
        (0xFFFF_FFFF, [5, 4, 3, 2, 1, 0]),
        (7, [5, 0, 1, 4, 2, 3]),
    ],
)
def test_seed_chooses_the_order(seed: int, pages: list[int]) -> None:
    tables = Tables()
    rig = Rig(tables)
    rig.start(SUM64, RAM, RAM + 0x5FFF, seed=seed)
    assert [(t.iova - RAM) >> 12 for t in tables.log] == pages


def test_rand48_is_seeded_anew_in_each_page(rig: Rig) -> None:
    assert rig.start(RAND48, RAM + 0x1FF8, RAM + 0x2007, seed=42) == HALTED
    assert rig.read(RAM + 0x1FF0, 8) == rig.read(RAM + 0x2008, 8) == 0
    data = rig.memory.read(RAM + 0x1FF8, 16)
    assert data is not None
    assert data.hex() == "a3c755f68fa530175fe3d1d2cb412c73"


def test_rand48_of_high_addresses_mixes_in_the_upper_half() -> None:
    from smmu_emu.devices.smmu_test_request import random_bytes

    assert random_bytes(0x2A, 0x1_4000_0000, 8).hex() == "953ef055526b9bc5"


@pytest.mark.parametrize(("stride", "total"), [(1, 10), (8, 10), (16, 4), (24, 5)])
def test_sum64(rig: Rig, stride: int, total: int) -> None:
    for number in range(1, 5):
        rig.write(RAM + 8 * (number - 1), number, 8)
    assert rig.start(SUM64, RAM, RAM + 31, stride=stride) == HALTED
    assert rig[SUM] == total


def test_sum64_wraps(rig: Rig) -> None:
    rig.write(RAM, 2**64 - 1, 8)
    rig.write(RAM + 8, 5, 8)
    rig.start(SUM64, RAM, RAM + 15)
    assert rig[SUM] == 4


@pytest.mark.parametrize(
    ("command", "begin", "end", "options"),
    [
        (MEMCPY, RAM, RAM + 7, {"stride": 0}),
        (MEMCPY, RAM, RAM + 7, {"stride": 2}),
        (MEMCPY, RAM, RAM + 7, {"stride": 12}),
        (MEMCPY, 0, 2**64 - 1, {}),
        (RAND48, 7, 2**64 - 8, {"stride": 8}),
        (RAND48, RAM + 1, RAM, {}),
        (RAND48, 0, 2**63, {}),
        (SUM64, RAM + 4, RAM + 15, {}),
        (SUM64, RAM, RAM + 14, {}),
        (SUM64, RAM, RAM + 7, {"msi": 2}),
        (SUM64, RAM, RAM + 7, {"msi": 1, "vector": 2048}),
        (SUM64, RAM, RAM + 7, {"substream": 0x10_0000}),
        (SUM64, RAM, RAM + 7, {"attributes": 0x4F}),
        (SUM64, RAM, RAM + 7, {"attributes": 0xF5}),
        (SUM64, RAM, RAM + 7, {"attributes": 0xC0FF}),
        (RAND48, RAM, RAM + 7, {"attributes": 0x00F4_0000}),
    ],
)
def test_misconfigured_frame_does_nothing(
    rig: Rig, command: int, begin: int, end: int, options: dict[str, int]
) -> None:
    rig.set_vector(0, RAM + 0x100, 1)
    assert rig.start(command, begin, end, **({"msi": 1} | options)) == MISCONFIGURED
    assert (rig[LAUNCHED], rig[UCTRL], rig[WHERE]) == (0, 0, 0)
    assert rig.read(RAM + 0x100) == 0
    assert rig.start(SUM64, RAM, RAM + 7) == HALTED


@pytest.mark.parametrize(
    ("command", "attributes"), [(SUM64, 0x00F4_42FF), (RAND48, 0x42FF_00F4), (MEMCPY, 0), (2, 0x15)]
)
def test_attributes_that_are_legal_or_not_used(rig: Rig, command: int, attributes: int) -> None:
    target = RAM + 0x100
    assert rig.start(command, RAM, RAM + 7, attributes=attributes, target=target) == HALTED


def test_port_other_than_0_is_misconfigured(rig: Rig) -> None:
    rig[PORT] = 1
    assert rig.start(SUM64, RAM, RAM + 7) == MISCONFIGURED


# -- transactions


@pytest.mark.parametrize(
    ("attributes", "source", "destination"),
    [
        (0x02FF_02FF, (False, False), (False, False)),
        (0x02FF_03FF, (True, False), (False, False)),
        (0x03FF_06FF, (False, True), (True, False)),
        (0x06FF_07FF, (True, True), (False, True)),
    ],
)
@pytest.mark.parametrize(("substream", "sent"), [(0xFFFF_FFFF, None), (0, 0), (0xF_FFFF, 0xF_FFFF)])
def test_attributes_and_substream_travel(
    attributes: int,
    source: tuple[bool, bool],
    destination: tuple[bool, bool],
    substream: int,
    sent: int | None,
) -> None:
    tables = Tables()
    rig = Rig(tables)
    target = RAM + 0x1000
    rig[PRIVILEGED + 8] = 0x77  # streamid, ignored
    rig.start(MEMCPY, RAM, RAM, target=target, attributes=attributes, substream=substream)
    assert tables.log == [
        Transaction(8, RAM, False, *source, sent),
        Transaction(8, target, True, *destination, sent),
    ]


@pytest.mark.parametrize(
    ("command", "begin", "target", "where", "counted"),
    [
        (SUM64, BAD - 0x1000, 0, BAD, 2),
        (RAND48, BAD, 0, BAD, 1),
        (MEMCPY, RAM, BAD + 8, BAD + 8, 2),
        (MEMCPY, RAM, RAM + 0xF800, RAM + 0xF800, 2),
    ],
)
def test_abort_ends_the_work_and_shows_where(
    command: int, begin: int, target: int, where: int, counted: int
) -> None:
    rig = Rig(Tables())
    rig.memory.add_ram(BAD - 0x1000, 0x1000)
    rig.set_vector(3, RAM + 0x100, 0x33)
    end = begin + 0x1FFF
    assert rig.start(command, begin, end, target=target, msi=1, vector=3) == ERROR
    assert rig[WHERE] == where
    assert rig.read(RAM + 0x100) == 0x33
    assert (rig[LAUNCHED], rig[RETURNED]) == (counted, counted)


def test_address_of_an_external_abort_is_not_that_of_an_older_fault() -> None:
    rig = Rig(Tables())
    rig.start(SUM64, BAD, BAD + 7)
    assert rig.start(SUM64, 0x1000, 0x1007) == ERROR
    assert rig[WHERE] == 0x1000


def test_frame_without_bus_mastering_ends_in_an_error_and_is_told(rig: Rig) -> None:
    rig.host.ecam.write(0x8004, 2, 2)
    assert rig.start(SUM64, RAM, RAM + 7) == ERROR
    assert rig.reported == [(0, "DMA while the command register's bus-master bit is 0")]
    assert rig[LAUNCHED] == 0


def test_engine_cannot_write_to_itself(rig: Rig) -> None:
    rig.write(RAM, MEMCPY)
    assert rig.start(MEMCPY, RAM, RAM + 3, target=BAR0 + 0x80) == ERROR
    assert rig.read(BAR0 + 0x80) == HALTED


# -- messages


def test_message_tells_of_the_end(rig: Rig) -> None:
    rig.set_vector(2047, RAM + 0x8000, 0x1234_5678)
    rig.start(SUM64, RAM, RAM + 7, msi=1, vector=2047)
    assert rig.read(RAM + 0x8000) == 0x1234_5678
    assert rig[UCTRL] == 0


def test_message_tells_of_an_error_too() -> None:
    rig = Rig(Tables())
    rig.set_vector(1, RAM + 0x8000, 9)
    assert rig.start(SUM64, BAD, BAD + 7, msi=1, vector=1) == ERROR
    assert rig.read(RAM + 0x8000) == 9


def test_message_that_is_aborted_is_seen_in_uctrl() -> None:
    rig = Rig(Tables())
    rig.set_vector(0, BAD, 9)
    rig[UCTRL] = 0x1234_0000
    assert rig.start(SUM64, RAM, RAM + 7, msi=1) == HALTED
    assert rig[UCTRL] == 0x1234_0001


def test_masked_message_is_pending(rig: Rig) -> None:
    rig.start(SUM64, RAM, RAM + 7, msi=1, vector=65)
    assert rig.read(PENDING + 8, 8) == 2
    assert rig[UCTRL] == 0


# -- stalls


def test_stalled_frame_is_busy_until_resumed() -> None:
    tables = Tables(RAM + 0x1000)
    rig = Rig(tables)
    data = rig.fill(RAM, 0x3000)
    rig.set_vector(0, RAM + 0x8000, 5)
    assert rig.start(MEMCPY, RAM, RAM + 0x2FFF, target=RAM + 0x4000, msi=1) == MEMCPY
    assert (rig[LAUNCHED], rig[RETURNED]) == (3, 2)
    rig[CMD] = HALTED
    rig[BEGIN] = 0
    rig[SUBSTREAM] = 1
    assert (rig[CMD], rig[BEGIN], rig[SUBSTREAM]) == (MEMCPY, RAM, 0xFFFF_FFFF)
    assert rig.read(RAM + 0x8000) == 0
    tables.resume()
    assert (rig[CMD], rig[LAUNCHED], rig[RETURNED]) == (HALTED, 6, 6)
    assert rig.memory.read(RAM + 0x4000, 0x3000) == data
    assert rig.read(RAM + 0x8000) == 5


def test_other_frames_work_meanwhile() -> None:
    tables = Tables(RAM + 0x1000)
    rig = Rig(tables)
    assert rig.start(SUM64, RAM + 0x1000, RAM + 0x1007) == SUM64
    for register, value in ((BEGIN, RAM), (END, RAM + 7), (STRIDE, 1), (CMD, SUM64)):
        rig[0x80 + register] = value
    assert (rig[0x80 + CMD], rig[CMD]) == (HALTED, SUM64)
    tables.resume()
    assert rig[CMD] == HALTED


def test_stall_that_ends_in_an_abort() -> None:
    tables = Tables(BAD)
    rig = Rig(tables)
    assert rig.start(SUM64, BAD, BAD + 7) == SUM64
    tables.resume()
    assert (rig[CMD], rig[WHERE]) == (ERROR, BAD)


def test_reset_forgets_what_is_stalled() -> None:
    tables = Tables(RAM)
    rig = Rig(tables)
    rig.start(RAND48, RAM, RAM + 7, seed=1)
    rig.engine.reset()
    tables.resume()
    assert rig.engine.read(CMD, 4) == HALTED
    assert rig.engine.read(LAUNCHED, 8) == 0


# -- on the board


def test_engine_is_a_device_of_the_board_and_its_message_an_interrupt() -> None:
    machine = Machine.virt(ram=1 << 20, devices=["smmu-test-engine@00:1e.0"])
    config, memory = 0x40_1000_0000 | 0x1E << 15, machine.memory

    def write(pa: int, value: int, size: int = 4) -> None:
        assert memory.write(pa, value.to_bytes(size, "little"))

    for register, value in ((0x10, BAR0), (0x18, TABLE), (0x20, PENDING), (0x04, 6)):
        write(config + register, value)
    write(config + 0x42, 0x8000, 2)
    write(0x0800_0C14, 0xAAAA_AAAA)
    write(TABLE, 0x0802_0040, 8)
    write(TABLE + 8, 82, 8)
    registers = ((MSI, 1), (BEGIN, RAM), (END, RAM + 0xFFF), (STRIDE, 1), (UDATA, RAM + 0x1000))
    memory.write(RAM, b"test")
    for register, value in registers:
        write(BAR0 + register, value, 8)
    write(BAR0 + CMD, MEMCPY)
    assert memory.read(RAM + 0x1000, 4) == b"test"
    assert memory.read(0x0800_0208, 4) == (1 << 82 - 64).to_bytes(4, "little")
    assert machine.devices["smmu-test-engine@00:1e.0"].dma.stream_id == 0xF0


# -- behind an SMMUv3


class Behind(Rig):
    """An engine behind a real SMMUv3 with stage 1, whose stream stalls if its CD says so."""

    SID, IOVA = 8, 0x20_0000

    def __init__(self, ids: dict[str, int], **cd: int) -> None:
        self.bench, self.tree = smmu.stage1_bench(smmu.make_ids(**ids), **cd)
        self.bench.ste(self.SID, **smmu.S1_STE)
        self.memory = self.bench.memory
        self.host = PcieHost(self.memory, self.bench.smmu)
        self.memory.add_device(BAR0, 0x100_0000, self.host.aperture(BAR0), "window")
        self.engine = SmmuTestEngine()
        self.host.add(self.engine, "00:01.0")
        self.host.ecam.write(0x8010, 4, BAR0)
        self.host.ecam.write(0x8004, 4, 6)
        self.page = self.bench.alloc(0x1000)

    def event(self) -> dict[str, int]:
        (record,) = self.bench.events()
        return smmu.get(smmu.literals.EVENT, record)


def test_command_resume_lets_a_frame_go_on() -> None:
    behind = Behind({"STALL_MODEL": 0}, S=1)
    iova = behind.IOVA
    assert behind.start(RAND48, iova, iova + 7, seed=1) == RAND48
    event = behind.event()
    assert (event["Number"], event["Stall"], event["InputAddr"]) == (0x10, 1, iova)
    behind.tree.page(iova, behind.page)
    behind.bench.do(smmu.cmd("RESUME", StreamID=8, STAG=event["STAG"], Ac=1))
    assert (behind[CMD], behind[RETURNED]) == (HALTED, 1)
    assert behind.read(behind.page, 8) != 0


def test_command_resume_with_abort_ends_a_frame() -> None:
    behind = Behind({"STALL_MODEL": 0}, S=1)
    iova = behind.IOVA
    assert behind.start(SUM64, iova + 8, iova + 15) == SUM64
    tag = behind.event()["STAG"]
    behind.bench.do(smmu.cmd("RESUME", StreamID=8, STAG=tag, Ac=0, Ab=1))
    assert (behind[CMD], behind[WHERE]) == (ERROR, iova + 8)


def test_attributes_of_a_frame_are_in_the_event() -> None:
    behind = Behind({})
    assert behind.start(SUM64, behind.IOVA, behind.IOVA + 7, attributes=0x07FF) == ERROR
    event = behind.event()
    assert [event[name] for name in ("Number", "PnU", "InD", "RnW")] == [0x10, 1, 1, 1]
