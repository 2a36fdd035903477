# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers of a counter group: what is there, who may write it, overflow, capture, interrupts.

Spec: IHI 0070 10.2.1, 10.5. What is counted: `test_pmcg_counting`.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from smmu_emu.errors import ConfigurationError
from smmu_emu.smmuv3 import PRESETS, IdRegisters, Smmuv3
from smmu_emu.smmuv3.device import Delays
from smmu_emu.smmuv3.pmcg import Pmcg
from tests.unit.smmuv3.pmcg_rig import ARRAYS, CYCLE, OVFCAP, PLACES, SPAN, TRANSACTION, Group
from tests.unit.smmuv3.rig import NOWHERE, RAM, SID, Bench, make_ids

FIRST = make_ids(MSI=1, minor=0, XNX=0, RIL=0, BBML=0)
"""ID registers of SMMUv3.0."""


def make(bench: Bench | None = None, **options: Any) -> tuple[Bench, Group]:
    """A group whose SMMU lets everything of stream ``SID`` pass."""
    bench = bench or Bench(make_ids(MSI=1))
    bench.ste(V=1, Config=0b100)
    return bench, Group(bench.smmu, **options)


def step(bench: Bench, transactions: int = 1) -> None:
    """So many transactions."""
    for _ in range(transactions):
        bench.pa(0x1000)


# -- identification


def test_configuration_register_says_what_the_group_has() -> None:
    _, group = make(counters=6, size=40)
    # SIZE 39, NCTR 5, CAPTURE, MSI, RELOC_CTRS
    assert group.r("CFGR") == 0x0070_2705


def test_configuration_register_of_the_least_group() -> None:
    bench = Bench(make_ids(MSI=1))
    small = {"counters": 1, "size": 32, "relocated": False, "capture": False, "msi": False}
    assert Group(bench.smmu, **small).r("CFGR") == 0x0000_1F00
    assert Group(bench.smmu, **small, shared_filter=True).r("CFGR") == 0x0080_1F00
    assert Group(bench.smmu, counters=64).r("CFGR") & 0x3F == 63


def test_messages_are_by_default_as_the_smmu_has_them() -> None:
    assert not Group(Bench(make_ids(MSI=0)).smmu).r("CFGR") & 1 << 21
    assert Group(Bench(make_ids(MSI=1)).smmu).r("CFGR") & 1 << 21


@pytest.mark.parametrize(("ats", "events"), [(0, 0x3F), (1, 0xFF)])
def test_events_are_those_that_the_smmu_can_have(ats: int, events: int) -> None:
    _, group = make(Bench(make_ids(ATS=ats)))
    assert group.r("CEID0") == events
    assert group.r("CEID1") == 0


@pytest.mark.parametrize(
    ("ids", "version"), [(FIRST, 0x00), (make_ids(), 0x01), (make_ids("full"), 0x02)]
)
def test_group_has_the_version_of_its_smmu(ids: IdRegisters, version: int) -> None:
    _, group = make(Bench(ids))
    assert group.r("AIDR") == version


def test_identification_block() -> None:
    _, group = make(iidr=0xABC2_143B)
    assert group.r("IIDR") == 0xABC2_143B
    block = {offset: group.device.read(offset, 4) for offset in range(0xFB0, 0x1000, 4)}
    assert {offset: value for offset, value in block.items() if value} == {
        0xFBC: 0x4770_2A56,
        0xFCC: 0x56,
        0xFD0: 0x04,
        0xFE0: 0xBC,
        0xFE4: 0xBA,
        0xFE8: 0x2B,
        0xFEC: 0x10,
        0xFF0: 0x0D,
        0xFF4: 0x90,
        0xFF8: 0x05,
        0xFFC: 0xB1,
    }


