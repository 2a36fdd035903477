# SPDX-License-Identifier: GPL-2.0-or-later
"""A bench for one SMMUv3: memory, structures written bit by bit, traffic, commands and events.

Nothing here uses the product's declarations: fields are put together from the literal masks of
`tests.unit.smmuv3.spec.literals`, translation tables from descriptors that the tests spell out.
"""

from __future__ import annotations

from typing import Any

from smmu_emu.interpose import Function, Layer, interpose
from smmu_emu.memory import PhysicalMemory
from smmu_emu.smmuv3 import PRESETS, IdRegisters, Smmuv3
from smmu_emu.transaction import Fault, Transaction, Translation
from tests.unit.smmuv3.spec import literals

RAM, RAM_SIZE = 0x4000_0000, 64 << 20
NOWHERE = 0x20_0000_0000  # below 44 bits, and nobody answers there
STREAM_TABLE = RAM + 0x0_0000
COMMAND_QUEUE = RAM + 0x2_0000
EVENT_QUEUE = RAM + 0x4_0000
CD_AT = RAM + 0x6_0000
HEAP = RAM + 0x10_0000
SID = 0x08
STREAMS_LG2, COMMANDS_LG2, EVENTS_LG2 = 8, 8, 7

# Descriptor bits, DDI 0487 D8.3.
PAGE, BLOCK, TABLE = 3, 1, 3
USER, READ_ONLY, AF, NG = 1 << 6, 1 << 7, 1 << 10, 1 << 11
INNER, OUTER = 3 << 8, 2 << 8
CONTIGUOUS, PXN, UXN = 1 << 52, 1 << 53, 1 << 54
PXN_TABLE, UXN_TABLE, AP_TABLE_0, AP_TABLE_1 = 1 << 59, 1 << 60, 1 << 61, 1 << 62
S2_READ, S2_WRITE = 1 << 6, 1 << 7
S2_WB, S2_DEVICE = 0xF << 2, 0x1 << 2
RW = USER | AF
"""Stage 1: data of both privileges, access flag set; global, AttrIndx 0, non-shareable."""
S2_RW = S2_READ | S2_WRITE | S2_WB | INNER | AF
"""Stage 2: everything allowed, write-back, inner shareable, access flag set."""


def put(masks: literals.Masks, **fields: int) -> int:
    """A structure with these fields, as one number. Addresses are given as a whole."""
    value = 0
    for name, number in fields.items():
        doubleword, mask = masks[name]
        shift = 0 if _is_address(name) else (mask & -mask).bit_length() - 1
        assert not number << shift & ~mask, f"{name}={number:#x} does not fit"
        value |= number << shift << 64 * doubleword
    return value


def get(masks: literals.Masks, word: int) -> dict[str, int]:
    """Every field of a structure."""
    fields = {}
    for name, (doubleword, mask) in masks.items():
        bits = word >> 64 * doubleword & mask
        fields[name] = bits if _is_address(name) else bits >> (mask & -mask).bit_length() - 1
    return fields


def _is_address(name: str) -> bool:
    return name in {"L2Ptr", "S1ContextPtr", "Address", "MSIAddress", "FetchAddr", "IPA"} or (
        "TTB" in name
    )


def cmd(name: str, **fields: int) -> int:
    """A command by the name of its opcode."""
    masks = literals.TLBI
    if name == "CFGI_STE_RANGE":
        masks = literals.CFGI_RANGE
    elif name.startswith("CFGI"):
        masks = literals.CFGI
    elif name.startswith("PREFETCH"):
        masks = literals.PREFETCH
    else:
        masks = {
            "SYNC": literals.SYNC,
            "ATC_INV": literals.ATC_INV,
            "PRI_RESP": literals.PRI_RESP,
            "RESUME": literals.RESUME,
            "STALL_TERM": literals.STALL_TERM,
        }.get(name, literals.TLBI)
    return put(masks, Opcode=literals.OPCODES[name], **fields)


