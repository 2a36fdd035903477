# SPDX-License-Identifier: GPL-2.0-or-later
"""Arm's SMMUv3TestEngine (13b5:ff80), the DMA master of Arm's own SMMU test suites.

Reference: the interface that Arm publishes with Trusted Firmware (SMMUv3TestEngine.h in tf-a-tests
and in TF-A). BAR 0 holds pairs of 64 KiB pages: 512 user frames, then their 512 privileged frames,
128 bytes each. A user frame says what to do, its privileged one as which substream; writing a
command to the former starts it. BAR 2 is the MSI-X table, BAR 4 its pending bits.

Accesses are made as the frame's attributes say, privileged or not, to instructions or data; memory
types are checked and lead nowhere. They can wait, so that streams may stall: the frame stays busy
until software resumes them. Work takes no virtual time otherwise.

Where that interface leaves a choice: a transaction has up to 4 KiB and stays in a page of the
source; a frame stops at its first abort; a stride of 0 is misconfigured; "randomly" front or back
is bit 0 of the generator's next number. Unlike there, work of more than 2^20 transactions counts as
misconfigured, and is told. Left out, as absent there or on this board: Secure frames (SSD_NS is
1), ATS and PRI, the rate of work, uctrl1, uctrl2 and pctrl1, which are kept.
"""

from __future__ import annotations

from functools import partial
from struct import Struct, unpack
from typing import Any

from smmu_emu.bits import Bits, Word
from smmu_emu.devices.pcie import Bar, Function
from smmu_emu.devices.pcie_msi import Msix
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.devices.smmu_test_request import (
    ALL_ONES,
    NO_SUBSTREAM,
    VECTORS,
    WORD,
    Command,
    Request,
    random_bytes,
)
from smmu_emu.port import Transfer

VENDOR_ID = 0x13B5
DEVICE_ID = 0xFF80
CLASS_CODE = 0xFF0000
REVISION = 0x0F
SUBSYSTEM = (0x13B5, 0)
PAIRS = 2
MSIX_AT = 0x40
TABLE_BAR, PENDING_BAR = 2, 4

FRAME_SIZE = 128
USER_SIZE = 0x1_0000
PAIR_SIZE = 2 * USER_SIZE
BAR_SIZE = PAIRS * PAIR_SIZE


class UCTRL(Word, bits=32):
    """Control of a user frame. The engine sets MSI_ABORTED."""

    MSI_ABORTED = Bits(0)
    RATE = Bits(31, 16)


CMD, COUNTS, UDATA = 0x00, 0x08, 0x40
UDATA_SUM, UDATA_ERROR = UDATA + 8, UDATA + 16
PCTRL_NS = 1
_USER = Struct("<4I Q 4I 3Q Q")
_PRIVILEGED = Struct("<4I")

_USER_RESET = Command.HALTED.to_bytes(4, "little") + bytes(FRAME_SIZE - 4)
_PRIVILEGED_RESET = _PRIVILEGED.pack(PCTRL_NS, 0, 0, NO_SUBSTREAM) + bytes(FRAME_SIZE - 16)


