# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that do what no image should: a report, a status, and always the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from smmu_emu import Machine
from smmu_emu.trace.summary import Recorder, Summary
from tests.deadline import within

IMAGES = Path(__file__).resolve().parents[2] / "firmware" / "images"

BUDGET = 20_000_000


def run(name: str) -> Summary:
    image = IMAGES / f"{name}.elf"
    with Machine.virt() as machine, within(60):
        machine.load(image)
        recorder = Recorder(machine)
        return recorder.summary(machine.run(BUDGET), image)


@pytest.mark.parametrize(
    ("name", "status", "lines"),
    [
        (
            "jump_nowhere",
            126,
            [
                "end            exception loop: instruction abort (ESR 0x86000010) at 0x200",
                "  nothing at 0x7000000000: fetch (pc 0x7000000000)",
            ],
        ),
        ("bad_vectors", 126, ["end            exception loop: undefined instruction"]),
        ("spin", 124, ["end            20000000 instructions executed (status 124)"]),
        (
            "mmio_odd",
            0,
            [
                "  gic distributor at 0x800",
                "  gic cpu interface at 0x801",
                "  pl011 at 0x9000",
                "  smmu0 at 0x905",
                "  iommu-testdev@00:01.0 at 0x10000",
            ],
        ),
        (
            "dma_nowhere",
            0,
            ["  nothing at 0x7000000000, 0x60000000, 0x703ffffffc: write (pc 0x4010"],
        ),
        (
            "queue_outside",
            0,
            [
                "  F_STE_FETCH stream 0x8 iova 0x1000 write at 0x70001",
                "      why: the STE fetch aborted",
                "  nothing at 0x7000000000, 0x60000000: write (pc 0x4010",
                "  nothing at 0x7000000000, 0x60000000: read (pc 0x4010",
                "  nothing at 0x7000100200: read (pc 0x4010",
            ],
        ),
    ],
)
def test_hostile_image_ends_with_a_report(name: str, status: int, lines: list[str]) -> None:
    summary = run(name)
    report = list(summary.lines())
    assert summary.result.status == status
    for wanted in lines:
        assert any(line.startswith(wanted) for line in report), f"no line {wanted!r} in {report}"
    assert len(report) < 80


@pytest.mark.parametrize("name", ["mmio_odd", "queue_outside", "irq_faults", "timer"])
def test_same_image_gives_the_same_run(name: str) -> None:
    first, second = run(name), run(name)
    assert first.as_dict() == second.as_dict()
    assert list(first.lines()) == list(second.lines())