SYNC = cmd("SYNC")
CFGI_ALL = cmd("CFGI_STE_RANGE", Range=31)


def make_ids(preset: str = "qemu", **changes: int) -> IdRegisters:
    """ID registers of a preset with some fields changed; ``minor`` is AIDR's."""
    base = PRESETS[preset]
    values = {n: getattr(base, f"idr{n}") for n in (0, 1, 3, 5)}
    aidr = changes.pop("minor", base.aidr)
    for name, number in changes.items():
        register = next(n for n in values if name in literals.REGISTER_FIELDS[f"IDR{n}"])
        mask = literals.REGISTER_FIELDS[f"IDR{register}"][name]
        shift = (mask & -mask).bit_length() - 1
        assert not number << shift & ~mask, f"{name}={number:#x} does not fit"
        values[register] = values[register] & ~mask | number << shift
    return IdRegisters(idr0=values[0], idr1=values[1], idr3=values[3], idr5=values[5], aidr=aidr)


S1_STE = {"V": 1, "Config": 0b101, "S1ContextPtr": CD_AT, "SHCFG": 1}
S2_STE = {
    "V": 1,
    "Config": 0b110,
    "SHCFG": 1,
    "S2VMID": 7,
    "S2T0SZ": 25,
    "S2SL0": 1,
    "S2PS": 4,
    "S2AA64": 1,
    "S2R": 1,
}
NESTED_STE = {**S2_STE, "Config": 0b111, "S1ContextPtr": CD_AT}
PLAIN_CD = {
    "V": 1,
    "AA64": 1,
    "A": 1,
    "R": 1,
    "T0SZ": 25,
    "EPD1": 1,
    "IPS": 4,
    "ASID": 3,
    "MAIR0": 0x0C04_FF44,
    "MAIR1": 0xBB00_0000,
}


