# SPDX-License-Identifier: GPL-2.0-or-later
"""The command queue: which commands exist, what stops it, how it goes on, what it tells.

Spec: IHI 0070 4.1 (overview, errors), 4.4.1.1 (range fields), 4.7.3 (SYNC), 7.1 (errors and
recovery), 6.3.27, 6.3.28. What invalidations reach is in test_invalidation.
"""

from __future__ import annotations

import pytest

from smmu_emu.smmuv3 import Delays
from tests.unit.smmuv3.rig import (
    CFGI_ALL,
    COMMAND_QUEUE,
    COMMANDS_LG2,
    NOWHERE,
    RAM,
    SID,
    SYNC,
    Bench,
    cmd,
    make_ids,
    stage1_bench,
)

NONE, ILL, ABT = 0, 1, 2
IOVA = 0x5000
RESERVED = 0x00

ANY = {0x01, 0x02, 0x03, 0x04, 0x30, 0x46}
STAGE_1 = {0x05, 0x06, 0x10, 0x11, 0x12, 0x13}
STAGE_2 = {0x28, 0x2A}
EL2 = {0x20, 0x21, 0x22, 0x23}
STALLS = {0x44, 0x45}

# Opcodes that are legal with all operands zero, by feature; every other one is CERROR_ILL (4.1.1).
LEGAL = [
    ("qemu-stage1", {}, ANY | STAGE_1),
    ("qemu", {}, ANY | STAGE_1 | STAGE_2),
    ("qemu", {"S1P": 0, "HAD": 0}, ANY | STAGE_2),
    ("qemu", {"Hyp": 1}, ANY | STAGE_1 | STAGE_2 | EL2),
    ("qemu", {"STALL_MODEL": 0}, ANY | STAGE_1 | STAGE_2 | STALLS),
    ("qemu", {"RIL": 0}, ANY | STAGE_1 | STAGE_2),
]


def _error(bench: Bench, command: int) -> int:
    """Push one command; 0 if it is consumed, else the code of the error, which is repaired."""
    before = bench.r("CMDQ_CONS") & 0xFFFFF
    bench.push(command)
    error = bench.command_error
    if error is None:
        assert bench.r("CMDQ_CONS") & 0xFFFFF == bench.prod
        return NONE
    assert bench.r("CMDQ_CONS") & 0xFFFFF == before
    bench.store(COMMAND_QUEUE + 16 * (before % (1 << COMMANDS_LG2)), SYNC, 16)
    bench.w("GERRORN", bench.r("GERROR"))
    assert bench.r("CMDQ_CONS") & 0xFFFFF == bench.prod
    return error


# -- what is legal


@pytest.mark.parametrize(("preset", "changes", "legal"), LEGAL)
def test_every_opcode_is_legal_exactly_where_its_feature_is(
    preset: str, changes: dict[str, int], legal: set[int]
) -> None:
    """4.1.1, 4.1.3: reserved opcodes and those of absent features are CERROR_ILL.

    0x80 to 0x8F are the implementer's, and this model defines none.
    """
    bench = Bench(make_ids(preset, **changes))
    consumed = {opcode for opcode in range(256) if _error(bench, opcode) == NONE}

    assert consumed == legal


@pytest.mark.parametrize(
    "name",
    ["PREFETCH_CONFIG", "PREFETCH_ADDR", "CFGI_STE", "CFGI_STE_RANGE", "CFGI_CD", "CFGI_CD_ALL"],
)
def test_secure_streams_cannot_be_named(name: str) -> None:
    """4.1.6: SSec 1 on the Non-secure queue is CERROR_ILL, Secure state or not."""
    bench = Bench()

    assert _error(bench, cmd(name, SSec=1, StreamID=SID)) == ILL
    assert _error(bench, cmd(name, SSec=0, StreamID=SID)) == NONE


@pytest.mark.parametrize("name", ["RESUME", "STALL_TERM"])
def test_secure_streams_cannot_be_named_in_fault_responses(name: str) -> None:
    bench = Bench(make_ids(STALL_MODEL=0))

    assert _error(bench, cmd(name, SSec=1, StreamID=SID)) == ILL


def test_secure_configuration_invalidation_has_no_effect() -> None:
    """4.1.3: ILL takes precedence, and an illegal command does nothing."""
    bench, tree = stage1_bench()
    tree.page(IOVA, RAM)
    assert bench.pa(IOVA) == RAM
    bench.ste(V=0)
    assert _error(bench, cmd("CFGI_STE", StreamID=SID, SSec=1)) == ILL

    assert bench.pa(IOVA) == RAM


BY_ADDRESS = ["TLBI_NH_VA", "TLBI_NH_VAA", "TLBI_S2_IPA", "TLBI_EL2_VA", "TLBI_EL2_VAA"]


