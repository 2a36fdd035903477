# SPDX-License-Identifier: GPL-2.0-or-later
"""Who wrote it: stores of the core, of DMA masters, of the SMMU and of Python, by either way."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgtable import Arena
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.errors import ConfigurationError
from smmu_emu.machine import Machine
from smmu_emu.smmuv3 import PRESETS
from smmu_emu.smmuv3.spec.event import EventCode
from smmu_emu.trace.events import Command, Origin, TableWrite
from smmu_emu.trace.offences import Offence, Write
from smmu_emu.trace.provenance import DEPTH, Provenance, scout
from smmu_emu.trace.summary import Recorder
from smmu_emu.trace.symbols import SymbolTable
from smmu_emu.trace.tracer import Tracer

IMAGES = Path(__file__).resolve().parents[3] / "firmware" / "images"
HERE = Path(__file__).name
AT, TABLE = 0x4010_0000, 0x4800_0000
LIMIT = 300_000

MOV_X1_TABLE = 0xD2A9_0001  # mov x1, #0x48000000
MOV_X0_5 = 0xD280_00A0  # mov x0, #5
STR_X0_X1 = 0xF900_0020  # str x0, [x1]
STRB_W0_X1_9 = 0x3900_2420  # strb w0, [x1, #9]
STP_X0_X0_16 = 0xA901_0020  # stp x0, x0, [x1, #16]
HLT = 0xD45E_0000
NOP = 0xD503_201F


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine.virt() as made:
        yield made


def load(machine: Machine, *words: int) -> None:
    machine.load(b"".join(word.to_bytes(4, "little") for word in words), load_address=AT)


@pytest.mark.parametrize("way", ["all RAM", "some words"])
def test_stores_of_the_core_are_known_to_the_instruction(machine: Machine, way: str) -> None:
    load(machine, MOV_X1_TABLE, MOV_X0_5, STR_X0_X1, STRB_W0_X1_9, STP_X0_X0_16, STR_X0_X1, NOP)
    machine.memory.write(TABLE, b"\x11" * 32)
    where = None if way == "all RAM" else {TABLE + 8 * n: "descriptor" for n in range(4)}
    with Provenance(machine, where) as provenance:
        machine.run(6)
        first, second = provenance.history(TABLE)
        ones = 0x1111_1111_1111_1111
        assert first == Write(1, 2, 3, AT + 8, "core", "", TABLE, 8, ones, 5)
        assert second == Write(5, 5, 6, AT + 20, "core", "", TABLE, 8, 5, 5)
        assert provenance.writer_of(TABLE) == second
        byte = provenance.writer_of(TABLE + 9)
        assert byte == Write(
            2, 3, 4, AT + 12, "core", "", TABLE + 9, 1, ones, 0x1111_1111_1111_0511
        )
        assert provenance.writer_of(TABLE + 8) is None, "only the byte beside it was written"
        pair = [provenance.writer_of(TABLE + offset) for offset in (16, 24)]
        assert [(one.pc, one.new) for one in pair if one] == [(AT + 16, 5)] * 2


def test_watching_changes_nothing_and_leaves_nothing_behind() -> None:
    def run(watched: bool) -> tuple[Any, ...]:
        with Machine.virt() as machine:
            machine.load(IMAGES / "unmap_tlbi.elf")
            plain = machine.smmu.ports["walk"].is_plain
            provenance = Provenance(machine) if watched else None
            first = machine.run(20_000)
            if provenance is not None:
                provenance.close()
            assert machine.smmu.ports["walk"].is_plain == plain
            return first, machine.run(LIMIT), bytes(machine.output), machine.clock.now

    assert run(watched=True) == run(watched=False)


@pytest.mark.parametrize("image", ["unmap_tlbi", "hitless", "two_level"])
def test_both_ways_tell_the_same(image: str) -> None:
    with Machine.virt() as machine:
        machine.load(IMAGES / f"{image}.elf")
        begin = machine.snapshot()
        where = scout(machine, lambda: machine.run(LIMIT))
        assert (machine.instructions, machine.output) == (0, b""), "nobody sees the first run"
        assert set(where.values()) == {"descriptor", "STE", "CD", "command"}
        with Provenance(machine, where) as known_before:
            machine.run(LIMIT)
        machine.restore(begin)
        with Provenance(machine) as all_ram:
            machine.run(LIMIT)
        assert all_ram.structures.known == known_before.structures.known == where
        for word in where:
            one, other = known_before.history(word), all_ram.history(word)
            assert [write._replace(number=0) for write in one] == [
                write._replace(number=0) for write in other
            ]
        written = [word for word in where if known_before.writer_of(word) is not None]
        assert len(written) > len(where) * 0.9


def test_only_the_last_writes_of_a_word_are_remembered(machine: Machine) -> None:
    with Provenance(machine) as provenance:
        for number in range(DEPTH + 5):
            machine.memory.write_u64(TABLE, number)
        history = provenance.history(TABLE)
    assert [write.new for write in history] == list(range(5, DEPTH + 5))


# -- others than the core


def test_python_is_known_by_the_line_that_called(machine: Machine) -> None:
    with Provenance(machine) as provenance:
        machine.memory.write_u64(TABLE, 7)
        line = _line() - 1
        machine.memory.write(TABLE + 12, b"ab")
        write = provenance.writer_of(TABLE)
        assert write == Write(1, 0, 0, None, "python", f"{HERE}:{line}", TABLE, 8, 0, 7)
        assert provenance.writer_of(TABLE + 13) == Write(
            2, 0, 0, None, "python", f"{HERE}:{line + 2}", TABLE + 12, 2, 0, 0x6261 << 32
        )


def _line() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def test_dma_belongs_to_whoever_started_it_and_to_its_port(machine: Machine) -> None:
    with Provenance(machine) as provenance:
        port = machine.dma(0x10)  # made after the watching began
        machine.smmu.registers.values["GBPA"] &= ~(1 << 20)
        assert port.write(TABLE, bytes(range(16)))
        line = _line() - 1
        write = provenance.writer_of(TABLE + 8)
        assert write is not None
        assert (write.agent, write.source) == ("dma 0x10", f"{HERE}:{line}")
        assert write.new == int.from_bytes(bytes(range(8, 16)), "little")
        assert port.write(TABLE + 0x10_0000, bytes(1 << 19)), "long transfers, too"
        far = provenance.writer_of(TABLE + 0x10_0000 + (1 << 18))
        assert far is not None
        assert far.agent == "dma 0x10"


def test_dma_that_runs_late_belongs_to_the_instruction_that_asked(machine: Machine) -> None:
    load(machine, NOP, NOP, NOP, NOP, 0x1400_0000)
    port = machine.dma(0x10)
    with Provenance(machine) as provenance:
        machine.run(2)
        machine.clock.after(0, lambda: None)
        machine._running = True  # as a device does inside of a store
        machine.clock.after(5, lambda: port.memory.write(TABLE, b"\1"))
        machine._running = False
        machine.run(8)
        write = provenance.writer_of(TABLE)
    assert write is not None
    assert (write.pc, write.instructions, write.agent) == (AT + 8, 2, "dma 0x10")
    assert write.time >= 5


def test_writes_of_the_smmu_itself_are_its_own() -> None:
    with Machine.virt(devices=["dma-engine@00:01.0"], smmu_ids=PRESETS["full"]) as machine:
        machine.load(IMAGES / "httu.elf")
        with Provenance(machine) as provenance:
            assert machine.run(LIMIT).status == 0
            agents = {write.agent for log in provenance._log.values() for write in log}
    assert {"core", "walk", "event-queue"} <= agents


def test_what_was_loaded_is_known_by_its_file(machine: Machine) -> None:
    machine.load(IMAGES / "dma_blob.elf")
    machine.load_blob(TABLE, IMAGES / "dma_blob.tables")
    where = scout(machine, lambda: machine.run(LIMIT))
    with Provenance(machine, where) as provenance:
        assert machine.run(LIMIT).status == 0
        loaded = [word for word in where if word >= TABLE and provenance.writer_of(word) is None]
        assert loaded
        for word in loaded:
            piece = provenance.loaded(word)
            assert piece is not None
            assert piece.name.endswith("dma_blob.tables")
        assert provenance.loaded(0x5000_0000) is None


class WithDriver:
    """A machine whose driver is in Python, and who wrote its tables."""

    def __init__(self) -> None:
        self.machine = Machine.virt(smmu_ids=PRESETS["full"])
        self.memory = Arena(TABLE, 4 << 20, self.machine.ram.view[TABLE - 0x4000_0000 :])
        self.provenance = Provenance(self.machine)
        self.provenance.watch(self.memory)
        self.driver = Smmuv3Driver(self.machine.smmu, self.memory)
        self.offences: list[Offence | None] = []
        self.machine.smmu.tap.listen(
            lambda event: self.offences.append(self.provenance.offence(event.fault))
        )

    def source(self, offence: Offence | None) -> str:
        assert offence is not None
        assert offence.write is not None
        assert offence.write.agent == "python"
        return offence.write.source


@pytest.fixture
def driven() -> Iterator[WithDriver]:
    made = WithDriver()
    with made.machine:
        yield made


@pytest.mark.parametrize("granule_lg2", [12, 14, 16])
def test_tables_of_a_driver_in_python_name_its_caller(driven: WithDriver, granule_lg2: int) -> None:
    page = 1 << granule_lg2
    domain = driven.driver.domain(granule_lg2=granule_lg2)
    domain.map(0x100_0000, 0x5000_0000, 40 * page)  # so many are written as an array
    mapped = _line() - 1
    driven.driver.attach(0x8, domain)
    attached = _line() - 1
    port = driven.machine.dma(0x8)
    assert port.write(0x100_0000 + 20 * page, b"hello")
    leaf = next(
        word
        for word, what in driven.provenance.structures.known.items()
        if what == "descriptor" and (driven.machine.memory.read_u64(word) or 0) >> 28 & 0xF == 5
    )
    write = driven.provenance.writer_of(leaf)
    assert write is not None
    assert (write.source, write.old) == (f"{HERE}:{mapped}", 0)
    assert write.new == driven.machine.memory.read_u64(leaf)
    known = driven.provenance.structures.known
    entry = next(word for word, what in known.items() if what == "STE")
    made = driven.provenance.last_writer(entry, 64)
    assert made is not None
    assert made.source == f"{HERE}:{attached}"

    domain.unmap(0x100_0000 + 20 * page, page)
    line = _line() - 1
    assert not port.write(0x100_0000 + 20 * page, b"hello")
    (offence,) = driven.offences
    assert driven.source(offence) == f"{HERE}:{line}"
    assert offence is not None
    assert offence.write is not None
    assert (offence.read.pa, offence.write.old) == (leaf, write.new)
    assert f"written by: {HERE}:{line} at 0 ns" in str(offence)


def test_commands_of_a_driver_in_python_name_its_caller(driven: WithDriver) -> None:
    domain = driven.driver.domain()
    domain.map(0x1000, 0x5000_0000, 0x1000)
    domain.unmap(0x1000, 0x1000)
    line = _line() - 1
    commands = [w for w, what in driven.provenance.structures.known.items() if what == "command"]
    sources = {
        write.source
        for word in commands
        if (write := driven.provenance.writer_of(word)) is not None
    }
    assert f"{HERE}:{line}" in sources


def test_views_go_quiet_when_the_watching_ends(driven: WithDriver) -> None:
    domain = driven.driver.domain()
    driven.provenance.close()
    before = driven.provenance.writes
    domain.map(0x1000, 0x5000_0000, 0x40000)  # its table holds watched views
    driven.driver.attach(0x8, domain)
    assert driven.machine.dma(0x8).write(0x1000, b"hello")
    assert driven.provenance.writes == before
    assert isinstance(driven.memory.words, memoryview)
    assert type(driven.memory.array) is np.ndarray


def test_memory_elsewhere_is_refused(machine: Machine) -> None:
    with (
        Provenance(machine) as provenance,
        pytest.raises(ConfigurationError, match="not in the machine's RAM"),
    ):
        provenance.watch(Arena(0x8000_0000, 1 << 20))


# -- going back


def test_what_was_written_after_a_snapshot_is_forgotten_with_it(machine: Machine) -> None:
    old = machine.snapshot()
    with Provenance(machine) as provenance:
        machine.memory.write_u64(TABLE, 1)
        snapshot = machine.snapshot()
        machine.memory.write_u64(TABLE, 2)
        machine.memory.write_u64(TABLE + 8, 3)
        machine.restore(snapshot)
        assert [write.new for write in provenance.history(TABLE)] == [1]
        assert provenance.history(TABLE + 8) == []
        machine.memory.write_u64(TABLE, 4)
        write = provenance.writer_of(TABLE)
        assert write is not None
        assert (write.old, write.new) == (1, 4)
        machine.restore(old)
        assert provenance.history(TABLE) == []


# -- faults


def offences(image: str) -> list[tuple[int, Offence | None]]:
    with Machine.virt() as machine:
        machine.load(IMAGES / f"{image}.elf")
        where = scout(machine, lambda: machine.run(LIMIT))
        recorder = Recorder(machine)
        with Provenance(machine, where) as provenance:
            recorder.offence = provenance.offence
            result = machine.run(LIMIT)
        summary = recorder.summary(result, IMAGES / f"{image}.elf")
        return [(refused.fault.code, refused.offence) for refused in summary.refused]


def test_each_fault_names_the_structure_that_is_behind_it() -> None:
    expected = {
        EventCode.C_BAD_STE: {"STE"},
        EventCode.F_STE_FETCH: {"STE"},
        EventCode.C_BAD_CD: {"CD"},
        EventCode.F_CD_FETCH: {"CD"},
        EventCode.F_TRANSLATION: {"descriptor", "CD"},
        EventCode.F_PERMISSION: {"descriptor"},
        EventCode.F_ADDR_SIZE: {"descriptor"},
        EventCode.F_ACCESS: {"descriptor"},
        EventCode.F_WALK_EABT: {"descriptor"},
    }
    seen = set()
    for code, offence in offences("faults"):
        if code in expected:
            assert offence is not None, EventCode(code)
            assert offence.read.what in expected[EventCode(code)], EventCode(code)
            seen.add(EventCode(code))
    assert seen >= set(expected) - {EventCode.F_STE_FETCH, EventCode.F_WALK_EABT}


def test_fault_after_an_unmap_names_the_instruction_that_unmapped() -> None:
    found = [offence for code, offence in offences("unmap_tlbi") if code == EventCode.F_TRANSLATION]
    assert found
    unmapped = 0
    for offence in found:
        assert offence is not None
        assert offence.read.what == "descriptor"
        assert offence.read.value == bytes(8)
        assert offence.write is not None
        assert offence.write.new == 0
        if offence.write.old:  # not the zeros of a new table
            unmapped += 1
            assert offence.place.symbol in ("set", "pagetable_unmap")
            assert "`str " in str(offence)
            assert str(offence).endswith(f": 0x0 over {offence.write.old:#x}")
    assert unmapped


def test_text_says_who_when_and_what_was_there_before() -> None:
    text = str(offences("irq_faults")[0][1])
    head, _, rest = text.partition(", written by: ")
    assert head.startswith("descriptor at 0x4")
    assert " ns (instruction " in rest
    assert rest.endswith(": 0x0 over 0x0")


# -- events


def test_trace_has_writes_and_commands_know_their_writers() -> None:
    events: list[Any] = []
    image = IMAGES / "unmap_tlbi.elf"
    with Machine.virt() as machine:
        machine.load(image)
        where = scout(machine, lambda: machine.run(LIMIT))
        with (
            Tracer(machine, events.append, symbols=SymbolTable(image)) as tracer,
            Provenance(machine, where, tracer=tracer),
        ):
            machine.run(LIMIT)
    writes = [event for event in events if isinstance(event, TableWrite)]
    assert {event.structure for event in writes} >= {"", "descriptor", "command"}
    assert {event.pa & -8 for event in writes} <= where.keys()
    origins = {event.seq: event for event in events if isinstance(event, Origin)}
    for event in events:
        if isinstance(event, Command):
            assert origins[event.writer].symbol, event
    assert [event.seq for event in events] == sorted(event.seq for event in events)