class Bench:
    """One SMMUv3 with memory; set up as a driver would unless told otherwise."""

    def __init__(self, ids: IdRegisters | None = None, *, setup: bool = True, **options: Any):
        self.memory = PhysicalMemory()
        self.memory.add_ram(RAM, RAM_SIZE)
        self.smmu = Smmuv3(self.memory, ids or make_ids(), **options)
        self.unused = HEAP
        self.prod = 0
        self.commands_lg2 = COMMANDS_LG2
        if setup:
            self.set_up()

    # -- registers

    def r(self, name: str) -> int:
        """Read a register by name."""
        return self.smmu.read(*literals.REGISTERS[name])

    def w(self, name: str, value: int) -> None:
        """Write a register by name."""
        offset, size = literals.REGISTERS[name]
        self.smmu.write(offset, size, value)

    def set_up(self) -> None:
        """Linear stream table of 256, 256 commands, 128 events, everything enabled."""
        self.w("STRTAB_BASE", STREAM_TABLE)
        self.w("STRTAB_BASE_CFG", STREAMS_LG2)
        self.w("CR2", 2)
        self.w("CMDQ_BASE", COMMAND_QUEUE | COMMANDS_LG2)
        self.w("EVENTQ_BASE", EVENT_QUEUE | EVENTS_LG2)
        self.w("IRQ_CTRL", 5)
        self.w("CR0", 0xD)
        assert self.r("CR0ACK") == 0xD

    # -- memory

    def alloc(self, size: int, alignment: int = 0) -> int:
        """Fresh zeroed memory, aligned to its size rounded up to a power of two."""
        alignment = max(alignment, 1 << (size - 1).bit_length(), 64)
        start = -(-self.unused // alignment) * alignment
        self.unused = start + size
        assert self.unused <= RAM + RAM_SIZE
        return start

    def write64(self, pa: int, value: int) -> None:
        """One 64-bit word."""
        assert self.memory.write_u64(pa, value)

    def store(self, pa: int, word: int, size: int) -> None:
        """A structure given as one number."""
        assert self.memory.write(pa, word.to_bytes(size, "little"))

    def ste(self, sid: int = SID, at: int | None = None, **fields: int) -> int:
        """Write an STE, by default into the linear table; returns where."""
        where = STREAM_TABLE + 64 * sid if at is None else at
        self.store(where, put(literals.STE, **fields), 64)
        return where

    def cd(self, at: int = CD_AT, **fields: int) -> int:
        """Write a CD; returns where."""
        self.store(at, put(literals.CD, **fields), 64)
        return at

    def watch(self, name: str) -> list[int]:
        """Log of the addresses that one of the SMMU's ports reads from now on."""
        port = self.smmu.ports[name]
        log: list[int] = []

        def logged(read: Function) -> Function:
            return lambda pa, *size: log.append(pa) or read(pa, *size)

        for function in ("read", "read_u64"):
            interpose(port, function, logged, Layer.INJECT)
        return log

    # -- commands

    def push(self, *commands: int) -> None:
        """Put commands into the queue and move PROD."""
        size = 1 << self.commands_lg2
        for command in commands:
            self.store(COMMAND_QUEUE + 16 * (self.prod % size), command, 16)
            self.prod = (self.prod + 1) % (2 * size)
        self.w("CMDQ_PROD", self.prod)

    def do(self, *commands: int) -> None:
        """Commands and a SYNC; all must be consumed without error."""
        self.push(*commands, SYNC)
        assert self.r("GERROR") == self.r("GERRORN")
        assert self.r("CMDQ_CONS") & 0xFFFFF == self.prod

    @property
    def command_error(self) -> int | None:
        """CMDQ_CONS.ERR while CMDQ_ERR is active, else None."""
        if (self.r("GERROR") ^ self.r("GERRORN")) & 1:
            return self.r("CMDQ_CONS") >> 24 & 0x7F
        return None

    def forget(self) -> None:
        """Drop every cached structure and translation."""
        self.do(CFGI_ALL, cmd("TLBI_NSNH_ALL"))

    # -- traffic

    def go(
        self,
        iova: int,
        write: bool = False,
        *,
        sid: int = SID,
        privileged: bool = False,
        instruction: bool = False,
        ssid: int | None = None,
    ) -> Translation | Fault:
        """One transaction."""
        return self.smmu.translate(Transaction(sid, iova, write, privileged, instruction, ssid))

    def pa(self, iova: int, write: bool = False, **how: Any) -> int:
        """Where a transaction lands; it must pass."""
        result = self.go(iova, write, **how)
        assert isinstance(result, Translation), result
        return result.pa

    def refused(self, iova: int, write: bool = False, **how: Any) -> dict[str, int] | None:
        """The record of a transaction that must not pass; None if it leaves none."""
        assert not self.events(), "events were left over"
        result = self.go(iova, write, **how)
        assert isinstance(result, Fault), result
        records = self.events()
        assert len(records) <= 1
        return get(literals.EVENT, records[0]) if records else None

    def code(self, iova: int, write: bool = False, **how: Any) -> int | None:
        """Event number of a refusal, or None for a silent one."""
        record = self.refused(iova, write, **how)
        return record and record["Number"]

    # -- events

    def events(self) -> list[int]:
        """All records in the queue, which is emptied."""
        size = 1 << min(self.r("EVENTQ_BASE") & 0x1F, 19)
        base = self.r("EVENTQ_BASE") & 0x00FF_FFFF_FFFF_FFE0 & -max(32 * size, 32)
        prod, cons = self.r("EVENTQ_PROD"), self.r("EVENTQ_CONS")
        records = []
        index = cons & (2 * size - 1)
        while index != prod & (2 * size - 1):
            data = self.memory.read(base + 32 * (index % size), 32)
            assert data is not None
            records.append(int.from_bytes(data, "little"))
            index = (index + 1) % (2 * size)
        self.w("EVENTQ_CONS", cons & 1 << 31 | index)
        return records


class Tree:
    """Translation tables, one descriptor at a time.

    ``delta`` is what must be added to a table's address, as the SMMU sees it, to get the physical
    one: tables of a nested stage 1 have intermediate addresses.
    """

    def __init__(
        self,
        bench: Bench,
        granule_lg2: int = 12,
        input_bits: int = 39,
        start_level: int | None = None,
        delta: int = 0,
    ) -> None:
        self.bench = bench
        self.granule_lg2 = granule_lg2
        self.input_bits = input_bits
        self.delta = delta
        self.stride = granule_lg2 - 3
        if start_level is None:
            start_level = 3
            while self.shift(start_level) + self.stride < input_bits:
                start_level -= 1
        self.start_level = start_level
        entries_lg2 = max(input_bits - self.shift(start_level), 0)
        self.root = bench.alloc(8 << entries_lg2) - delta

    def shift(self, level: int) -> int:
        """Log2 of the bytes that one descriptor of a level covers."""
        return self.granule_lg2 + (3 - level) * self.stride

    def at(self, address: int, level: int, table_bits: int = 0) -> int:
        """Address (as the SMMU sees it) of a descriptor; tables on the way are made."""
        address &= (1 << self.input_bits) - 1
        where = self.root + 8 * (address >> self.shift(self.start_level))
        for upper in range(self.start_level, level):
            word = self.bench.memory.read_u64(where + self.delta)
            assert word is not None
            if not word & 1:
                table = self.bench.alloc(1 << self.granule_lg2) - self.delta
                word = table | TABLE | table_bits
                self.bench.write64(where + self.delta, word)
            table = word & 0x0000_FFFF_FFFF_F000 & -(1 << self.granule_lg2)
            index = address >> self.shift(upper + 1) & (1 << self.stride) - 1
            where = table + 8 * index
        return where

    def set(self, address: int, level: int, descriptor: int, table_bits: int = 0) -> int:
        """Write a descriptor of a level for an address; returns its address."""
        where = self.at(address, level, table_bits)
        self.bench.write64(where + self.delta, descriptor)
        return where

    def page(self, address: int, pa: int, bits: int = RW) -> int:
        """Map one page at level 3."""
        return self.set(address, 3, pa | bits | PAGE)


def stage1_bench(ids: IdRegisters | None = None, **cd: int) -> tuple[Bench, Tree]:
    """A bench whose stream ``SID`` translates through an empty stage 1 (4 KiB, 39 bits)."""
    bench = Bench(ids)
    tree = Tree(bench)
    bench.ste(**S1_STE)
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root, **cd})
    return bench, tree


