# SPDX-License-Identifier: GPL-2.0-or-later
"""A twin of QEMU 11.1's SMMUv3: the same state, the same answers.

The twin is told every step of a scenario and yields what QEMU did. Wherever QEMU leaves the
architecture the code asks ``acts(name, QEMU's value, the architecture's value)``, which goes on with
QEMU's and notes the name when the two differ. Names stick to what is cached under them: a
configuration or a TLB entry that owes its being to a deviation tells its name again when it is used.

The same code, asked by ``expect``, takes the architecture's value at each point and changes nothing.

Left out: what the recorded SMMU does not have (substreams, stalls, ATS, PRI, MSIs, HTTU).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from . import registers as reg
from .commands import execute
from .config import OAS_BITS, Config, Half, decode
from .events import CLASS_IN, F_ADDR_SIZE, F_PERMISSION, F_TRANSLATION, Fault, record
from .fields import COMMAND_BYTES, EVENT_BYTES, Command, bits, low_mask
from .registers import Queue, RegisterFile
from .system import SystemMemory
from .tlb import READ, WRITE, Entry, Tlb
from .walk import stage1_denies, walk_stage1, walk_stage2

T = TypeVar("T")

IRQ_EVENTQ, IRQ_SYNC, IRQ_GERROR = 74, 76, 77
CMDQ_ERR, EVENTQ_ABT_ERR = 1 << 0, 1 << 2
CERROR_ILL, CERROR_ABT = 1, 2
BYPASS_MASK = 0xFFF


@dataclass
class Piece:
    """The part of a transfer that is one access: where it went, or how it failed."""

    iova: int
    size: int
    target: int | None
    fault: Fault | None = None


@dataclass
class Result:
    """What one step did: pieces of a transfer, a register's value, events and interrupts."""

    pieces: list[Piece] = field(default_factory=list)
    value: int | None = None
    events: list[bytes] = field(default_factory=list)
    interrupts: list[int] = field(default_factory=list)
    names: set[str] = field(default_factory=set)