@pytest.mark.parametrize("name", BY_ADDRESS)
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"TG": 0}, NONE),
        ({"TG": 1}, ILL),
        ({"TG": 2}, ILL),
        ({"TG": 3}, ILL),
        ({"TG": 1, "Leaf": 1}, ILL),
        ({"TG": 1, "TTL": 1}, NONE),
        ({"TG": 1, "TTL": 2}, NONE),
        ({"TG": 1, "TTL": 3}, NONE),
        ({"TG": 2, "TTL": 1}, ILL),  # reserved without DS, acts as TTL 0
        ({"TG": 2, "TTL": 2}, NONE),
        ({"TG": 2, "TTL": 3}, NONE),
        ({"TG": 3, "TTL": 1}, NONE),
        ({"TG": 3, "TTL": 3}, NONE),
        ({"TG": 1, "NUM": 1}, NONE),
        ({"TG": 1, "SCALE": 1}, NONE),
        ({"TG": 2, "TTL": 1, "NUM": 1}, NONE),
        ({"TG": 3, "NUM": 31, "SCALE": 31, "TTL": 3}, NONE),
    ],
)
def test_reserved_range_is_illegal(name: str, fields: dict[str, int], expected: int) -> None:
    """4.4.1.1: TG without TTL, NUM and SCALE is reserved."""
    bench = Bench(make_ids(Hyp=1))

    assert _error(bench, cmd(name, Address=0x1234_5000 & ~0xFFFF, **fields)) == expected


def test_reserved_bits_are_treated_alike_everywhere() -> None:
    """4.1.5: checked or ignored; this model ignores them all."""
    bench = Bench()
    for command in (CFGI_ALL, cmd("TLBI_NH_ALL"), cmd("TLBI_NSNH_ALL"), cmd("CFGI_STE"), SYNC):
        assert _error(bench, command | 1 << 8 | 1 << 120) == NONE


@pytest.mark.parametrize(
    "command",
    [
        cmd("CFGI_STE", StreamID=0xFFFF_FFFF),
        cmd("CFGI_CD", StreamID=0x1_0000, SubstreamID=0xF_FFFF),
        cmd("CFGI_STE_RANGE", StreamID=0xFFFF_FFFF, Range=5),
        cmd("PREFETCH_CONFIG", StreamID=0xFFFF_FFFF),
        cmd("PREFETCH_ADDR", StreamID=0xFFFF_FFFF, Address=0xFFF0_0000_0000_0000),
        cmd("TLBI_NH_VA", VMID=0xFFFF, ASID=0xFFFF, Address=0xFFFF_FFFF_FFFF_F000),
        cmd("TLBI_S2_IPA", VMID=0xFFFF, Address=0xFFFF_FFFF_FFFF_F000),
    ],
)
def test_operands_out_of_range_are_no_error(command: int) -> None:
    """4.1.7, 4.2, 4.4: no effect or another target, never CERROR_ILL."""
    bench = Bench(make_ids(ASID16=0, VMID16=0))

    assert _error(bench, command) == NONE


@pytest.mark.parametrize("smmuen", [0, 1])
def test_prefetch_never_leaves_an_event(smmuen: int) -> None:
    """4.2: invalid configuration, streams out of range and bad addresses fail silently."""
    bench = Bench()
    bench.w("CR0", 0xC | smmuen)
    bench.do(
        cmd("PREFETCH_CONFIG", StreamID=SID),
        cmd("PREFETCH_CONFIG", StreamID=0xFFFF_FFFF),
        cmd("PREFETCH_ADDR", StreamID=SID, Address=0x7FFF_FFFF_F000, Size=31),
    )

    assert not bench.events()


# -- SYNC


@pytest.mark.parametrize(
    ("signal", "error", "pulses"), [(0, NONE, 0), (1, NONE, 1), (2, NONE, 0), (3, ILL, 0)]
)
def test_sync_completes_and_signals(signal: int, error: int, pulses: int) -> None:
    """4.7.3: 2 completes without IDR0.SEV too; 3 is reserved."""
    bench = Bench()

    assert _error(bench, cmd("SYNC", CS=signal)) == error
    assert bench.smmu.interrupts.cmdq_sync.pulses == pulses


def test_sync_interrupt_has_no_enable() -> None:
    """6.3.16 enables GERROR, PRI and event queue; SYNC's interrupt is asked for by the command."""
    bench = Bench()
    bench.w("IRQ_CTRL", 0)
    bench.push(cmd("SYNC", CS=1))

    assert bench.smmu.interrupts.cmdq_sync.pulses == 1