@pytest.mark.parametrize(
    "name",
    [
        *("CFGR", "IIDR", "CEID0", "CEID1", "AIDR", "IRQ_CTRLACK", "IRQ_STATUS"),
        *("SCR", "ROOTCR", "GMPAM", "MPAMIDR"),
    ],
)
def test_register_that_is_read_only_or_absent_ignores_writes(name: str) -> None:
    _, group = make()
    before = group.r(name)
    group.w(name, ~before & 0xFFFF_FFFF)
    assert group.r(name) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"counters": 0}, "counters = 0: 1 to 64"),
        ({"counters": 65}, "counters = 65: 1 to 64"),
        ({"size": 33}, "size = 33: 32, 36, 40, 44, 48, 64"),
        ({"cycle": 0}, "cycle = 0: 1 to"),
    ],
)
def test_group_that_cannot_be_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Pmcg(Bench().smmu, **options)  # type: ignore[arg-type]


# -- access


@pytest.mark.parametrize("relocated", [True, False])
@pytest.mark.parametrize(("size", "stride"), [(32, 4), (36, 8), (64, 8)])
def test_counters_lie_4_or_8_bytes_apart_in_one_page_or_the_other(
    size: int, stride: int, relocated: bool
) -> None:
    _, group = make(counters=4, size=size, relocated=relocated)
    page = 0x1_0000 if relocated else 0
    for n in range(4):
        group.device.write(page + stride * n, stride, 0x1000 + n)
    assert group.counts == [0x1000, 0x1001, 0x1002, 0x1003]
    assert group.device.read(page + 3 * stride, stride) == 0x1003


def test_what_is_moved_to_page_1_is_no_longer_in_page_0() -> None:
    told: list[tuple[int, str]] = []
    _, group = make(report=lambda offset, kind: told.append((offset, kind)))
    group.w("EVCNTR", 5, 0)
    group.w("OVSSET0", 1)
    moved = [(0x000, 8), (0x600, 8), (0xC80, 8), (0xCC0, 8), (0xD88, 4)]
    for offset, size in moved:
        assert group.device.read(offset, size) == 0
        group.device.write(offset, size, 1)
    assert (group.r("EVCNTR", 0), group.r("OVSSET0"), group.r("SVR", 0)) == (5, 1, 0)
    assert [offset for offset, _ in told] == [offset for offset, _ in moved for _ in "rw"]


def test_what_is_not_moved_is_not_in_page_1() -> None:
    _, group = make()
    assert group.device.read(0x1_0E00, 4) == 0


@pytest.mark.parametrize("size", [32, 36, 40, 44, 48, 64])
def test_counter_has_no_more_bits_than_size_says(size: int) -> None:
    _, group = make(size=size)
    ones = (1 << size) - 1
    group.w("EVCNTR", (1 << 64) - 1, 1)
    assert group.r("EVCNTR", 1) == ones


def test_halves_of_64_bit_registers_are_accessed_alone() -> None:
    _, group = make(counters=64)
    group.device.write(0x1_0004, 4, 0x1122_3344)
    group.device.write(0x1_0000, 4, 0x5566_7788)
    assert group.r("EVCNTR", 0) == 0x1122_3344_5566_7788
    assert group.device.read(0x1_0004, 4) == 0x1122_3344
    group.device.write(0xC04, 4, 0x8000_0001)
    assert group.r("CNTENSET0") == 0x8000_0001_0000_0000
    group.device.write(0xC24, 4, 1)
    assert group.device.read(0xC04, 4) == 0x8000_0000


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0xE04, 8), (0xE04, 2), (0xE04, 1), (0xE06, 4), (0xC04, 8), (0xE80, 4), (0x1_0000, 1)],
)
def test_access_that_is_illegal_or_reaches_nothing_does_nothing_and_is_told(
    offset: int, size: int
) -> None:
    told: list[tuple[int, str]] = []
    _, group = make(report=lambda at, kind: told.append((at, kind)))
    group.device.write(offset, size, 1)
    assert group.device.read(offset, size) == 0
    assert (group.r("CR"), group.counts) == (0, [0, 0, 0, 0])
    assert told == [(offset, f"write of {size} bytes"), (offset, f"read of {size} bytes")]


