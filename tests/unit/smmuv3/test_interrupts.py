# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages: SYNC, event queue and global errors as writes to memory, and what their aborts do.

Wired interrupts are tested with what raises them (commands, events). Spec: IHI 0070 3.18, 4.7.3,
6.3.16, 6.3.21 to 6.3.23, 6.3.30 to 6.3.32, 7.5, 7.5.1.
"""

from __future__ import annotations

import pytest

from smmu_emu.smmuv3 import Delays
from tests.unit.smmuv3.rig import NOWHERE, RAM, Bench, cmd, make_ids

AT = RAM + 0x50_0000
MSI = {"MSI": 1}
CMDQ_ABT, EVENTQ_ABT, GERROR_ABT = 0x10, 0x20, 0x80
NO_STREAM = 0x1000


def _bench(**ids: int) -> Bench:
    return Bench(make_ids(**{**MSI, **ids}))


def _configure(bench: Bench, source: str, address: int, data: int) -> None:
    """Program a source's message while its enable is off."""
    bench.w("IRQ_CTRL", 0)
    bench.w(f"{source}_IRQ_CFG0", address)
    bench.w(f"{source}_IRQ_CFG1", data)
    bench.w(f"{source}_IRQ_CFG2", 0x1)
    bench.w("IRQ_CTRL", 5)


def _active(bench: Bench) -> int:
    return bench.r("GERROR") ^ bench.r("GERRORN")


# -- registers


@pytest.mark.parametrize("source", ["GERROR", "EVENTQ"])
def test_message_registers_exist_with_msi(source: str) -> None:
    """6.3.21 to 6.3.23: ADDR [55:2] below OAS, DATA, SH and MemAttr."""
    bench = Bench(make_ids(**MSI), setup=False)
    for number in range(3):
        bench.w(f"{source}_IRQ_CFG{number}", 0xFFFF_FFFF_FFFF_FFFF)

    assert bench.r(f"{source}_IRQ_CFG0") == 0x0FFF_FFFF_FFFC
    assert bench.r(f"{source}_IRQ_CFG1") == 0xFFFF_FFFF
    assert bench.r(f"{source}_IRQ_CFG2") == 0x3F


@pytest.mark.parametrize(("source", "enable"), [("GERROR", 1), ("EVENTQ", 4)])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_message_registers_are_guarded_by_their_enable(
    source: str, enable: int, number: int
) -> None:
    """6.3.21: writes while IRQEN is 1 are ignored; the other source's enable does not matter."""
    bench = Bench(make_ids(**MSI), setup=False)
    name = f"{source}_IRQ_CFG{number}"
    bench.w("IRQ_CTRL", enable)
    bench.w(name, 0x14)
    assert bench.r(name) == 0
    bench.w("IRQ_CTRL", 5 & ~enable)
    bench.w(name, 0x14)

    assert bench.r(name) == 0x14


@pytest.mark.parametrize(("source", "enable"), [("GERROR", 1), ("EVENTQ", 4)])
def test_guard_of_message_registers_lasts_until_the_acknowledge(source: str, enable: int) -> None:
    """6.2, 6.3.16: an enable in transition counts as set."""
    bench = Bench(make_ids(**MSI), setup=False, delays=Delays(acknowledge=100))
    name = f"{source}_IRQ_CFG1"
    for value, now in ((enable, 100), (0, 200)):
        bench.w("IRQ_CTRL", value)
        bench.w(name, 0x14)
        assert bench.r(name) == 0
        bench.smmu.clock.advance(now)
    bench.w(name, 0x14)

    assert bench.r(name) == 0x14


@pytest.mark.parametrize("name", ["GERROR_IRQ_CFG0", "EVENTQ_IRQ_CFG0"])
def test_halves_of_a_message_address_are_separate(name: str) -> None:
    bench = Bench(make_ids(**MSI), setup=False)
    bench.w(name, 0x123_4567_89A8)
    offset = {"GERROR_IRQ_CFG0": 0x68, "EVENTQ_IRQ_CFG0": 0xB0}[name]
    bench.smmu.write(offset + 4, 4, 0)

    assert bench.r(name) == 0x4567_89A8


# -- SYNC


