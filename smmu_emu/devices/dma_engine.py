# SPDX-License-Identifier: GPL-2.0-or-later
"""A scatter-gather DMA engine of this project's own (1234:5d4a), for what PCIe masters cannot show.

Its channels work through tables of descriptors in memory, which they fetch through the translation
unit as they do everything else. Each access has a SubstreamID or none, may be privileged without
one, and may be able to wait, so that it can be stalled: what PCIe forbids, devices on a SoC do.
Where the translation unit serves ATS, the engine has a translation cache, and can ask for pages.
The registers and descriptors are described in docs/dma_engine.md.

Transfers happen inside the write that starts a channel, up to an access that has to wait; they go
on when that is answered. Left out: INTx, completion in later virtual time, stopping a channel.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, IntEnum, auto
from functools import partial

from smmu_emu.ats import TranslationAgent
from smmu_emu.bits import Bits, Word
from smmu_emu.clock import Clock
from smmu_emu.devices.ats_endpoint import AtsEndpoint
from smmu_emu.devices.dma_descriptor import (
    DESCRIPTOR_SIZE,
    RESULT_OFFSET,
    RESULT_SIZE,
    Access,
    AccessWord,
    Carrying,
    Descriptor,
    Result,
    Waitable,
    wrapped,
)
from smmu_emu.devices.pcie import Bar, Function
from smmu_emu.devices.register_block import RW, R, Register, RegisterBlock, W
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.port import DmaPort

VENDOR_ID = 0x1234
DEVICE_ID = 0x5D4A
CLASS_CODE = 0x088000
BAR_SIZE = 0x1000

MAGIC = 0x3141_4D44
CHANNELS = 8
FIRST_CHANNEL = 0x100
CHANNEL_SIZE = 0x80
MOST_DESCRIPTORS = 256
START = 1
"""COMMAND of a channel."""


class State(IntEnum):
    """STATUS.STATE of a channel."""

    IDLE = 0
    BUSY = 1
    DONE = 2
    FETCH_REFUSED = 3
    TRANSFER_FAILED = 4
    RESULT_REFUSED = 5


class STATUS(Word, bits=32):
    """State of a channel; INTERRUPT_LOST says that its message was refused."""

    STATE = Bits(2, 0)
    INTERRUPT_LOST = Bits(8)


class ACCESS(AccessWord):
    """How a channel accesses its table; the same bits of a descriptor say it for its transfer."""


class FEATURES(Word, bits=32):
    """What the engine can do here."""

    ATS = Bits(0)


class CONTROL(Word, bits=32):
    """What PCIe has in the ATS and PRI capabilities: whether the engine may use them."""

    ATS_ENABLE = Bits(0)
    PRI_ENABLE = Bits(1)


COMMON_REGISTERS = (
    Register("MAGIC", 0x00, R, reset=MAGIC),
    Register("CHANNELS", 0x04, R, reset=CHANNELS),
    Register("FEATURES", 0x08, R),
    Register("CONTROL", 0x0C, RW, writable=CONTROL.mask()),
    Register("ATC_ENTRIES", 0x10, R),
    Register("ATS_REQUESTS", 0x14, R),
    Register("ATC_INVALIDATIONS", 0x18, R),
    Register("PAGE_RESPONSES", 0x1C, R),
)
CHANNEL_REGISTERS = (
    Register("COMMAND", 0x00, W),
    Register("STATUS", 0x04, R),
    Register("COMPLETED", 0x08, R),
    Register("COUNT", 0x0C, RW, writable=0x1FF),
    Register("TABLE_LO", 0x10, RW, writable=0xFFFF_FFC0),
    Register("TABLE_HI", 0x14, RW),
    Register("ACCESS", 0x18, RW, writable=ACCESS.mask()),
    Register("MSI_DATA", 0x1C, RW),
    Register("MSI_ADDRESS_LO", 0x20, RW, writable=0xFFFF_FFFC),
    Register("MSI_ADDRESS_HI", 0x24, RW),
    Register("REFUSED_LO", 0x28, R),
    Register("REFUSED_HI", 0x2C, R),
)
"""Offsets are from the start of the channel."""


def _registers() -> list[Register]:
    table = list(COMMON_REGISTERS)
    for number in range(CHANNELS):
        base = FIRST_CHANNEL + CHANNEL_SIZE * number
        for name, offset, access, reset, writable in CHANNEL_REGISTERS:
            table.append(Register(f"{number}.{name}", base + offset, access, reset, writable))
    return table


class DmaEngine(Function):
    """One engine; ``channels`` are its channels, ``endpoint`` its way by ATS, if there is one."""

    def __init__(self, report: Report = ignore, name: str = "dma-engine") -> None:
        super().__init__(VENDOR_ID, DEVICE_ID, CLASS_CODE, bars=[Bar(0, BAR_SIZE, self)], name=name)
        self.report = report
        self.endpoint: AtsEndpoint | None = None
        self.block = RegisterBlock(_registers(), report)
        self.channels = [Channel(self, number) for number in range(CHANNELS)]
        self._working = False

    def connect(self, requester_id: int, dma: DmaPort, changed: Callable[[], None]) -> None:
        """Take a place on a host; if its unit serves ATS, become an endpoint of that.

        Not behind a bridge, where requester IDs change.
        """
        super().connect(requester_id, dma, changed)
        unit = dma.translator
        agent: TranslationAgent | None = getattr(unit, "ats", None)
        clock: Clock | None = getattr(unit, "clock", None)
        if agent is None or clock is None or self.upstream is not None:
            return
        memory, name = dma.memory.memory, f"{self.name} translated"
        endpoint = AtsEndpoint(memory, agent, requester_id, clock, translator=unit, name=name)
        self.endpoint = endpoint
        on_read = self.block.on_read
        on_read["FEATURES"] = lambda: FEATURES.mask("ATS")
        on_read["CONTROL"] = lambda: endpoint.ats_enabled | endpoint.pri_enabled << 1
        on_read["ATC_ENTRIES"] = lambda: len(endpoint.atc)
        on_read["ATS_REQUESTS"] = lambda: endpoint.requests & 0xFFFF_FFFF
        on_read["ATC_INVALIDATIONS"] = lambda: endpoint.invalidations & 0xFFFF_FFFF
        on_read["PAGE_RESPONSES"] = lambda: len(endpoint.responses) & 0xFFFF_FFFF
        self.block.on_write["CONTROL"] = self._control
        self._control(0)

    def _control(self, value: int) -> None:
        """Switching ATS off forgets the cache, as PCIe has it."""
        endpoint, control = self.endpoint, CONTROL(value)
        if endpoint is None:
            return
        endpoint.ats_enabled = bool(control.ATS_ENABLE)
        endpoint.pri_enabled = bool(control.PRI_ENABLE)
        if not endpoint.ats_enabled:
            endpoint.atc.clear()

    def reset(self) -> None:
        """Power-on state. What is stalled is forgotten."""
        super().reset()
        self.block.reset()
        if self.endpoint is not None:
            self.endpoint.reset()
        self._control(0)
        for channel in self.channels:
            channel.reset()

    def read(self, offset: int, size: int) -> int | None:
        """A read of the registers; refused while the engine itself is at work."""
        return None if self._working else self.block.read(offset, size)

    def write(self, offset: int, size: int, value: int) -> bool | None:
        """A write of the registers; refused while the engine itself is at work, lest channels start
        each other for ever."""
        if self._working:
            return False
        self.block.write(offset, size, value)
        return None

    def access(self, word: AccessWord) -> Access:
        """How accesses are made as ``word`` says. ATS is ignored where there is none."""
        master = self.endpoint if word.ATS and self.endpoint is not None else self.dma
        substream_id = word.SUBSTREAM_ID if word.SSV else None
        return Access(master, bool(word.PRIVILEGED), substream_id, bool(word.CAN_WAIT))

    def advance(self, work: Work) -> Waitable | None:
        """Let a channel work until it has to wait for something, or ends (None)."""
        before, self._working = self._working, True
        try:
            return work.go_on()
        finally:
            self._working = before


class Channel:
    """One channel: its registers, and the work that a START begins."""

    def __init__(self, engine: DmaEngine, number: int) -> None:
        self.engine = engine
        self.prefix = f"{number}."
        self._work: Work | None = None
        engine.block.on_write[self.prefix + "COMMAND"] = self._command

    def reset(self) -> None:
        """Forget the work under way."""
        self._work = None

    @property
    def state(self) -> State:
        """STATUS.STATE."""
        return State(STATUS(self["STATUS"]).STATE)

    def __getitem__(self, name: str) -> int:
        return self.engine.block.values[self.prefix + name]

    def __setitem__(self, name: str, value: int) -> None:
        self.engine.block.values[self.prefix + name] = value

    def _address(self, name: str) -> int:
        return self[f"{name}_HI"] << 32 | self[f"{name}_LO"]

    def _command(self, value: int) -> None:
        """START counts unless the channel is busy or the function may not be a bus master."""
        if not value & START or self.state is State.BUSY:
            return
        if not self.engine.bus_master:
            self.engine.report(0, "START while the command register's bus-master bit is 0")
            return
        self["STATUS"] = State.BUSY
        self["COMPLETED"] = 0
        self.set_refused(0)
        count = min(self["COUNT"], MOST_DESCRIPTORS)
        access = self.engine.access(ACCESS(self["ACCESS"]))
        self._work = Work(self, self._address("TABLE"), count, access)
        self._go_on(self._work)

    def _go_on(self, work: Work, _: Waitable | None = None) -> None:
        """Work until something has to be waited for, or the end; after a reset, old work is none of
        our business."""
        if work is not self._work:
            return
        under_way = self.engine.advance(work)
        if under_way is not None:
            under_way.on_done = partial(self._go_on, work)

    def end(self, state: State) -> None:
        """The state comes before the message that tells of it, an ordinary write that cannot
        wait."""
        self["STATUS"] = state
        address, data = self._address("MSI_ADDRESS"), self["MSI_DATA"].to_bytes(4, "little")
        if address and not self.engine.dma.write(address, data):
            self["STATUS"] |= STATUS.mask("INTERRUPT_LOST")

    def set_refused(self, address: int) -> None:
        self["REFUSED_LO"], self["REFUSED_HI"] = address & 0xFFFF_FFFF, address >> 32


class Step(Enum):
    """What of a descriptor is under way."""

    FETCH = auto()
    TRANSFER = auto()
    WRITE_BACK = auto()


class Work:
    """What a channel has to do since its START, and where it stands."""

    passing = True

    def __init__(self, channel: Channel, table: int, count: int, access: Access) -> None:
        self.channel = channel
        self.table = table
        self.count = count
        self.access = access
        self.index = 0
        self.step = Step.FETCH
        self.carrying: Carrying | None = None
        self.under_way: Waitable | None = None
        self.ended = False

    def go_on(self) -> Waitable | None:
        """Work until something has to be waited for, which is the answer, or the end."""
        while not self.ended:
            under_way = self.under_way = self.under_way or self._begin()
            if under_way is None:
                continue
            if not under_way.done:
                return under_way
            self.under_way = None
            self._take(under_way)
        return None

    @property
    def _where(self) -> int:
        return wrapped(self.table + DESCRIPTOR_SIZE * self.index)

    def _begin(self) -> Waitable | None:
        """Begin the next access; None if there was none to make, for now."""
        if self.index == self.count:
            self._end(State.DONE)
            return None
        if self.step is Step.FETCH:
            return self.access.read(self._where, DESCRIPTOR_SIZE)
        assert self.carrying is not None
        if self.step is Step.TRANSFER:
            under_way = self.carrying.begin()
            if under_way is None:
                self.step = Step.WRITE_BACK
            return under_way
        done = self.carrying.descriptor.to_bytes()
        result = done[RESULT_OFFSET : RESULT_OFFSET + RESULT_SIZE]
        return self.access.write(self._where + RESULT_OFFSET, result)

    def _take(self, answer: Waitable) -> None:
        """The access that `_begin` began has ended."""
        if self.step is Step.FETCH:
            if not answer.ok:
                self._end(State.FETCH_REFUSED, self._where)
                return
            asked = Descriptor.from_bytes(bytes(answer.data))
            self.carrying = Carrying(asked, self.channel.engine.access(asked))
            self.step = Step.TRANSFER
            return
        assert self.carrying is not None
        if self.step is Step.TRANSFER:
            self.carrying.take(answer)
        elif not answer.ok:
            self._end(State.RESULT_REFUSED, self._where + RESULT_OFFSET)
        elif self.carrying.descriptor.RESULT != Result.DONE:
            self._end(State.TRANSFER_FAILED, self.carrying.descriptor.REFUSED)
        else:
            self.index += 1
            self.channel["COMPLETED"] = self.index
            self.step = Step.FETCH

    def _end(self, state: State, refused: int | None = None) -> None:
        self.ended = True
        if refused is not None:
            self.channel.set_refused(refused)
        self.channel.end(state)