def test_registers_of_counters_that_do_not_exist_are_zero() -> None:
    _, group = make(counters=3)
    for name in ("EVCNTR", "EVTYPER", "SVR", "SMR"):
        group.w(name, 0x3F, 3)
        assert group.r(name, 3) == 0
    group.w("CNTENSET0", (1 << 64) - 1)
    group.w("INTENSET0", (1 << 64) - 1)
    group.w("OVSSET0", (1 << 64) - 1)
    assert [group.r(name) for name in ("CNTENSET0", "INTENSET0", "OVSSET0")] == [7, 7, 7]


@pytest.mark.parametrize("name", ["CNTEN", "INTEN", "OVS"])
def test_bits_are_set_and_cleared_by_ones(name: str) -> None:
    _, group = make()
    group.w(f"{name}SET0", 0b1010)
    group.w(f"{name}SET0", 0b0001)
    assert (group.r(f"{name}SET0"), group.r(f"{name}CLR0")) == (0b1011, 0b1011)
    group.w(f"{name}CLR0", 0b0010)
    group.w(f"{name}CLR0", 0)
    assert (group.r(f"{name}SET0"), group.r(f"{name}CLR0")) == (0b1001, 0b1001)


def test_event_type_has_the_fields_that_the_group_has() -> None:
    _, group = make()
    group.w("EVTYPER", 0xFFFF_FFFF, 1)
    assert group.r("EVTYPER", 1) == 0xA000_FFFF
    _, group = make(capture=False, shared_filter=True)
    for n in range(2):
        group.w("EVTYPER", 0xFFFF_FFFF, n)
        group.w("SMR", 0xFFFF_FFFF, n)
    assert [group.r("EVTYPER", n) for n in range(2)] == [0x2000_FFFF, 0x0000_FFFF]
    assert [group.r("SMR", n) for n in range(2)] == [0xFFFF, 0]


def test_stream_filter_has_as_many_bits_as_the_smmus_streams() -> None:
    _, group = make(Bench(make_ids(SIDSIZE=12)))
    group.w("SMR", 0xFFFF_FFFF, 2)
    assert group.r("SMR", 2) == 0xFFF


def test_message_registers_are_absent_without_messages() -> None:
    _, group = make(msi=False)
    for name in ("IRQ_CFG0", "IRQ_CFG1", "IRQ_CFG2"):
        group.w(name, 0xFFFF_FFFF)
        assert group.r(name) == 0


def test_message_registers_have_their_fields_only() -> None:
    _, group = make()  # OAS is 44 bits
    group.w("IRQ_CFG0", (1 << 64) - 1)
    group.w("IRQ_CFG1", 0xFFFF_FFFF)
    group.w("IRQ_CFG2", 0xFFFF_FFFF)
    assert group.r("IRQ_CFG0") == 0x0FFF_FFFF_FFFC
    assert (group.r("IRQ_CFG1"), group.r("IRQ_CFG2")) == (0xFFFF_FFFF, 0x3F)


# -- enables


def test_counter_counts_only_with_both_enables() -> None:
    bench, group = make()
    group.w("EVTYPER", TRANSACTION | SPAN, 0)
    group.w("SMR", 0xFFFF_FFFF, 0)
    step(bench)
    group.w("CNTENSET0", 1)
    step(bench)
    assert group.counts[0] == 0
    group.w("CR", 1)
    step(bench, 3)
    assert group.counts[0] == 3
    group.w("CNTENCLR0", 1)
    step(bench)
    group.w("CNTENSET0", 1)
    group.w("CR", 0)
    step(bench)
    assert group.counts[0] == 3
    group.w("CR", 1)
    step(bench)
    assert group.counts[0] == 4


# -- overflow


@pytest.mark.parametrize("size", [32, 36, 40, 44, 48, 64])
def test_counter_wraps_sets_its_bit_and_counts_on(size: int) -> None:
    bench, group = make(size=size)
    group.use(1, TRANSACTION)
    group.w("EVCNTR", (1 << size) - 2, 1)
    step(bench)
    assert (group.r("EVCNTR", 1), group.r("OVSSET0")) == ((1 << size) - 1, 0)
    step(bench)
    assert (group.r("EVCNTR", 1), group.r("OVSSET0")) == (0, 0b10)
    step(bench, 2)
    assert (group.r("EVCNTR", 1), group.r("OVSCLR0")) == (2, 0b10)