def test_sync_writes_its_data() -> None:
    """4.7.3: a 32-bit write of MSIData to MSIAddress."""
    bench = _bench()
    bench.write64(AT, 0xFFFF_FFFF_FFFF_FFFF)
    bench.do(cmd("SYNC", CS=1, MSIAddress=AT, MSIData=0x1234_5678))

    assert bench.memory.read_u64(AT) == 0xFFFF_FFFF_1234_5678
    assert bench.memory.read_u64(AT - 8) == 0


def test_sync_may_write_the_other_half_of_a_doubleword() -> None:
    """MSIAddress has bits [55:2]."""
    bench = _bench()
    bench.do(cmd("SYNC", CS=1, MSIAddress=AT + 4, MSIData=0xABCD))

    assert bench.memory.read_u64(AT) == 0xABCD << 32


@pytest.mark.parametrize("signal", [0, 2])
def test_other_signals_ignore_the_message(signal: int) -> None:
    bench = _bench()
    bench.do(cmd("SYNC", CS=signal, MSIAddress=AT, MSIData=1))

    assert bench.memory.read_u64(AT) == 0


def test_sync_without_address_uses_the_wire() -> None:
    """4.7.3, 3.18: an address of zero sends no message."""
    bench = _bench()
    bench.do(cmd("SYNC", CS=1, MSIData=1))

    assert bench.smmu.interrupts.cmdq_sync.pulses == 1


def test_sync_ignores_the_address_without_msi() -> None:
    """4.7.3: MSIAddress and MSIData are IGNORED on implementations without MSIs."""
    bench = Bench()
    bench.do(cmd("SYNC", CS=1, MSIAddress=AT, MSIData=1))

    assert bench.memory.read_u64(AT) == 0
    assert bench.smmu.interrupts.cmdq_sync.pulses == 1


def test_sync_may_write_into_its_own_queue_slot() -> None:
    """As Linux does: the slot is polled until it reads zero, when the command is consumed."""
    bench = _bench()
    slot = 0x4002_0000 + 16 * (bench.prod % 256)
    bench.do(cmd("SYNC", CS=1, MSIAddress=slot, MSIData=0))
    word = bench.memory.read_u64(slot)

    assert word is not None
    assert word & 0xFFFF_FFFF == 0
    assert bench.r("GERROR") == 0


def test_messages_come_in_the_order_of_their_commands() -> None:
    bench = _bench()
    written: list[int] = []
    port = bench.smmu.ports["msi"]
    write = port.write

    def watched(pa: int, data: bytes) -> bool:
        written.append(int.from_bytes(data, "little"))
        return write(pa, data)

    port.write = watched
    bench.do(*[cmd("SYNC", CS=1, MSIAddress=AT, MSIData=number) for number in range(1, 5)])

    assert written == [1, 2, 3, 4]


def test_message_comes_after_the_consumption_is_visible() -> None:
    """3.18, 4.7.3."""
    bench = _bench()
    port = bench.smmu.ports["msi"]
    seen: list[int] = []

    def watched(pa: int, data: bytes) -> bool:
        seen.append(bench.r("CMDQ_CONS"))
        return True

    port.write = watched
    bench.push(cmd("SYNC", CS=1, MSIAddress=AT, MSIData=1))

    assert seen == [1]


def test_aborted_message_of_a_sync_is_a_global_error() -> None:
    """6.3.19, 4.7.3: MSI_CMDQ_ABT_ERR by the next SYNC; later messages are still sent."""
    bench = _bench()
    bench.push(cmd("SYNC", CS=1, MSIAddress=NOWHERE, MSIData=1), cmd("SYNC"))
    assert _active(bench) == CMDQ_ABT
    assert bench.r("CMDQ_CONS") == 2
    bench.push(cmd("SYNC", CS=1, MSIAddress=AT, MSIData=7))
    assert bench.memory.read_u64(AT) == 7
    bench.w("GERRORN", CMDQ_ABT)

    assert _active(bench) == 0


def test_message_address_is_cut_to_oas() -> None:
    """4.7.3, 3.4.3."""
    bench = _bench()
    bench.push(cmd("SYNC", CS=1, MSIAddress=AT | 1 << 50, MSIData=9))

    assert bench.memory.read_u64(AT) == 9


# -- event queue and global errors