class SmmuTestEngine(Function):
    """One engine. ``frames`` is BAR 0, ``running`` the work of the frames that wait."""

    def __init__(self, report: Report = ignore, name: str = "smmu-test-engine") -> None:
        registers = Bar(0, BAR_SIZE, self, wide=True)
        super().__init__(
            VENDOR_ID, DEVICE_ID, CLASS_CODE, subsystem=SUBSYSTEM, bars=[registers], name=name
        )
        self.preset("REVISION_ID", REVISION)
        self.report = report
        self.msix = Msix(self, MSIX_AT, VECTORS, (TABLE_BAR, 0), (PENDING_BAR, 0))
        self.add_bar(Bar(TABLE_BAR, 16 * VECTORS, self.msix.table, wide=True))
        self.add_bar(Bar(PENDING_BAR, 0x1000, self.msix.pending_bits, wide=True))
        self.frames = bytearray()
        self.running: dict[int, Work] = {}
        self._working = False
        self._reset_frames()

    def reset(self) -> None:
        """Power-on state. What is stalled is forgotten."""
        super().reset()
        self._reset_frames()

    def _reset_frames(self) -> None:
        frames = USER_SIZE // FRAME_SIZE
        self.frames = bytearray((_USER_RESET * frames + _PRIVILEGED_RESET * frames) * PAIRS)
        self.running.clear()

    # -- registers

    def read(self, offset: int, size: int) -> int | None:
        """A read of any size; refused while the engine itself is at work."""
        if self._working:
            return None
        return int.from_bytes(self.frames[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> bool | None:
        """A write of any size, but for ``cmd``; refused while the engine itself is at work.

        A frame that is running ignores it.
        """
        if self._working:
            return False
        user = offset & ~USER_SIZE
        privileged = bool(offset & USER_SIZE)
        frame, register = user - user % FRAME_SIZE, user % FRAME_SIZE
        if frame in self.running:
            return None
        if not privileged and register < CMD + 4:
            self._write_command(frame, register, size, value)
        elif privileged or not COUNTS <= register < COUNTS + 8:
            size = min(size, FRAME_SIZE - register)
            data = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
            self.frames[offset : offset + size] = data
            self.frames[frame | USER_SIZE] |= PCTRL_NS
        return None

    def _write_command(self, frame: int, register: int, size: int, value: int) -> None:
        if register or size != 4:
            self.report(frame + register, f"write of {size} bytes to cmd")
        elif value in (Command.NO_FRAME, Command.HALTED):
            self._put(frame + CMD, Command.HALTED, 4)
        else:
            self._start(frame, value)

    def _request(self, frame: int) -> Request:
        privileged = _PRIVILEGED.unpack_from(self.frames, frame | USER_SIZE)
        return Request(*_USER.unpack_from(self.frames, frame), *privileged)

    def _put(self, offset: int, value: int, size: int) -> None:
        self.frames[offset : offset + size] = value.to_bytes(size, "little")

    # -- commands

    def _start(self, frame: int, command: int) -> None:
        request = self._request(frame)
        if not request.is_configured(command):
            self._put(frame + CMD, Command.MISCONFIGURED, 4)
            if request.is_too_long:
                self.report(frame, "a range of too many transactions")
            return
        self._put(frame + CMD, command, 4)
        if not self.bus_master:
            self.report(frame, "DMA while the command register's bus-master bit is 0")
            self._end(frame, request, request.begin)
            return
        work = Work(self, frame, request, Command(command))
        self.running[frame] = work
        self._go_on(work)

    def _go_on(self, work: Work, _: Transfer | None = None) -> None:
        """Work until something has to be waited for, or the end; after a reset, old work is none of
        our business."""
        frame = work.frame
        if self.running.get(frame) is not work:
            return
        before, self._working = self._working, True
        try:
            under_way = work.go_on()
            if under_way is not None:
                under_way.on_done = partial(self._go_on, work)
            else:
                del self.running[frame]
                if work.total is not None:
                    self._put(frame + UDATA_SUM, work.total & ALL_ONES, 8)
                self._end(frame, work.request, work.aborted)
        finally:
            self._working = before

    def _end(self, frame: int, request: Request, aborted: int | None) -> None:
        """The state comes before the message that tells of it."""
        if aborted is None:
            self._put(frame + CMD, Command.HALTED, 4)
        else:
            self._put(frame + CMD, Command.ERROR, 4)
            self._put(frame + UDATA_ERROR, aborted, 8)
        if request.msi_address and self.msix.enabled and not self.msix.send(request.msi_data):
            self.frames[frame + 4] |= UCTRL.mask("MSI_ABORTED")

    def count(self, offset: int) -> None:
        """One more in a counter of a frame."""
        count = int.from_bytes(self.frames[offset : offset + 4], "little")
        self._put(offset, (count + 1) & WORD, 4)


class Work:
    """What a frame has to do, and where it stands: MEMCPY is a read and a write for each piece,
    RAND48 a write, SUM64 a read.

    ``aborted`` is the address that ended it early, ``total`` the sum of a SUM64 that ended well.
    """

    passing = True

    def __init__(
        self, engine: SmmuTestEngine, frame: int, request: Request, command: Command
    ) -> None:
        self.engine = engine
        self.frame = frame
        self.request = request
        self.command = command
        self.pieces = request.pieces()
        self.piece = next(self.pieces, None)
        self.data: bytes | None = None
        """What was read of this piece."""
        self.total: int | None = None
        self.aborted: int | None = None
        self.under_way: Transfer | None = None
        self._sum = 0

    def go_on(self) -> Transfer | None:
        """Work until something has to be waited for, which is the answer, or the end."""
        engine = self.engine
        while self.piece is not None and self.aborted is None:
            if self.under_way is None:
                engine.dma.last_fault = None
                self.under_way = self._begin(self.piece)
                engine.count(self.frame + COUNTS)
            if not self.under_way.done:
                return self.under_way
            ended, self.under_way = self.under_way, None
            engine.count(self.frame + COUNTS + 4)
            self._take(ended, self.piece)
        if self.command is Command.SUM64 and self.aborted is None:
            self.total = self._sum
        return None

    def _begin(self, piece: tuple[int, int]) -> Transfer:
        """Begin the next transaction."""
        (address, size), request, dma = piece, self.request, self.engine.dma
        writes = self.command is Command.RAND48 or self.data is not None
        how = request.destination if writes else request.source
        attributes: dict[str, Any] = {
            "privileged": bool(how.PRIVILEGED),
            "substream_id": request.substream,
            "instruction": bool(how.INSTRUCTION),
        }
        if not writes:
            return dma.start_read(address, size, **attributes)
        if self.data is None:
            data = random_bytes(request.seed, address, size)
            return dma.start_write(address, data, **attributes)
        return dma.start_write(self._target(address), self.data, **attributes)

    def _target(self, address: int) -> int:
        request = self.request
        base = request.begin if request.stride == 1 else request.begin & ~7
        return (request.target + address - base) & ALL_ONES

    def _take(self, ended: Transfer, piece: tuple[int, int]) -> None:
        """The transaction that `_begin` began has ended."""
        address, size = piece
        if not ended.ok:
            # The fault knows the address, if the translation unit made it.
            fault = self.engine.dma.last_fault
            where = address if self.data is None else self._target(address)
            self.aborted = where if fault is None else fault.transaction.iova
            return
        if self.command is Command.MEMCPY and self.data is None:
            self.data = bytes(ended.data)
            return
        if self.command is Command.SUM64:
            self._sum += sum(unpack(f"<{size // 8}Q", bytes(ended.data)))
        self.data = None
        self.piece = next(self.pieces, None)