def overflowing(bench: Bench, group: Group, n: int = 0, more: int = 0) -> None:
    """Counter ``n`` will overflow with the next transaction."""
    group.use(n, TRANSACTION, more=more)
    group.w("EVCNTR", (1 << group.size) - 1, n)


@pytest.mark.parametrize(
    ("inten", "irqen", "edges"), [(0, 0, 0), (0, 1, 0), (2, 0, 0), (1, 1, 0), (2, 1, 1)]
)
def test_wire_pulses_if_both_enables_are_set_when_the_counter_overflows(
    inten: int, irqen: int, edges: int
) -> None:
    bench, group = make()
    group.w("INTENSET0", inten)
    group.w("IRQ_CTRL", irqen)
    overflowing(bench, group, 1)
    step(bench)
    assert group.r("OVSSET0") == 2
    assert group.device.interrupt.pulses == edges
    group.w("INTENSET0", 0xF)
    group.w("IRQ_CTRL", 1)
    step(bench)
    assert group.device.interrupt.pulses == edges, "enables that come late change nothing"


def test_overflow_interrupts_although_its_bit_is_still_set() -> None:
    bench, group = make()
    group.w("INTENSET0", 1)
    group.w("IRQ_CTRL", 1)
    for edges in (1, 2):
        overflowing(bench, group)
        step(bench)
        assert (group.r("OVSSET0"), group.device.interrupt.pulses) == (1, edges)


def test_bits_that_software_sets_have_no_side_effects() -> None:
    _, group = make()
    group.w("EVTYPER", OVFCAP, 0)
    group.w("EVCNTR", 77, 0)
    group.w("INTENSET0", 1)
    group.w("IRQ_CTRL", 1)
    group.w("OVSSET0", 1)
    assert (group.device.interrupt.pulses, group.r("SVR", 0)) == (0, 0)


def test_two_counters_that_overflow_together_are_one_interrupt() -> None:
    bench, group = make()
    group.w("INTENSET0", 3)
    group.w("IRQ_CTRL", 1)
    overflowing(bench, group, 0)
    overflowing(bench, group, 1)
    step(bench)
    assert (group.r("OVSSET0"), group.device.interrupt.pulses) == (3, 1)


def test_interrupt_comes_after_status_value_and_capture() -> None:
    bench, group = make()
    seen: list[tuple[int, ...]] = []

    def look(level: bool) -> None:
        if level:
            registers = [group.r("OVSSET0"), *(group.r("EVCNTR", n) for n in range(2))]
            seen.append((*registers, *(group.r("SVR", n) for n in range(2))))

    group.device.interrupt.sink = look
    group.w("INTENSET0", 1)
    group.w("IRQ_CTRL", 1)
    overflowing(bench, group, 0, more=OVFCAP)
    group.use(1, TRANSACTION)
    group.w("EVCNTR", 40, 1)
    step(bench)
    assert seen == [(1, 0, 41, 0, 41)]


# -- capture


def test_capture_copies_all_counters_at_once() -> None:
    bench, group = make()
    group.use(0, TRANSACTION)
    group.use(1, CYCLE)
    group.w("EVCNTR", 0x1234, 3)
    bench.smmu.clock.advance(50)
    step(bench, 2)
    group.w("CAPR", 1)
    assert group.r("CAPR") == 0
    bench.smmu.clock.advance(90)
    step(bench)
    assert [group.r("SVR", n) for n in range(4)] == [2, 50, 0, 0x1234]
    assert group.counts == [3, 90, 0, 0x1234]


def test_capture_register_captures_by_bit_0_alone_and_shadows_are_read_only() -> None:
    _, group = make()
    group.w("EVCNTR", 9, 0)
    group.w("CAPR", 0xFFFF_FFFE)
    group.w("SVR", 5, 0)
    assert group.r("SVR", 0) == 0