def test_event_queue_sends_its_message_on_the_first_record() -> None:
    """6.3.30 to 6.3.32, 3.18.2."""
    bench = _bench()
    _configure(bench, "EVENTQ", AT, 0x55)
    for number in range(3):
        bench.go(0, sid=NO_STREAM + number)
    assert bench.memory.read_u64(AT) == 0x55
    bench.write64(AT, 0)
    bench.go(0, sid=NO_STREAM)
    assert bench.memory.read_u64(AT) == 0, "the queue was not empty"
    bench.events()
    bench.go(0, sid=NO_STREAM)

    assert bench.memory.read_u64(AT) == 0x55


def test_event_queue_without_address_uses_the_wire() -> None:
    """3.18.2: the wire works with ADDR 0."""
    bench = _bench()
    _configure(bench, "EVENTQ", 0, 0x55)
    bench.go(0, sid=NO_STREAM)

    assert bench.smmu.interrupts.eventq.pulses == 1


def test_disabled_source_sends_nothing() -> None:
    bench = _bench()
    _configure(bench, "EVENTQ", AT, 0x55)
    bench.w("IRQ_CTRL", 1)
    bench.go(0, sid=NO_STREAM)

    assert bench.memory.read_u64(AT) == 0


def test_global_error_sends_its_message() -> None:
    """7.5.1."""
    bench = _bench()
    _configure(bench, "GERROR", AT + 8, 0xE0)
    bench.push(0)

    assert bench.memory.read_u64(AT + 8) == 0xE0
    assert bench.smmu.interrupts.gerror.pulses == 0


def test_error_is_visible_when_its_message_arrives() -> None:
    bench = _bench()
    _configure(bench, "GERROR", AT, 1)
    seen: list[int] = []

    def watched(pa: int, data: bytes) -> bool:
        seen.append(_active(bench))
        return True

    bench.smmu.ports["msi"].write = watched
    bench.push(0)

    assert seen == [1]


def test_aborted_message_of_the_event_queue_is_a_global_error() -> None:
    """6.3.19."""
    bench = _bench()
    _configure(bench, "EVENTQ", NOWHERE, 1)
    bench.go(0, sid=NO_STREAM)

    assert _active(bench) == EVENTQ_ABT
    assert len(bench.events()) == 1


def test_aborted_message_of_global_errors_raises_no_other() -> None:
    """7.5.1: MSI_GERROR_ABT_ERR makes no interrupt."""
    bench = _bench()
    _configure(bench, "GERROR", NOWHERE, 1)
    bench.push(0)

    assert _active(bench) == 1 | GERROR_ABT
    assert bench.smmu.interrupts.gerror.pulses == 0


def test_chain_of_aborted_messages_ends() -> None:
    """An event's message aborts, whose error's message aborts."""
    bench = _bench()
    _configure(bench, "GERROR", NOWHERE, 1)
    _configure(bench, "EVENTQ", NOWHERE, 1)
    bench.go(0, sid=NO_STREAM)

    assert _active(bench) == EVENTQ_ABT | GERROR_ABT


@pytest.mark.parametrize("bit", [CMDQ_ABT, EVENTQ_ABT, GERROR_ABT])
def test_message_errors_are_acknowledged_by_their_own_bit(bit: int) -> None:
    bench = _bench()
    source = {CMDQ_ABT: None, EVENTQ_ABT: "EVENTQ", GERROR_ABT: "GERROR"}[bit]
    if source is None:
        bench.push(cmd("SYNC", CS=1, MSIAddress=NOWHERE))
    else:
        _configure(bench, source, NOWHERE, 1)
        if source == "EVENTQ":
            bench.go(0, sid=NO_STREAM)
        else:
            bench.push(0)
    assert _active(bench) & bit
    bench.w("GERRORN", bench.r("GERRORN") ^ bit)

    assert not _active(bench) & bit


def test_completion_by_event_pulses_its_line_with_sev_only() -> None:
    """4.7.3: SIG_SEV sends an event only when IDR0.SEV is set; else it is SIG_NONE."""
    for sev in (0, 1):
        bench = Bench(make_ids(SEV=sev))
        bench.do(cmd("SYNC", CS=2))
        assert bench.smmu.interrupts.wfe_event.pulses == sev