def stage2_bench(ids: IdRegisters | None = None, **ste: int) -> tuple[Bench, Tree]:
    """A bench whose stream ``SID`` translates through an empty stage 2 (4 KiB, 39 bits)."""
    bench = Bench(ids)
    tree = Tree(bench, start_level=1)
    bench.ste(**{**S2_STE, "S2TTB": tree.root, **ste})
    return bench, tree


GUEST = 0x1_0000_0000
"""Where nested benches put what their guest owns: intermediate address = physical + GUEST."""


def nested_bench(
    ids: IdRegisters | None = None,
    ste: dict[str, int] | None = None,
    cd: dict[str, int] | None = None,
) -> tuple[Bench, Tree, Tree]:
    """A bench with both stages; the guest's CD and tables are mapped by 2 MiB blocks of stage 2."""
    bench = Bench(ids)
    second = Tree(bench, start_level=1)
    first = Tree(bench, delta=-GUEST)
    for offset in range(0, RAM_SIZE, 1 << 21):
        second.set(GUEST + RAM + offset, 2, RAM + offset | S2_RW | BLOCK)
    pointers = {"S1ContextPtr": CD_AT + GUEST, "S2TTB": second.root}
    bench.ste(**{**NESTED_STE, **pointers, **(ste or {})})
    bench.cd(**{**PLAIN_CD, "TTB0": first.root, **(cd or {})})
    return bench, first, second
