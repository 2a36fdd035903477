# SPDX-License-Identifier: GPL-2.0-or-later
"""The report of a run: what is kept, what is counted, how it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pgtable import Arena
from smmu_emu import Machine, RunResult
from smmu_emu.cpu.exit import ExitKind
from smmu_emu.driver import Smmuv3Driver
from smmu_emu.trace import summary
from smmu_emu.trace.summary import Cause, Recorder, RefusedTransaction
from smmu_emu.trace.symbols import Place
from smmu_emu.transaction import Fault, Transaction

RESULT = RunResult(ExitKind.EXIT, 3, "the guest exited", 0x4010_0000, 1234567)
SID = 8


class Bench:
    """A machine whose stream 8 has an empty address space, and a recorder that listens."""

    def __init__(self, queue_lg2: int = 7) -> None:
        self.machine = Machine.virt()
        arena = Arena(0x4800_0000, 1 << 20, self.machine.ram.view[0x0800_0000:])
        self.driver = Smmuv3Driver(self.machine.smmu, arena, queue_lg2=queue_lg2)
        self.domain = self.driver.domain()
        self.driver.attach(SID, self.domain)
        self.recorder = Recorder(self.machine)

    def refuse(self, count: int) -> None:
        for number in range(count):
            assert not self.machine.dma(SID).write(number << 12, b"x")

    def lines(self) -> list[str]:
        return list(self.recorder.summary(RESULT).lines())


def test_nothing_happened() -> None:
    with Machine.virt() as machine:
        lines = list(Recorder(machine).summary(RESULT).lines())
    assert lines == [
        "end            the guest exited (status 3)",
        "instructions   1,234,567",
        "DMA            none",
        "TLB            0 hits, 0 misses, 0 walks",
        "commands       none",
        "events         0 recorded, 0 not recorded",
    ]


def test_single_transactions_have_no_instruction() -> None:
    bench = Bench()
    bench.refuse(1)
    assert bench.lines()[6:] == [
        "events         1 recorded, 0 not recorded",
        "  F_TRANSLATION stream 0x8 iova 0x0 write stage 1 level 0",
        f"      why: the descriptor at {bench.domain.table.regs.ttbr:#x} is not valid",
    ]
    (fault,) = bench.recorder.summary(RESULT).as_dict()["faults"]
    assert fault["cause"] is None


def test_record_that_found_no_room_is_marked() -> None:
    bench = Bench(queue_lg2=1)
    bench.refuse(3)
    lines = bench.lines()
    assert lines[6] == "events         2 recorded, 1 not recorded"
    assert [line.endswith("[no record]") for line in lines[7:10]] == [False, False, True]


def test_faults_of_one_reason_share_its_lines() -> None:
    bench = Bench()
    bench.refuse(2)
    bench.driver.detach(SID)
    bench.refuse(1)
    heads = [line.split()[0] for line in bench.lines()[8:]]
    assert heads == ["F_TRANSLATION", "F_TRANSLATION", "why:", "abort", "why:"]


def test_dma_is_counted_by_stream_and_commands_by_name() -> None:
    bench = Bench()
    bench.domain.map(0x1000, 0x5000_0000, 0x2000)
    for _ in range(3):
        assert bench.machine.dma(SID).write(0x1F00, bytes(0x200))  # two pages each time
    bench.machine.dma(3).read(0, 4)
    found = bench.recorder.summary(RESULT)
    assert found.dma == {3: 1, 8: 6}
    lines = list(found.lines())
    assert lines[2] == "DMA            stream 0x3: 1, stream 0x8: 6"
    assert lines[4] == "TLB            4 hits, 2 misses, 2 walks"
    assert lines[5].startswith("commands       CFGI_STE ")


def test_contexts_are_told_in_the_order_of_first_use() -> None:
    bench = Bench()
    ttbr = bench.domain.table.regs.ttbr
    bench.refuse(2)
    bench.driver.detach(SID)
    bench.refuse(1)
    bench.driver.attach(SID, bench.domain)
    bench.refuse(1)
    stage1 = f"stage 1 ASID {bench.domain.asid}, tables at {ttbr:#x}"
    assert bench.lines()[3:5] == [
        f"contexts       stream 0x8: {stage1} (2 times)",
        "               stream 0x8: aborted",
    ]
    assert bench.recorder.summary(RESULT).as_dict()["contexts"] == [
        {"stream_id": 8, "substream_id": None, "setup": stage1, "fetched": 2},
        {"stream_id": 8, "substream_id": None, "setup": "aborted", "fetched": 1},
    ]


def test_faults_beyond_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "MAX_FAULTS", 5)
    bench = Bench(queue_lg2=3)
    bench.refuse(12)
    found = bench.recorder.summary(RESULT)
    assert len(found.refused) == 5
    lines = list(found.lines())
    assert lines[6] == "events         8 recorded, 4 not recorded"
    assert lines[-1] == "  and 7 more refused transactions, not kept"
    assert found.as_dict()["faults_not_kept"] == 7


def test_sites_beyond_the_limit_are_counted() -> None:
    bench = Bench()
    for number in range(1200):
        bench.machine.memory.read(0x70_0000_0000 + 8 * number, 8)
    lines = bench.lines()
    assert lines[6:] == [
        "touched but not modelled:",
        "  nothing at 0x7000000000, 0x7000000008, 0x7000000010 and 997 more: read",
        "  and 200 more accesses, not kept",
    ]
    assert len(bench.recorder.summary(RESULT).as_dict()["unmodelled"]) == 1000


def test_cause_reads_as_address_place_and_instruction() -> None:
    word = (0xB900_0001).to_bytes(4, "little")
    assert str(Cause(0x4010_0000, word)) == "0x40100000 `str w1, [x0]`"
    place = Place("main", 8, "a.c:3")
    assert str(Cause(0x4010_0000, word, place)) == "0x40100000 main+0x8 (a.c:3) `str w1, [x0]`"
    assert str(Cause(0x4010_0000, None)) == "0x40100000 `?`"


def test_every_kind_of_fault_is_plain_data() -> None:
    """What json.dumps takes, whatever the fault is about."""
    transaction = Transaction(SID, 0x1000, True, substream_id=5)
    for code in (0, 2, 3, 4, 6, 8, 9, 10, 11, 16, 17, 18, 19):
        for stage in (1, 2):
            fault = Fault(code, transaction, stage, 3, 2, 0x1234, 1, reason="because")
            found = Recorder(Machine.virt()).summary(RESULT)
            found = found._replace(refused=[RefusedTransaction(fault, None, Cause(0, None))])
            data = json.loads(json.dumps(found.as_dict()))["faults"][0]
            assert data["substream_id"] == 5
            assert data["record"] is None
            assert data["text"] in "\n".join(found.lines())


def test_names_are_those_of_the_image() -> None:
    image = Path(__file__).resolve().parents[3] / "firmware" / "images" / "two_level.elf"
    with Machine.virt() as machine:
        machine.load(image)
        recorder = Recorder(machine)
        result = machine.run()
        found = recorder.summary(result, image)
    assert found.refused
    for refused in found.refused:
        assert refused.cause is not None
        assert refused.cause.place.symbol == "testdev_dma"
        assert (refused.cause.instruction() or "").startswith("ldr ")
