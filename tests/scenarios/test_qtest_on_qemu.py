# SPDX-License-Identifier: GPL-2.0-or-later
"""One qtest script, line by line: QEMU's answers and interrupts are ours.

The script is hand-written, as test programs are: PCI configuration, edu, a stage 1 stream with its
tables, command queue, DMA, faults, interrupts, time. It asks for nothing in which QEMU is known to
leave the architecture.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import cache

import pytest

from tests.firmware import qemu_virt
from tests.scenarios.qtest_client import OURS, QtestClient

MACHINE = shlex.split(
    "-M virt,acpi=off,iommu=smmuv3 -m 512 -nodefaults -display none -accel qtest -qtest stdio "
    "-device iommu-testdev,addr=01.0 -device edu,addr=02.0,dma_mask=0xffffffffffffffff"
)

SMMU, EDU, TESTDEV = 0x0905_0000, 0x1010_0000, 0x1000_0000
EDU_CONFIG, TESTDEV_CONFIG = 0x40_1001_0000, 0x40_1000_8000
GIC = "/machine/unattached/device[1]"
STRTAB, CD, COMMANDS, EVENTS = 0x4010_0000, 0x4011_0000, 0x4012_0000, 0x4013_0000
TABLES, DATA = 0x4020_0000, 0x4030_0000
IOVA, HOLE = 0x1234_5000, 0x1234_6000
TABLE, PAGE = 3, 0x0060_0000_0000_0703  # inner shareable, AF; XN; AP: EL0 and EL1 may write
CMDQ_PROD, EVENTQ_CONS = 0x98, 0x100AC


def quads(pa: int, *values: int) -> Iterator[str]:
    for n, value in enumerate(values):
        yield f"writeq {pa + 8 * n:#x} {value:#x}"


def machine() -> Iterator[str]:
    yield "endianness"
    yield from ("frob 1", "irq_intercept_in /machine/unattached/device[99]")
    yield f"irq_intercept_in {GIC}"
    yield f"irq_intercept_in {GIC}"
    for config, bar in ((TESTDEV_CONFIG, TESTDEV), (EDU_CONFIG, EDU)):
        yield from (f"readl {config + offset:#x}" for offset in range(0, 0x60, 4))
        yield f"readq {config:#x}"
        yield f"readw {config + 2:#x}"
        yield f"writel {config + 0x10:#x} 0xffffffff"
        yield f"readl {config + 0x10:#x}"
        yield f"writel {config + 0x10:#x} {bar:#x}"
        yield f"writel {config + 4:#x} 0x6"


def memory() -> Iterator[str]:
    yield from (f"read{s} 0x60000000" for s in "bwlq")
    yield "writel 0x60000000 1"
    yield "readl 0x5ffffffe"
    yield "read 0x5ffffff8 16"
    yield f"write {DATA:#x} 0x10 0x000102030405060708090a0b0c0d0e0f"
    yield from (f"read{s} {DATA + 1:#x}" for s in "bwlq")
    yield f"readl {DATA}"
    yield f"readl 0{DATA:o}"
    yield f"b64read {DATA:#x} 16"
    yield f"b64write {DATA + 16:#x} 4 AQIDBA=="
    yield f"memset {DATA + 24:#x} 8 0x1ff"
    yield f"memset {DATA:#x} 0 0"
    yield f"write {DATA + 32:#x} 4 0x0102"
    yield f"read {DATA:#x} 48"
    yield f"writeb {DATA:#x} 0x1ff"
    yield f"writew {DATA + 2:#x} 0x1ffff"
    yield f"readq {DATA:#x} and more words"
    yield from ("inb 0", "inw 2", "inl 4", "outb 0 1")


def edu() -> Iterator[str]:
    yield from (f"readl {EDU + offset:#x}" for offset in range(0, 0x100, 4))
    yield from (f"readq {EDU + offset:#x}" for offset in range(0, 0x100, 8))
    yield from (f"read{s} {EDU + offset:#x}" for s in "bw" for offset in (0, 4, 0x80))
    yield f"writel {EDU + 4:#x} 0x12345678"
    yield f"readl {EDU + 4:#x}"
    yield f"writeb {EDU + 4:#x} 1"
    yield f"readl {EDU + 4:#x}"
    for command in ("0x60} 0x82", "0x60} 0x1", "0x64} 0x2", "0x64} 0x81", "0x60} 0"):
        register, value = command.split("} ")
        yield f"writel {EDU + int(register, 16):#x} {value}"
        yield f"readl {EDU + 0x24:#x}"
        yield f"readl {EDU_CONFIG + 4:#x}"
    yield f"writel {EDU + 0x60:#x} 1"
    yield f"writel {EDU_CONFIG + 4:#x} 0x406"
    yield f"writel {EDU_CONFIG + 4:#x} 0x6"
    yield f"writel {EDU + 0x64:#x} 1"
    yield from messages()


def messages() -> Iterator[str]:
    """MSIs, of which RAM is the receiver."""
    capability = EDU_CONFIG + 0x40
    for offset, value in ((4, DATA + 0x403), (8, 0), (12, 0xFFFF_1234), (0, 0xFFFF_FFFF)):
        yield f"writel {capability + offset:#x} {value:#x}"
    yield from (f"readl {capability + offset:#x}" for offset in range(0, 0x18, 4))
    yield f"writel {EDU + 0x60:#x} 1"
    yield f"readl {DATA + 0x400:#x}"
    yield f"writel {capability:#x} 0"
    yield f"writel {EDU + 0x64:#x} 1"


def time() -> Iterator[str]:
    yield from ("clock_step", "clock_step 1500001", "clock_set 5", "clock_step 0", "clock_step -5")
    yield from edu_dma(DATA, 0x40000, 16, 5)
    yield from (f"readq {EDU + 0x98:#x}", "clock_step 99499998", f"readq {EDU + 0x98:#x}")
    yield from (f"writeq {EDU + 0x80:#x} 0x77", f"readq {EDU + 0x80:#x}")
    yield from ("clock_step 1", f"readl {EDU + 0x24:#x}", f"readq {EDU + 0x98:#x}")
    yield f"writel {EDU + 0x64:#x} 0x100"
    yield from edu_dma(0x40004, DATA + 0x100, 12, 3)
    yield from ("clock_step", f"read {DATA + 0x100:#x} 16", "clock_set 500000000", "clock_step")
    yield f"writel {EDU_CONFIG + 4:#x} 0x2"
    yield from edu_dma(DATA, 0x40000, 8, 1)
    yield from ("clock_step", f"writel {EDU_CONFIG + 4:#x} 0x6")
    yield from edu_dma(0x40000, DATA + 0x100, 16, 3)
    yield from ("clock_step", f"read {DATA + 0x100:#x} 16")


def edu_dma(source: int, destination: int, size: int, command: int) -> Iterator[str]:
    for register, value in ((0x80, source), (0x88, destination), (0x90, size), (0x98, command)):
        yield f"writeq {EDU + register:#x} {value:#x}"


def streams() -> Iterator[str]:
    """Both functions' streams have stage 1: one page at `IOVA`, nothing behind it."""
    yield from (f"readl {SMMU + offset:#x}" for offset in (0, 4, 8, 0xC, 0x10, 0x14, 0x18, 0x1C))
    for stream_id in (8, 16):
        yield from quads(STRTAB + 64 * stream_id, CD | 0xB, 0x0800_0000_0000_0000)
    #           T0SZ 25, 4K, IPS 44, EPD1, V   AA64, A, R, ASET
    yield from quads(CD, 0x0000_E204_C000_3519 | 0x1 << 48, TABLES, 0, 0xFF)
    yield from quads(TABLES + 8 * (IOVA >> 30), TABLES + 0x1000 | TABLE)
    yield from quads(TABLES + 0x1000 + 8 * (IOVA >> 21 & 511), TABLES + 0x2000 | TABLE)
    yield from quads(TABLES + 0x2000 + 8 * (IOVA >> 12 & 511), DATA + 0x2000 | PAGE | 0x40)
    for offset, value in ((0x80, STRTAB), (0x90, COMMANDS | 8), (0xA0, EVENTS | 7)):
        yield f"writeq {SMMU + offset:#x} {value:#x}"
    for offset, value in ((0x88, 8), (0x50, 5), (0x20, 0xD), (0x2C, 2)):
        yield f"writel {SMMU + offset:#x} {value:#x}"
    yield f"readl {SMMU + 0x24:#x}"