def test_only_a_counter_that_asks_for_it_captures_by_overflow() -> None:
    bench, group = make()
    overflowing(bench, group, 0)
    group.w("EVTYPER", OVFCAP, 1)
    group.w("EVCNTR", 8, 3)
    step(bench)
    assert group.r("SVR", 3) == 0
    overflowing(bench, group, 0, more=OVFCAP)
    step(bench)
    assert [group.r("SVR", n) for n in range(4)] == [0, 0, 0, 8]


def test_capture_by_overflow_brings_cycles_up_to_date() -> None:
    bench, group = make()
    group.use(1, CYCLE)
    overflowing(bench, group, 0, more=OVFCAP)
    bench.smmu.clock.advance(33)
    step(bench)
    bench.smmu.clock.advance(44)
    assert [group.r("SVR", n) for n in range(2)] == [0, 33]


def test_group_without_capture_captures_nothing() -> None:
    bench, group = make(capture=False)
    overflowing(bench, group, 0, more=OVFCAP)
    group.w("EVCNTR", 7, 2)
    group.w("CAPR", 1)
    step(bench)
    assert [group.r("SVR", n) for n in range(4)] == [0] * 4


# -- messages


MESSAGE_AT = RAM + 0x30_0000


def with_message(address: int = MESSAGE_AT, bench: Bench | None = None) -> tuple[Bench, Group]:
    """A group that sends 0xCAFEF00D to an address when counter 0 overflows."""
    bench, group = make(bench)
    group.w("IRQ_CFG0", address)
    group.w("IRQ_CFG1", 0xCAFE_F00D)
    group.w("IRQ_CFG2", 0x1)
    group.w("INTENSET0", 1)
    group.w("IRQ_CTRL", 1)
    overflowing(bench, group)
    return bench, group


def test_overflow_sends_its_message_and_leaves_the_wire_alone() -> None:
    bench, group = with_message()
    step(bench)
    assert bench.memory.read(MESSAGE_AT, 8) == b"\x0d\xf0\xfe\xca\0\0\0\0"
    assert (group.device.interrupt.pulses, group.r("IRQ_STATUS")) == (0, 0)


def test_message_goes_through_the_groups_own_port() -> None:
    bench, group = with_message()
    sent: list[tuple[int, bytes]] = []
    group.device.ports["msi"].write = lambda pa, data: not sent.append((pa, bytes(data)))
    step(bench)
    assert sent == [(MESSAGE_AT, b"\x0d\xf0\xfe\xca")]


def test_message_that_aborts_is_told_until_the_interrupt_is_enabled_anew() -> None:
    bench, group = with_message(NOWHERE)
    assert group.r("IRQ_STATUS") == 0
    step(bench)
    assert group.r("IRQ_STATUS") == 1
    group.w("IRQ_CTRL", 1)
    group.w("IRQ_CTRL", 0)
    assert group.r("IRQ_STATUS") == 1
    group.w("IRQ_CTRL", 1)
    assert group.r("IRQ_STATUS") == 0


def test_version_3_0_does_not_tell_of_messages_that_abort() -> None:
    bench, group = with_message(NOWHERE, Bench(FIRST))
    step(bench)
    assert (group.r("OVSSET0"), group.r("IRQ_STATUS")) == (1, 0)


@pytest.mark.parametrize("name", ["IRQ_CFG0", "IRQ_CFG1", "IRQ_CFG2"])
def test_message_registers_are_guarded_by_the_enable_and_its_acknowledge(name: str) -> None:
    bench = Bench(make_ids(MSI=1), setup=False, delays=Delays(acknowledge=100))
    group, clock = Group(bench.smmu), bench.smmu.clock
    group.w(name, 0x10)
    group.w("IRQ_CTRL", 1)
    group.w(name, 0x20)
    assert (group.r(name), group.r("IRQ_CTRLACK")) == (0x10, 0)
    clock.advance(clock.now + 100)
    group.w(name, 0x20)
    assert (group.r(name), group.r("IRQ_CTRLACK")) == (0x10, 1)
    group.w("IRQ_CTRL", 0)
    group.w(name, 0x20)
    assert (group.r(name), group.r("IRQ_CTRLACK")) == (0x10, 1)
    clock.advance(clock.now + 100)
    group.w(name, 0x20)
    assert (group.r(name), group.r("IRQ_CTRLACK")) == (0x20, 0)


