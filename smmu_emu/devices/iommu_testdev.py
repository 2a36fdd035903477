# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's iommu-testdev (1b36:0005): a DMA master whose every step software starts by itself.

Reference: QEMU 11's device of that name; its documentation is docs/specs/iommu-testdev.rst there.
Arm with DMA_DBELL, then read DMA_TRIGGERING: the device writes a pattern of DMA_LEN bytes to the
IOVA in DMA_GVA through the translation unit, and compares with what it finds, without translation,
at DMA_GPA. As there, the bus-master bit of the command register does not stop it (that is told),
and after an abort it goes on with the next 4 bytes, so that a long transfer into nothing makes one
event for each of them; its registers refuse accesses that the device's own transfer makes. Unlike
there, it gives up after `PATIENCE` aborts. DMA_ATTRS can ask for Secure, Realm or Root accesses,
which do not exist here: they are made as Non-secure ones, and told.
"""

from __future__ import annotations

from smmu_emu.bits import Bits, Word
from smmu_emu.devices.pcie import Bar, Function
from smmu_emu.devices.register_block import RW, R, Register, RegisterBlock, W
from smmu_emu.devices.reporter import Report, ignore

VENDOR_ID = 0x1B36
DEVICE_ID = 0x0005
CLASS_CODE = 0x00FF00
BAR_SIZE = 0x1000

RESULT_OK = 0
RESULT_IDLE = 0xFFFF_FFFF
RESULT_BUSY = 0xFFFF_FFFE
BAD_LEN = 0xDEAD_0001
TX_FAIL = 0xDEAD_0002
RD_FAIL = 0xDEAD_0003
MISMATCH = 0xDEAD_0004
NOT_ARMED = 0xDEAD_0005
BAD_ATTRS = 0xDEAD_0006

PATTERN = 0x1234_5678
PATIENCE = 4096
CHUNK = 4096
"""Bytes in one go: no page of the pattern is longer."""

SECURE_SPACE = 0
NONSECURE_SPACE = 1


class ATTRS(Word, bits=32):
    """What the transfer claims to be; bits above are stored and mean nothing."""

    SECURE = Bits(0)
    SPACE = Bits(2, 1)
    SPACE_VALID = Bits(3)


REGISTERS = (
    Register("DMA_TRIGGERING", 0x00, R),
    Register("DMA_GVA_LO", 0x04, RW),
    Register("DMA_GVA_HI", 0x08, RW),
    Register("DMA_LEN", 0x0C, RW),
    Register("DMA_RESULT", 0x10, RW, reset=RESULT_IDLE),
    Register("DMA_DBELL", 0x14, W),
    Register("DMA_ATTRS", 0x18, RW, reset=ATTRS.make(SPACE=NONSECURE_SPACE).value),
    Register("DMA_GPA_LO", 0x1C, RW),
    Register("DMA_GPA_HI", 0x20, RW),
)

_PATTERN = PATTERN.to_bytes(4, "little") * (CHUNK // 4 + 1)


class IommuTestdev(Function):
    """One test device."""

    def __init__(self, report: Report = ignore, name: str = "iommu-testdev") -> None:
        super().__init__(VENDOR_ID, DEVICE_ID, CLASS_CODE, bars=[Bar(0, BAR_SIZE, self)], name=name)
        self.report = report
        self.armed = False
        self._busy = False
        self._block = RegisterBlock(REGISTERS, report)
        self._values = self._block.values
        self._block.on_read["DMA_TRIGGERING"] = self._trigger
        self._block.on_write["DMA_DBELL"] = self._ring

    def reset(self) -> None:
        """Power-on state."""
        super().reset()
        self._block.reset()
        self.armed = False

    def read(self, offset: int, size: int) -> int | None:
        """A read of the registers; refused unless it is an aligned word."""
        return None if size != 4 or offset & 3 or self._busy else self._block.read(offset, 4)

    def write(self, offset: int, size: int, value: int) -> bool | None:
        """A write of the registers; refused unless it is an aligned word."""
        if size != 4 or offset & 3 or self._busy:
            return False
        self._block.write(offset, 4, value)
        return None

    def _ring(self, value: int) -> None:
        self.armed = bool(value & 1)
        self._values["DMA_RESULT"] = RESULT_BUSY if self.armed else RESULT_IDLE

    def _trigger(self) -> int:
        self._busy = True
        try:
            self._values["DMA_RESULT"] = self._transfer() if self.armed else NOT_ARMED
        finally:
            self._busy = False
        self.armed = False
        return 0

    def _transfer(self) -> int:
        """Write, read back, compare; the result code."""
        values = self._values
        length = values["DMA_LEN"]
        if not length:
            return BAD_LEN
        if not self._attributes_agree():
            return BAD_ATTRS
        if not self.bus_master:
            self.report(0, "DMA while the command register's bus-master bit is 0")
        if not self._write_pattern(values["DMA_GVA_HI"] << 32 | values["DMA_GVA_LO"], length):
            return TX_FAIL
        return self._compare(values["DMA_GPA_HI"] << 32 | values["DMA_GPA_LO"], length)

    def _attributes_agree(self) -> bool:
        """Secure and Non-secure space must agree with SECURE; the other spaces say nothing."""
        attributes = ATTRS(self._values["DMA_ATTRS"])
        space = attributes.SPACE if attributes.SPACE_VALID else NONSECURE_SPACE
        if attributes.SECURE or space != NONSECURE_SPACE:
            self.report(0x18, "DMA that is not Non-secure")
        if not attributes.SPACE_VALID or space > NONSECURE_SPACE:
            return True
        return (space == SECURE_SPACE) == attributes.SECURE

    def _write_pattern(self, iova: int, length: int) -> bool:
        done = aborts = 0
        while done < length and aborts < PATIENCE:
            start = iova + done & 0xFFFF_FFFF_FFFF_FFFF
            size = min(length - done, CHUNK - start % CHUNK)
            if not self.dma.write(start, _pattern(done, size)):
                aborts += 1
                size = min(4, start & -start or 4, 1 << size.bit_length() - 1)
            done += size
        return not aborts

    def _compare(self, pa: int, length: int) -> int:
        result = RESULT_OK
        for done in range(0, length, CHUNK):
            size = min(CHUNK, length - done)
            data = self.dma.memory.read(pa + done, size)
            if data is None:
                return RD_FAIL
            if data != _pattern(done, size):
                result = MISMATCH
        return result


def _pattern(start: int, size: int) -> bytes:
    """``size`` bytes of the endless pattern from its byte ``start``."""
    return _PATTERN[start & 3 : (start & 3) + size]