def commands() -> Iterator[str]:
    """CFGI_ALL, TLBI_NSNH_ALL, CMD_SYNC with an interrupt, then one that does not exist."""
    for n, word in enumerate((0x04, 0x30, 0x46 | 1 << 12, 0xFF)):
        yield from quads(COMMANDS + 16 * n, word, 31 if word == 4 else 0)
    for count in (3, 4):
        yield f"writel {SMMU + CMDQ_PROD:#x} {count}"
        yield from (f"readl {SMMU + offset:#x}" for offset in (0x9C, 0x60))
    yield from (f"writel {SMMU + 0x64:#x} 1", f"readl {SMMU + 0x60:#x}")


def translated_dma() -> Iterator[str]:
    for iova in (IOVA + 0x10, HOLE + 0x20, IOVA + 0x20):
        values = (iova, 0, 8 if iova == IOVA + 0x20 else 4)
        yield from (f"writel {TESTDEV + 4 + 4 * n:#x} {v:#x}" for n, v in enumerate(values))
        yield f"writel {TESTDEV + 0x1C:#x} {DATA + 0x2000 + iova % 4096:#x}"
        yield from (f"writel {TESTDEV + 0x14:#x} 1", f"readl {TESTDEV:#x}")
        yield f"readl {TESTDEV + 0x10:#x}"
        yield f"readl {SMMU + 0x100A8:#x}"
    yield f"writel {SMMU + EVENTQ_CONS:#x} 1"
    yield f"read {DATA + 0x2000:#x} 64"
    for source, command in ((IOVA + 0x10, 5), (HOLE, 1)):
        yield from edu_dma(source, 0x40000, 4, command)
        yield from ("clock_step", f"readl {EDU + 0x24:#x}")
    yield from edu_dma(0x40000, IOVA + 0x30, 8, 3)
    yield from ("clock_step", f"read {DATA + 0x2000:#x} 64")
    yield from (f"readl {SMMU + 0x100A8:#x}", f"read {EVENTS:#x} 96")
    yield f"writel {EDU + 0x64:#x} 0x100"