# -- clock cycles


def cycles(**options: Any) -> tuple[Smmuv3, Group]:
    """A group whose counter 0 counts cycles."""
    smmu = Bench(make_ids(MSI=1)).smmu
    group = Group(smmu, **options)
    group.use(0, CYCLE)
    return smmu, group


def test_cycles_are_virtual_time_while_the_counter_is_enabled() -> None:
    smmu, group = cycles()
    smmu.clock.advance(100)
    assert group.counts[0] == 100
    group.w("CNTENCLR0", 1)
    smmu.clock.advance(150)
    group.w("CNTENSET0", 1)
    smmu.clock.advance(160)
    group.w("CR", 0)
    smmu.clock.advance(1000)
    assert group.counts[0] == 110
    group.w("CR", 1)
    group.w("EVCNTR", 5, 0)
    smmu.clock.advance(1001)
    assert group.device.counts == [6, 0, 0, 0]


def test_cycle_may_be_longer_than_a_nanosecond() -> None:
    smmu, group = cycles(cycle=8)
    smmu.clock.advance(79)
    assert group.counts[0] == 9
    smmu.clock.advance(80)
    assert group.counts[0] == 10


def test_cycles_are_counted_whatever_the_filter() -> None:
    smmu, group = cycles()
    group.w("EVTYPER", CYCLE, 0)
    group.w("SMR", 0x77, 0)
    smmu.clock.advance(7)
    assert group.counts[0] == 7


def test_cycles_alone_leave_the_smmu_unobserved() -> None:
    smmu, group = cycles()
    assert smmu.stages.port.is_plain
    group.use(1, TRANSACTION)
    assert not smmu.stages.port.is_plain


def test_cycles_interrupt_at_the_very_time_of_the_overflow() -> None:
    smmu, group = cycles(size=32, cycle=10)
    times: list[int] = []
    group.device.interrupt.sink = lambda level: times.append(smmu.clock.now) if level else None
    group.w("INTENSET0", 1)
    group.w("IRQ_CTRL", 1)
    smmu.clock.advance(7)
    group.w("EVCNTR", 0xFFFF_FFFE, 0)  # cycle 1 begins at 10, cycle 2 at 20
    smmu.clock.advance(19)
    assert times == []
    smmu.clock.advance(500)
    assert times == [20]
    assert (group.counts[0], group.r("OVSSET0")) == (48, 1)


def test_cycles_interrupt_again_after_a_whole_round() -> None:
    smmu, group = cycles(size=32)
    group.w("INTENSET0", 1)
    group.w("IRQ_CTRL", 1)
    smmu.clock.advance((1 << 32) - 1)
    assert group.device.interrupt.pulses == 0
    smmu.clock.advance(3 << 32)
    assert (group.device.interrupt.pulses, group.counts[0]) == (3, 0)


def test_cycles_that_interrupt_nobody_keep_nobody_awake() -> None:
    smmu, group = cycles(size=32)
    group.w("INTENSET0", 1)
    assert smmu.clock.next_deadline() is None
    smmu.clock.advance(1 << 32)
    assert (group.r("OVSSET0"), group.counts[0]) == (1, 0)
    group.w("IRQ_CTRL", 1)
    assert group.device.interrupt.pulses == 0
    assert smmu.clock.next_deadline() == 2 << 32
    group.w("CNTENCLR0", 1)
    assert smmu.clock.next_deadline() is None


def test_cycles_capture_at_the_very_time_of_the_overflow() -> None:
    smmu, group = cycles(size=32)
    group.w("EVTYPER", CYCLE | OVFCAP, 0)
    group.use(1, CYCLE)
    group.w("EVCNTR", 0xFFFF_FF00, 0)
    smmu.clock.advance(1000)
    assert [group.r("SVR", n) for n in range(2)] == [0, 256]
    assert group.counts[:2] == [1000 - 256, 1000]