class Twin:
    """QEMU's SMMUv3 with the given ID registers (IDR0..IDR5, IIDR, AIDR) and PCI functions."""

    def __init__(
        self, identification: tuple[int, ...], functions: frozenset[int] = frozenset()
    ) -> None:
        self.memory = SystemMemory()
        self.registers = RegisterFile(identification)
        self.has_stage1 = bool(identification[0] & 2)
        self.has_stage2 = bool(identification[0] & 1)
        self.functions = functions
        self.command_queue = Queue(COMMAND_BYTES)
        self.event_queue = Queue(EVENT_BYTES)
        self.gerror = self.gerrorn = 0
        self.two_level, self.split = False, 0
        self.architecture_cr2 = 0
        self.configs: dict[int, Config] = {}
        self.tlb = Tlb()
        self.result = Result()
        self.architecture = False

    strtab_base = property(lambda self: self.registers[reg.STRTAB_BASE])
    strtab_base_cfg = property(lambda self: self.registers[reg.STRTAB_BASE_CFG])

    # Steps

    def read(self, offset: int, size: int) -> Result:
        """Read a register of ``size`` bytes."""
        result = self._begin()
        result.value = reg.read(self, offset, size)
        return result

    def write(self, offset: int, size: int, value: int) -> Result:
        """Write a register of ``size`` bytes."""
        result = self._begin()
        reg.write(self, offset, size, value)
        return result

    def transfer(self, stream_id: int, iova: int, size: int, write: bool) -> Result:
        """Let ``stream_id`` read or write ``size`` bytes at ``iova``."""
        result = self._begin()
        while size:
            piece = self._access(stream_id, iova, size, write)
            result.pieces.append(piece)
            iova, size = iova + piece.size, size - piece.size
        return result

    def expect(self, stream_id: int, iova: int, write: bool) -> int | Fault:
        """Return what the architecture gives for one access in the twin's state: target or fault."""
        with self._as_architecture():
            try:
                return self._translate(stream_id, iova, write)[0]
            except Fault as fault:
                return fault

    def _begin(self) -> Result:
        self.result = Result()
        return self.result

    # Deviations

    def acts(self, name: str, qemu: T, architecture: T) -> T:
        """Go on with QEMU's value and note ``name`` where the architecture has another one."""
        if self.architecture:
            return architecture
        if qemu != architecture:
            self.result.names.add(name)
        return qemu

    def note(self, *names: str) -> None:
        """Note deviations that acted, or act again through what is cached."""
        if not self.architecture:
            self.result.names.update(names)

    @contextmanager
    def _as_architecture(self) -> Iterator[None]:
        before, self.architecture = self.architecture, True
        try:
            yield
        finally:
            self.architecture = before

    @contextmanager
    def _names_apart(self) -> Iterator[set[str]]:
        """Collect what is noted inside, and note it outside too."""
        outer, self.result.names = self.result.names, set()
        try:
            yield self.result.names
        finally:
            outer |= self.result.names
            self.result.names = outer

    # Transfers

    def _access(self, stream_id: int, iova: int, size: int, write: bool) -> Piece:
        """Do the first part of a transfer, as large as QEMU's memory core makes it."""
        try:
            target, mask = self._translate(stream_id, iova, write)
        except Fault as fault:
            self._report(fault, stream_id, iova, write)
            return Piece(iova, _bus_size(iova, size), None, fault)
        size = min(size, mask + 1 - (target & mask))
        if not self.memory.is_ram(target):
            size = _bus_size(target, size)
        return Piece(iova, size, target)

    def _translate(self, stream_id: int, iova: int, write: bool) -> tuple[int, int]:
        """Return the target of ``iova`` and the mask of what is mapped with it."""
        if not self.registers[reg.CR0] & 1:
            if self.registers[reg.GBPA] >> 20 & 1:
                raise Fault(None)
            return iova, BYPASS_MASK
        config = self._configuration(stream_id)
        if config.aborts:
            raise Fault(None)
        if config.bypasses:
            if self.acts("bypass-address-size", False, bool(iova >> OAS_BITS)):
                raise Fault(F_ADDR_SIZE)
            return iova, BYPASS_MASK
        entry = self._translate_input(config, iova, WRITE if write else READ)
        return entry.target(iova), entry.mask

    def _configuration(self, stream_id: int) -> Config:
        config = self.configs.get(stream_id)
        if config is None or (self.architecture and config.names):
            with self._names_apart() as names:
                config = decode(self, stream_id)
                config.names = frozenset(names)
            if not self.architecture:
                self.configs[stream_id] = config
        self.note(*config.names)
        return config

    def _translate_input(self, config: Config, iova: int, need: int) -> Entry:
        if config.stage1:
            half = self._select_half(config, iova)
            if half == _GAP:
                raise Fault(F_TRANSLATION, recorded=config.recorded)
            chosen = config.halves[half]
            entry = self._lookup_stage1(config, chosen, iova)
        else:
            chosen = None
            entry = self._lookup_stage2(config, iova)
        if entry is not None:
            self._judge_hit(config, entry, iova, need)
            return entry
        with self._names_apart() as names:
            if not config.stage1:
                entry = self._walk_input_stage2(config, iova, need)
            elif chosen is None:
                raise Fault(F_TRANSLATION, recorded=config.recorded)
            else:
                entry = self._walk_input_stage1(config, chosen, iova, need)
            entry.names = frozenset(names)
        self._remember(config.asid if config.stage1 else -1, config.vmid, entry)
        return entry

    def _select_half(self, config: Config, iova: int) -> int:
        """Return 0 or 1 for TTB0 or TTB1, or _GAP; a half without walks counts as the rest."""
        return self.acts(
            "tbi1-ignored",
            _select(config, iova, (config.tbi[0], config.tbi[0])),
            _select(config, iova, config.tbi),
        )

    def _walk_input_stage1(self, config: Config, half: Half, iova: int, need: int) -> Entry:
        entry = walk_stage1(self, config, half, iova, need)
        if config.stage2 is None:
            return entry
        ipa = entry.out | iova & entry.mask
        under = walk_stage2(self, config.stage2, ipa, need, CLASS_IN)
        if under.mask < entry.mask:
            entry.mask, entry.granule, entry.level = under.mask, under.granule, under.level
        entry.out = under.target(ipa) & ~entry.mask
        entry.iova = iova & ~entry.mask
        entry.ipa = ipa & ~entry.mask
        entry.parent = under.perm
        return entry

    def _walk_input_stage2(self, config: Config, iova: int, need: int) -> Entry:
        assert config.stage2 is not None
        if iova >> OAS_BITS:
            recorded = self.acts("input-address-size", False, True)
            raise Fault(F_ADDR_SIZE, recorded=recorded)
        return walk_stage2(self, config.stage2, iova, need, CLASS_IN)

    def _judge_hit(self, config: Config, entry: Entry, iova: int, need: int) -> None:
        self.note(*entry.names)
        if config.stage1:
            read_only = need == WRITE and not entry.perm & WRITE
            if stage1_denies(self, entry.ap, entry.ap_table, need) or read_only:
                raise Fault(F_PERMISSION, recorded=config.recorded)
        if config.stage2 is None or not need & ~entry.parent:
            return
        ipa = entry.ipa | iova & entry.mask
        if self.architecture:
            recorded = config.stage2.recorded
            raise Fault(F_PERMISSION, stage2=True, address=ipa, recorded=recorded)
        self.note("hit-permissions")
        if not config.stage1:
            raise Fault(None)
        if need == WRITE:
            raise Fault(F_PERMISSION, stage2=True, recorded=config.stage2.recorded)

    # Caches

    def _lookup_stage1(self, config: Config, half: Half | None, iova: int) -> Entry | None:
        granule = half.granule if half else 0
        input_bits = half.input_bits if half else 64
        found = self.tlb.lookup(config.asid, config.vmid, iova, granule, input_bits)
        if found is None and config.stage2 and config.stage2.granule != granule:
            found = self.tlb.lookup(
                config.asid, config.vmid, iova, config.stage2.granule, input_bits
            )
        return self._usable(found)

    def _lookup_stage2(self, config: Config, ipa: int) -> Entry | None:
        stage2 = config.stage2
        assert stage2 is not None
        found = self.tlb.lookup(-1, config.vmid, ipa, stage2.granule, stage2.input_bits)
        return self._usable(found)

    def _usable(self, entry: Entry | None) -> Entry | None:
        if entry is not None and self.architecture and entry.names:
            return None
        return entry

    def _remember(self, asid: int, vmid: int, entry: Entry) -> None:
        if not self.architecture:
            self.tlb.insert(asid, vmid, entry)

    def fetch_address(self, config: Config, ipa: int, klass: int) -> int:
        """Translate the IPA of a CD or of a stage-1 table, through the TLB.

        Raises:
            Fault: stage 2's.
        """
        assert config.stage2 is not None
        entry = self._lookup_stage2(config, ipa)
        if entry is None:
            if not self.architecture and ipa >> config.output_bits:
                self.note("input-address-size" if klass == 0 else "table-address-size")
                raise Fault(F_ADDR_SIZE, klass=klass, recorded=config.recorded, fetching=True)
            with self._names_apart() as names:
                try:
                    entry = walk_stage2(self, config.stage2, ipa, READ, klass)
                except Fault as fault:
                    fault.fetching = not self.architecture
                    raise
                entry.names = frozenset(names)
            self._remember(-1, config.vmid, entry)
        else:
            self.note(*entry.names)
        return entry.target(ipa)

    def peek_stage2(self, config: Config, ipa: int, klass: int) -> int | Fault:
        """Return where the architecture finds ``ipa``, without a trace."""
        with self._as_architecture():
            try:
                return self.fetch_address(config, ipa, klass)
            except Fault as fault:
                return fault

    # Queues

    def consume_commands(self) -> None:
        """Carry out commands until the queue is empty, stopped or in error."""
        queue = self.command_queue
        error = 0
        while self.registers[reg.CR0] & 8 and not queue.empty and not error:
            if (self.gerror ^ self.gerrorn) & CMDQ_ERR:
                break
            raw = self.memory.read(queue.entry(queue.cons), COMMAND_BYTES)
            if raw is None:
                error = CERROR_ABT
            elif not execute(self, Command(raw)):
                error = CERROR_ILL
            else:
                index = low_mask(queue.size_lg2 + 1)
                queue.cons = queue.cons & ~index | queue.cons + 1 & index
        if error:
            queue.cons = queue.cons & ~(0x7F << 24) | error << 24
            self._raise_global_error(CMDQ_ERR)

    def has_function(self, stream_id: int) -> bool:
        """Say whether ``stream_id`` belongs to a PCI function of the machine."""
        return stream_id in self.functions

    def pulse_sync(self) -> None:
        """Pulse the interrupt of CMD_SYNC."""
        self.result.interrupts.append(IRQ_SYNC)

    def _raise_global_error(self, error: int) -> None:
        if (self.gerror ^ self.gerrorn) & error:
            return
        self.gerror ^= error
        if self.registers[reg.IRQ_CTRL] & 1:
            self.result.interrupts.append(IRQ_GERROR)

    def _report(self, fault: Fault, stream_id: int, iova: int, write: bool) -> None:
        if fault.kind is None or not fault.recorded or not self.registers[reg.CR0] & 4:
            return
        queue = self.event_queue
        self.acts("events-after-abort", False, self._abort_active())
        data = record(self, fault, stream_id, iova, write)
        if queue.full:
            self.note("queue-full")
            self._raise_global_error(EVENTQ_ABT_ERR)
            return
        was_empty = queue.empty
        if not self.memory.write(queue.entry(queue.prod), data):
            self._raise_global_error(EVENTQ_ABT_ERR)
            return
        queue.prod = queue.prod + 1 & low_mask(queue.size_lg2 + 1)
        self.result.events.append(data)
        interrupts = bool(bits(self.registers[reg.IRQ_CTRL], 2, 1))
        if self.acts("irq-per-record", not queue.empty and interrupts, was_empty and interrupts):
            self.result.interrupts.append(IRQ_EVENTQ)

    def _abort_active(self) -> bool:
        return bool((self.gerror ^ self.gerrorn) & EVENTQ_ABT_ERR)


_GAP = -1


def _select(config: Config, iova: int, tbi: tuple[int, int]) -> int:
    """Return the half that ``iova`` is in, a half that does not walk taking all that is left."""
    ignored = 8 * tbi[iova >> 55 & 1]
    for half in (0, 1):
        table = config.halves[half]
        if table is not None:
            width = table.tsz - ignored
            if bits(iova, table.input_bits, width) == (low_mask(width) if half else 0):
                return half
    if config.halves[0] is None:
        return 0
    return 1 if config.halves[1] is None else _GAP


def _bus_size(address: int, size: int) -> int:
    """Return how much of an access outside RAM QEMU's bus does at once, at most 4 bytes."""
    size = min(size, 4, address & -address or 4)
    return 1 << size.bit_length() - 1