SCRIPT = [machine, memory, edu, time, streams, commands, translated_dma]


@cache
def no_qemu() -> str:
    """Why there is no QEMU to compare with, or nothing."""
    command, why = qemu_virt.find_qemu()
    if not command:
        return why
    try:
        with QtestClient([*command, *MACHINE]) as client:
            client.ask("endianness")
    except (AssertionError, BrokenPipeError):
        return f"{command[0]} has no qtest accelerator (QEMU_MODULE_DIR names its modules)"
    return ""


def transcript(command: list[str]) -> list[str]:
    """The script's lines, each followed by what came back."""
    said = []
    with QtestClient(command) as client:
        for part in SCRIPT:
            for line in part():
                answer = client.batch([line])[0]
                said += [f"> {line}", *client.take_interrupts(), answer]
    return said


def test_script_that_qemu_answers_is_answered_the_same() -> None:
    if no_qemu():
        pytest.skip(no_qemu())

    ours = transcript([*OURS, *MACHINE])

    assert ours == transcript([*qemu_virt.find_qemu()[0], *MACHINE])


def test_script_meets_translations_faults_and_interrupts() -> None:
    """What the comparison rests on is in the script, whether QEMU is installed or not."""
    said = transcript([*OURS, *MACHINE])
    interrupts = [line for line in said if line.startswith("IRQ raise")]
    producers = [
        said[n + 1] for n, line in enumerate(said) if line == f"> readl {SMMU + 0x100A8:#x}"
    ]

    assert {int(line.split()[2]) for line in interrupts} == {5, 74, 76, 77}
    assert [int(answer.split()[1], 16) for answer in producers[:3]] == [0, 1, 1]
    assert f"> read {DATA + 0x2000:#x} 64" in said
    memory_after = said[said.index(f"> read {DATA + 0x2000:#x} 64") + 1]
    assert memory_after[5:].find("78563412") == 32