# -- reset


def test_reset_brings_power_on_state_and_ends_counting() -> None:
    bench, group = with_message()
    power_on = Group(bench.smmu).device.values
    group.w("OVSSET0", 1)
    group.use(2, CYCLE)
    bench.smmu.clock.advance(30)
    group.device.reset()
    assert group.device.values == power_on
    assert bench.smmu.stages.port is bench.smmu.ports["walk"]
    step(bench)
    bench.smmu.clock.advance(60)
    assert group.counts == [0] * 4
    assert bench.smmu.clock.next_deadline() is None


def test_group_counts_from_where_the_clock_starts_again() -> None:
    smmu, group = cycles()
    smmu.clock.advance(1000)
    smmu.clock.reset()
    group.device.reset()
    group.use(0, CYCLE)
    smmu.clock.advance(12)
    assert group.counts[0] == 12


# -- as a driver uses it


def test_driver_sequence_extends_a_counter_beyond_its_size() -> None:
    """Half a period ahead of the overflow, and adding up differences, as operating systems do."""
    bench = Bench(PRESETS["qemu"])
    bench.ste(V=1, Config=0b100)
    group = Group(bench.smmu, size=32)
    total = 0
    previous = half = 0x7FFF_FFFF

    def handler(level: bool) -> None:
        nonlocal total, previous
        if not level:
            return
        pending = group.r("OVSSET0")
        group.w("OVSCLR0", pending)
        assert pending == 1
        total += group.r("EVCNTR", 0) - previous & 0xFFFF_FFFF
        group.w("EVCNTR", half, 0)
        previous = half

    group.device.interrupt.sink = handler
    for name in ("CR", "IRQ_CTRL"):
        group.w(name, 0)
    for name in ("CNTENCLR0", "INTENCLR0", "OVSCLR0"):
        group.w(name, 0xF)
    group.w("IRQ_CFG0", 0)
    group.w("EVTYPER", TRANSACTION, 0)
    group.w("SMR", SID, 0)
    group.w("INTENSET0", 1)
    group.w("EVCNTR", half, 0)
    group.w("CNTENSET0", 1)
    group.w("IRQ_CTRL", 1)
    group.w("CR", 1)
    step(bench, 5)
    group.w("EVCNTR", 0xFFFF_FFFD, 0)  # as after very many more
    total, previous = total + 5, 0xFFFF_FFFD
    step(bench, 10)
    group.w("CNTENCLR0", 1)
    total += group.r("EVCNTR", 0) - previous & 0xFFFF_FFFF
    assert total == 15
    assert group.r("OVSSET0") == 0


def test_random_accesses_leave_a_group_that_counts() -> None:
    """Whatever software writes, counters keep their size, and a set-up from scratch works."""
    dice = random.Random(7)
    bench, group = make(size=32)
    clock = bench.smmu.clock
    places = [group.place(name) for name in PLACES]
    places += [group.place(name, n) for name in ARRAYS for n in range(5)]
    for _ in range(20_000):
        offset, size = dice.choice(places)
        offset += dice.choice((0, 0, 0, 4))
        value = dice.choice((dice.getrandbits(64), dice.getrandbits(8), (1 << 64) - 1))
        match dice.randrange(4):
            case 0:
                bench.go(0x1000, sid=dice.choice((SID, 9)))
            case 1:
                clock.advance(clock.now + (1 << dice.randrange(34)))
            case _:
                group.device.write(offset, dice.choice((size, 4)), value)
        assert all(count < 1 << 32 for count in group.device.counts)
        assert group.r("OVSSET0") < 16
    for name in ("CR", "IRQ_CTRL"):
        group.w(name, 0)
    group.w("CNTENCLR0", 0xF)
    group.w("EVCNTR", 0, 2)
    group.use(2, TRANSACTION)
    step(bench, 3)
    assert group.r("EVCNTR", 2) == 3