def test_sync_is_seen_as_consumed_when_it_interrupts() -> None:
    """4.7.3: observation of the interrupt means that the consumption is observable."""
    bench, tree = stage1_bench()
    tree.page(IOVA, RAM)
    bench.pa(IOVA)
    tree.page(IOVA, RAM + 0x1000)
    seen: list[tuple[int, int]] = []

    def listen(level: bool) -> None:
        if level:
            seen.append((bench.r("CMDQ_CONS"), bench.pa(IOVA)))

    bench.smmu.interrupts.cmdq_sync.sink = listen
    bench.push(cmd("TLBI_NSNH_ALL"), cmd("SYNC", CS=1))

    assert seen == [(2, RAM + 0x1000)]


def test_commands_submitted_by_the_interrupt_handler_are_consumed() -> None:
    bench = Bench()
    handled: list[int] = []

    def handler(level: bool) -> None:
        if level and len(handled) < 3:
            handled.append(bench.r("CMDQ_CONS"))
            bench.push(cmd("SYNC", CS=1))

    bench.smmu.interrupts.cmdq_sync.sink = handler
    bench.push(cmd("SYNC", CS=1))

    assert handled == [1, 2, 3]
    assert bench.r("CMDQ_CONS") == 4


# -- when commands are consumed


def test_commands_wait_for_the_queue_to_be_enabled() -> None:
    """4.1.2, 6.3.9.3."""
    bench = Bench()
    bench.w("CR0", 0)
    bench.push(SYNC, SYNC)
    assert bench.r("CMDQ_CONS") == 0
    bench.w("CR0", 8)

    assert bench.r("CMDQ_CONS") == 2


def test_commands_run_while_translation_is_off() -> None:
    """3.11, 6.3.9.6."""
    bench = Bench()
    bench.w("CR0", 0xC)
    bench.push(CFGI_ALL, cmd("TLBI_NSNH_ALL"), SYNC)

    assert bench.r("CMDQ_CONS") == 3


def test_write_of_prod_is_all_it_takes() -> None:
    """4.1.2; a rewrite of the same value does no harm."""
    bench = Bench()
    bench.push(SYNC)
    bench.w("CMDQ_PROD", bench.prod)

    assert bench.r("CMDQ_CONS") == 1


def test_commands_may_be_delayed() -> None:
    """Virtual time: with a delay the write of PROD returns before the command is consumed."""
    bench = Bench(delays=Delays(commands=100))
    bench.push(SYNC)
    assert bench.r("CMDQ_CONS") == 0
    bench.smmu.clock.advance(100)

    assert bench.r("CMDQ_CONS") == 1


def test_commands_take_effect_in_order() -> None:
    """4.1: a translation made between two commands is dropped by the second."""
    bench = Bench()
    bench.push(*[cmd("SYNC", CS=1)] * 5, RESERVED, cmd("SYNC", CS=1))

    assert bench.smmu.interrupts.cmdq_sync.pulses == 5
    assert bench.r("CMDQ_CONS") == 5 | ILL << 24


# -- errors and recovery


def _stopped() -> Bench:
    """A queue that stopped at its second command; a TLBI and a SYNC wait behind."""
    bench, tree = stage1_bench()
    tree.page(IOVA, RAM)
    assert bench.pa(IOVA) == RAM
    tree.page(IOVA, RAM + 0x1000)
    bench.push(SYNC, RESERVED, cmd("TLBI_NSNH_ALL"), cmd("SYNC", CS=1))
    assert bench.command_error == ILL
    return bench


def test_error_stops_the_queue_at_the_culprit() -> None:
    """7.1: RD points at it, ERR says why, older commands are done, newer have no effect."""
    bench = _stopped()

    assert bench.r("CMDQ_CONS") == 1 | ILL << 24
    assert bench.pa(IOVA) == RAM
    assert bench.smmu.interrupts.cmdq_sync.pulses == 0


def test_error_is_told_once_by_toggle_and_interrupt() -> None:
    """7.5, 7.5.1."""
    bench = _stopped()
    assert (bench.r("GERROR"), bench.r("GERRORN")) == (1, 0)
    assert bench.smmu.interrupts.gerror.pulses == 1
    bench.w("CMDQ_PROD", bench.prod)

    assert bench.r("GERROR") == 1
    assert bench.smmu.interrupts.gerror.pulses == 1


def test_error_interrupt_has_an_enable() -> None:
    """6.3.16."""
    bench = Bench()
    bench.w("IRQ_CTRL", 0)
    bench.push(RESERVED)

    assert bench.r("GERROR") == 1
    assert bench.smmu.interrupts.gerror.pulses == 0


