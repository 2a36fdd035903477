# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile guests: random registers, memory, commands and transactions, all at once.

Whatever software does, there is no Python exception and no hang; what passes stays within the
output size; what was recorded are records of the architecture; and with empty caches a transaction
still lands only where an independent reading of registers and memory says.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from smmu_emu.smmuv3 import Delays, IdRegisters
from smmu_emu.tlb import Tlb
from smmu_emu.transaction import Fault, Transaction, Translation
from tests.deadline import within
from tests.strategies import (
    commands,
    examples,
    register_offsets,
    register_sizes,
    register_values,
    transactions,
    words64,
)
from tests.table_reader import Access, TableReader
from tests.unit.smmuv3.rig import (
    CD_AT,
    COMMAND_QUEUE,
    COMMANDS_LG2,
    EVENT_QUEUE,
    PLAIN_CD,
    RAM,
    RAM_SIZE,
    S1_STE,
    S2_STE,
    SID,
    STREAM_TABLE,
    Bench,
    Tree,
    make_ids,
)
from tests.unit.smmuv3.spec import literals

IOVAS = [0x5000, 0x5000, 0x40_0000, 0x40_0000, RAM, 0xFFFF_FFFF_FFFF_F000, 1 << 44]
PLAIN = make_ids(SSIDSIZE=4, CD2L=1, Hyp=1, ATTR_PERMS_OVR=1, STT=1)
EVERYTHING = make_ids(
    SSIDSIZE=4,
    CD2L=1,
    Hyp=1,
    ATTR_PERMS_OVR=1,
    ATTR_TYPES_OVR=1,
    STALL_MODEL=0,
    STALL_MAX=4,
    HTTU=2,
    MSI=1,
    FWB=1,
    SEV=1,
    OAS=6,
    VAX=1,
    STT=1,
)
EVENT_NUMBERS = set(literals.EVENTS.values())

Step = tuple[str, int, int, int] | tuple[str, Transaction]


class Victim:
    """A working SMMU that a hostile guest then meddles with."""

    def __init__(self, ids: IdRegisters, delay: int = 0) -> None:
        delays = Delays(acknowledge=delay, commands=delay)
        self.bench = bench = Bench(ids, setup=False, delays=delays, tlb=Tlb(64))
        if not delay:
            bench.set_up()
        self.first = Tree(bench)
        self.second = Tree(bench, start_level=1)
        bench.cd(CD_AT, **{**PLAIN_CD, "TTB0": self.first.root})
        second = {**S2_STE, "S2TTB": self.second.root}
        for sid, fields in enumerate((S1_STE, second, {**second, **S1_STE, "Config": 7})):
            bench.ste(SID + sid, **fields)
        for page in (0x5000, 0x40_0000):
            self.first.page(page, RAM + 0x30_0000)
            self.second.page(page, RAM + 0x31_0000, 0x7FC)
        self.second.set(RAM, 1, RAM | 0x7FC | 1)
        self.targets = (
            *(STREAM_TABLE + 64 * SID, CD_AT, self.first.root, self.second.root),
            *(self.first.at(0x5000, 3), self.second.at(0x5000, 3), COMMAND_QUEUE, EVENT_QUEUE),
        )
        self.answers: list[Translation | Fault] = []

    def act(self, step: Step) -> None:
        """One step of the guest or of its device."""
        actions: dict[str, Callable[..., object]] = {
            "read": lambda offset, size, _: self.bench.smmu.read(offset, size),
            "write": self.bench.smmu.write,
            "memory": self._poke,
            "command": self._command,
            "dma": self._dma,
            "wait": self._wait,
            "time": lambda time, *_: self.bench.smmu.clock.advance(time),
        }
        actions[step[0]](*step[1:])

    def _poke(self, target: int, offset: int, word: int) -> None:
        where = self.targets[target % len(self.targets)] + 8 * (offset % 64)
        if RAM <= where < RAM + RAM_SIZE:
            self.bench.write64(where, word)

    def _command(self, command: int, ring: int, _: int) -> None:
        prod = self.bench.r("CMDQ_PROD") & (2 << COMMANDS_LG2) - 1
        slot = prod & (1 << COMMANDS_LG2) - 1
        self.bench.store(COMMAND_QUEUE + 16 * slot, command, 16)
        self.bench.w("CMDQ_PROD", prod + ring & (2 << COMMANDS_LG2) - 1)

    def _dma(self, transaction: Transaction) -> None:
        self._judge(self.bench.smmu.translate(transaction))

    def _wait(self, transaction: Transaction) -> None:
        result = self.bench.smmu.submit(transaction, self._judge)
        if isinstance(result, Translation) or result.stag is None:
            self._judge(result)

    def _judge(self, result: Translation | Fault) -> None:
        self.answers.append(result)
        if isinstance(result, Translation):
            assert 0 <= result.pa < 1 << self.bench.smmu.ids.output_bits

    def forget(self) -> None:
        """Empty every cache, whatever became of the command queue."""
        self.bench.smmu.tlb.clear()
        self.bench.smmu.configuration.drop_ste_range(0, 1 << 32)


