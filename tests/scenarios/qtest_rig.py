# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorded machine behind a qtest server: it takes recorded steps, and shows their outcomes.

Everything is done as a test program does it: device registers, memory, a step of time for edu's
transfers. Transfers change nothing for good: what a write hit is put back.
"""

from __future__ import annotations

from typing import Any

from tests.golden.smmuv3.corpus import Scenario
from tests.golden.smmuv3.outcome import Outcome, Run
from tests.scenarios.qtest_client import OURS, QtestClient

SMMU, ECAM, BARS, RAM = 0x0905_0000, 0x40_1000_0000, 0x1000_0000, 0x4000_0000
GIC = "/machine/unattached/device[1]"
TESTDEVS = (0x08, 0x18, 0x30, 0x35, 0x100, 0x500, 0x1200, 0x3000, 0x7F00, 0xFE00)
EDU = 0x10
TX_FAIL = 0xDEAD_0002
PATTERN = b"\x78\x56\x34\x12"
BUFFER = 0x40000
SCRATCH = 0x5FFF_F000
EVENT_BYTES = 32
CR0, GBPA, EVENTQ_BASE, EVENTQ_PROD = 0x20, 0x44, 0xA0, 0x100A8


def _place(stream_id: int) -> str:
    return f"{stream_id >> 8:02x}:{stream_id >> 3 & 31:02x}.{stream_id & 7}"


COMMAND = [
    *OURS,
    *(f"--device=iommu-testdev@{_place(stream_id)}" for stream_id in TESTDEVS),
    f"--device=edu@{_place(EDU)},dma_mask=0xffffffffffffffff",
]


class QtestRig:
    """One machine at power-on with the scenario's memory, in a process of its own."""

    def __init__(self, scenario: Scenario) -> None:
        self.client = QtestClient(COMMAND)
        self.bars = {sid: BARS + 0x10_0000 * n for n, sid in enumerate((*TESTDEVS, EDU))}
        lines = [f"irq_intercept_in {GIC}"]
        for stream_id, bar in self.bars.items():
            config = ECAM + (stream_id << 12)
            lines += [f"writel {config + 0x10:#x} {bar:#x}", f"writel {config + 4:#x} 6"]
        lines += [_write(pa, data) for pa, data in scenario.memory]
        self.client.values(lines)
        self._prod = 0

    def memory(self, pa: int, data: bytes) -> None:
        """A write by the core."""
        self.client.ask(_write(pa, data))

    def read(self, offset: int, size: int) -> Outcome:
        """Read a register of the SMMU."""
        value = int(self.client.ask(f"read{_suffix(size)} {SMMU + offset:#x}"), 16)
        return Outcome(value=value, interrupts=self._interrupts())

    def write(self, offset: int, size: int, value: int) -> Outcome:
        """Write a register of the SMMU."""
        self.client.ask(f"write{_suffix(size)} {SMMU + offset:#x} {value:#x}")
        return Outcome(interrupts=self._interrupts())

    def transfer(self, dma: dict[str, Any], expected: list[Run]) -> Outcome:
        """A transfer; whether a write arrived is looked up where it is expected to."""
        before = self._producer()
        if dma["dir"] == "write":
            outcome = self._testdev(dma, expected)
        else:
            outcome = self._edu(dma["iova"], BUFFER, dma["len"], 1)
        outcome.prod = self._producer()
        outcome.events = self._events(before, outcome.prod)
        outcome.interrupts = self._interrupts()
        return outcome

    def last_data(self, size: int) -> bytes:
        """What edu's last read got: without translation, it is written to memory."""
        self.write(CR0, 4, 0)
        self.write(GBPA, 4, 1 << 31)
        self._edu(BUFFER, SCRATCH, size, 3)
        return _bytes(self.client.ask(f"read {SCRATCH:#x} {size}"))

    def _testdev(self, dma: dict[str, Any], expected: list[Run]) -> Outcome:
        bar, iova, length = self.bars[dma["sid"]], dma["iova"], dma["len"]
        look = [f"read {pa:#x} {size}" for pa, size in expected]
        pa = expected[0][0] if expected else RAM
        registers = (iova & 0xFFFF_FFFF, iova >> 32, length), (pa & 0xFFFF_FFFF, pa >> 32)
        old = self.client.values(look)
        *_, result = self.client.values(
            [
                *(
                    f"writel {bar + 4 + 4 * n:#x} {value:#x}"
                    for n, value in enumerate(registers[0])
                ),
                *(
                    f"writel {bar + 0x1C + 4 * n:#x} {value:#x}"
                    for n, value in enumerate(registers[1])
                ),
                f"writel {bar + 0x14:#x} 1",
                f"readl {bar:#x}",
                f"readl {bar + 0x10:#x}",
            ]
        )
        new = self.client.values(look)
        arrived = [_bytes(data) for data in new]
        # a run may begin anywhere in the pattern: it is told where in memory, not where in time
        whole = all(data in PATTERN * (length // 4 + 2) for data in arrived)
        runs = expected if whole else [(0, 0)]
        self.client.values(
            _write(pa, _bytes(data)) for (pa, _), data in zip(expected, old, strict=True)
        )
        return Outcome(ok=int(result, 16) != TX_FAIL, runs=runs)

    def _edu(self, source: int, destination: int, size: int, command: int) -> Outcome:
        bar = self.bars[EDU]
        values = zip((0x80, 0x88, 0x90, 0x98), (source, destination, size, command), strict=True)
        lines = [f"writeq {bar + register:#x} {value:#x}" for register, value in values]
        *_, state = self.client.values([*lines, "clock_step", f"readq {bar + 0x98:#x}"])
        assert int(state, 16) == command & ~1
        return Outcome()

    def _producer(self) -> int:
        return int(self.client.ask(f"readl {SMMU + EVENTQ_PROD:#x}"), 16)

    def _events(self, before: int, after: int) -> list[bytes]:
        base = int(self.client.ask(f"readq {SMMU + EVENTQ_BASE:#x}"), 16)
        size_lg2, start = base & 0x1F, base & (1 << 52) - 0x20
        start &= -(EVENT_BYTES << size_lg2) if size_lg2 else start
        count = after - before & (1 << size_lg2 + 1) - 1
        where = (start + EVENT_BYTES * (before + n & (1 << size_lg2) - 1) for n in range(count))
        return [_bytes(self.client.ask(f"read {pa:#x} {EVENT_BYTES}")) for pa in where]

    def _interrupts(self) -> list[int]:
        raised = (line.split() for line in self.client.take_interrupts())
        return sorted(int(number) for _, edge, number in raised if edge == "raise")


def _suffix(size: int) -> str:
    return "l" if size == 4 else "q"


def _write(pa: int, data: bytes) -> str:
    return f"write {pa:#x} {len(data):#x} 0x{data.hex()}"


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])