def test_reason_is_visible_before_the_error() -> None:
    """7.1: software cannot see the error in GERROR without its code."""
    bench = Bench()
    seen: list[tuple[int, int]] = []
    bench.smmu.interrupts.gerror.sink = lambda level: (
        seen.append((bench.r("CMDQ_CONS"), bench.r("GERROR"))) if level else None
    )
    bench.push(SYNC, RESERVED)

    assert seen == [(1 | ILL << 24, 1)]


def test_queue_goes_on_when_the_command_was_replaced_in_place() -> None:
    """7.1: the entry is fetched again; PROD need not be written."""
    bench = _stopped()
    bench.store(COMMAND_QUEUE + 16, SYNC, 16)
    bench.w("GERRORN", 1)

    assert bench.r("CMDQ_CONS") & 0xFFFFF == 4
    assert bench.pa(IOVA) == RAM + 0x1000
    assert bench.smmu.interrupts.cmdq_sync.pulses == 1


def test_queue_stops_again_at_a_command_that_was_not_repaired() -> None:
    """7.5: a new occurrence toggles GERROR again."""
    bench = _stopped()
    bench.w("GERRORN", 1)

    assert bench.r("CMDQ_CONS") == 1 | ILL << 24
    assert (bench.r("GERROR"), bench.r("GERRORN")) == (0, 1)
    assert bench.smmu.interrupts.gerror.pulses == 2


def test_prod_may_be_pulled_back_to_the_culprit() -> None:
    """7.1, 3.21.2: commands that were not consumed are taken back."""
    bench = _stopped()
    bench.w("CMDQ_PROD", 1)
    bench.w("GERRORN", 1)
    assert bench.r("CMDQ_CONS") & 0xFFFFF == 1
    assert bench.r("GERROR") == 1
    bench.prod = 1
    bench.push(cmd("TLBI_NSNH_ALL"), SYNC)

    assert bench.r("CMDQ_CONS") & 0xFFFFF == 3
    assert bench.pa(IOVA) == RAM + 0x1000


def test_nothing_is_consumed_while_the_error_is_active() -> None:
    """7.1: more commands may be submitted."""
    bench = _stopped()
    bench.push(SYNC)
    assert bench.r("CMDQ_CONS") == 1 | ILL << 24
    bench.store(COMMAND_QUEUE + 16, SYNC, 16)
    bench.w("GERRORN", 1)

    assert bench.r("CMDQ_CONS") & 0xFFFFF == 5


def test_switching_the_queue_off_and_on_acknowledges_nothing() -> None:
    """6.3.28: CMDQ_ERR has to be acknowledged explicitly."""
    bench = _stopped()
    bench.store(COMMAND_QUEUE + 16, SYNC, 16)
    bench.w("CR0", 0x5)
    bench.w("CR0", 0xD)
    assert bench.r("CMDQ_CONS") & 0xFFFFF == 1
    bench.w("GERRORN", 1)

    assert bench.r("CMDQ_CONS") & 0xFFFFF == 4


def test_acknowledge_while_the_queue_is_off_restarts_it_when_enabled() -> None:
    bench = _stopped()
    bench.store(COMMAND_QUEUE + 16, SYNC, 16)
    bench.w("CR0", 0x5)
    bench.w("GERRORN", 1)
    assert bench.r("CMDQ_CONS") & 0xFFFFF == 1
    bench.w("CR0", 0xD)

    assert bench.r("CMDQ_CONS") & 0xFFFFF == 4


def test_aborted_fetch_of_a_command_is_an_error_of_its_own() -> None:
    """7.1: CERROR_ABT, RD stays; recovery by acknowledging when memory answers again."""
    bench = Bench()
    port = bench.smmu.ports["command-queue"]
    read = port.read
    port.read = lambda pa, size: None
    bench.push(cmd("SYNC", CS=1))
    assert bench.r("CMDQ_CONS") == ABT << 24
    assert bench.command_error == ABT
    port.read = read
    bench.w("GERRORN", 1)

    assert bench.r("CMDQ_CONS") & 0xFFFFF == 1
    assert bench.smmu.interrupts.cmdq_sync.pulses == 1


def test_queue_outside_memory_aborts() -> None:
    bench = Bench(setup=False)
    bench.w("CMDQ_BASE", NOWHERE | 4)
    bench.w("CR0", 8)
    bench.w("CMDQ_PROD", 1)

    assert bench.r("CMDQ_CONS") == ABT << 24
    assert bench.r("GERROR") == 1


def test_illegal_command_after_good_ones_over_the_wrap() -> None:
    bench = Bench()
    for _ in range(3):
        bench.push(*[SYNC] * 100)
    bench.push(SYNC, RESERVED)

    assert bench.r("CMDQ_CONS") == 301 | ILL << 24  # wrapped once: 301 is 256 + 45