_numbers = st.integers(0, (1 << 16) - 1)
_streams = st.sampled_from([*[SID, SID + 1, SID + 2] * 3, SID - 1, SID + 3])
_traffic = transactions(IOVAS, _streams, st.sampled_from([*[None] * 9, 0, 1, 31]))
_writes = st.tuples(st.just("write"), register_offsets, register_sizes, register_values)
steps = st.one_of(
    st.tuples(st.just("read"), register_offsets, register_sizes, st.just(0)),
    _writes,
    _writes,
    st.tuples(st.just("memory"), st.integers(0, 7), _numbers, words64),
    st.tuples(st.just("command"), commands, st.integers(0, 3), st.just(0)),
    st.tuples(st.just("dma"), _traffic),
    st.tuples(st.just("dma"), _traffic),
    st.tuples(st.just("wait"), _traffic),
    st.tuples(st.just("time"), st.integers(0, 100), st.just(0), st.just(0)),
)


def _records_are_sane(bench: Bench) -> None:
    """Records that were written by the device have a number of the architecture."""
    if bench.r("EVENTQ_BASE") == EVENT_QUEUE | 7 and bench.r("EVENTQ_CONS") == 0:
        for record in bench.events():
            assert record & 0xFF in EVENT_NUMBERS
            assert record >> 8 & 7 == 0


@settings(max_examples=examples(300))
@given(steps=st.lists(steps, max_size=25), ids=st.sampled_from([PLAIN, EVERYTHING]))
def test_hostile_guest_causes_no_exception_and_no_hang(steps: list[Step], ids: IdRegisters) -> None:
    victim = Victim(ids)
    with within(20):
        for step in steps:
            victim.act(step)


@settings(max_examples=examples(150))
@given(steps=st.lists(steps, max_size=25), delay=st.integers(1, 60))
def test_hostile_guest_with_late_acknowledges(steps: list[Step], delay: int) -> None:
    """Acknowledges and commands take virtual time; writes fall between."""
    victim = Victim(EVERYTHING, delay)
    with within(20):
        victim.bench.w("STRTAB_BASE", STREAM_TABLE)
        victim.bench.w("STRTAB_BASE_CFG", 8)
        victim.bench.w("CMDQ_BASE", COMMAND_QUEUE | COMMANDS_LG2)
        victim.bench.w("EVENTQ_BASE", EVENT_QUEUE | 7)
        victim.bench.w("CR0", 0xD)
        for step in steps:
            victim.act(step)
        victim.bench.smmu.clock.advance(victim.bench.smmu.clock.now + 1000)

    assert victim.bench.r("CR0ACK") == victim.bench.r("CR0")
    assert victim.bench.r("IRQ_CTRLACK") == victim.bench.r("IRQ_CTRL")
    assert not victim.bench.r("GBPA") >> 31


@settings(max_examples=examples(300))
@given(steps=st.lists(steps, max_size=20), probes=st.lists(_traffic, min_size=1, max_size=4))
def test_hostile_guest_opens_no_way_that_its_tables_do_not_give(
    steps: list[Step], probes: list[Transaction]
) -> None:
    """After anything at all, with empty caches, device and independent reader agree."""
    victim = Victim(PLAIN)
    with within(20):
        for step in steps:
            victim.act(step)
        reader = TableReader(victim.bench.r, victim.bench.memory.read_u64)
        for probe in probes:
            victim.forget()
            sid, iova, write, privileged, instruction, ssid = probe
            expected = reader.lands(sid, iova, Access(write, privileged, instruction), ssid)
            result = victim.bench.smmu.translate(probe)
            assert (result.pa if isinstance(result, Translation) else None) == expected


@settings(max_examples=examples(200))
@given(steps=st.lists(steps, max_size=25))
def test_records_are_those_of_the_architecture(steps: list[Step]) -> None:
    victim = Victim(EVERYTHING)
    with within(20):
        for step in steps:
            if step[0] != "memory":
                victim.act(step)

    _records_are_sane(victim.bench)


@settings(max_examples=examples(150))
@given(
    accesses=st.lists(
        st.tuples(st.booleans(), register_offsets, register_sizes, register_values), max_size=60
    )
)
def test_registers_alone_keep_their_invariants(
    accesses: list[tuple[bool, int, int, int]],
) -> None:
    """Identification never changes, reserved bits stay zero, acknowledges follow."""
    bench = Bench(PLAIN, setup=False)
    identity = [bench.r(name) for name in ("IDR0", "IDR1", "IDR3", "IDR5", "IIDR", "AIDR")]
    with within(20):
        for write, offset, size, value in accesses:
            if write:
                bench.smmu.write(offset, size, value)
            else:
                assert 0 <= bench.smmu.read(offset, size) < 1 << 8 * max(size, 1)
    assert [bench.r(n) for n in ("IDR0", "IDR1", "IDR3", "IDR5", "IIDR", "AIDR")] == identity
    assert bench.r("CR0") & ~0xD == 0
    assert bench.r("CR0ACK") == bench.r("CR0")
    assert bench.r("STRTAB_BASE") & ~0x4000_0FFF_FFFF_FFC0 == 0
    assert bench.r("GERROR") & ~0x1FD == 0


@settings(max_examples=examples(60))
@given(steps=st.lists(steps, max_size=25))
def test_same_steps_give_the_same_world(steps: list[Step]) -> None:
    """Deterministic: answers, registers and memory."""
    worlds = []
    for _ in range(2):
        victim = Victim(EVERYTHING)
        with within(20):
            for step in steps:
                victim.act(step)
        registers = {name: victim.bench.r(name) for name in literals.REGISTERS}
        memory = victim.bench.memory.read(RAM, 0x20_0000)
        worlds.append((victim.answers, registers, memory))

    assert worlds[0] == worlds[1]
