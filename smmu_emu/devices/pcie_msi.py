# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupts as messages: the MSI and MSI-X capabilities of a PCI function.

Spec: PCI 3.0 6.8. A message is a write of 4 bytes by the function itself, so it goes through the
translation unit, and only while the function may be bus master. A masked message waits, and leaves
when it is unmasked. A function that is sending sends nothing more meanwhile: a message to its own
registers could call for the next one for ever.
"""

from __future__ import annotations

from smmu_emu.bits import Bits, Word
from smmu_emu.devices.pcie import Bar, Function
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.errors import ConfigurationError

MSI_ID = 0x05
MSIX_ID = 0x11
OFFSET = 0x40
"""Where capabilities begin in configuration space."""
CONTROL, ADDRESS, DATA, MASK, PENDING = 0x02, 0x04, 0x0C, 0x10, 0x14
"""Offsets of the registers in an MSI capability with a 64-bit address. Spec: figure 6-9."""
MOST_MSI = 32
MOST_MSIX = 2048

ENTRY_SIZE = 16
"""Of an MSI-X vector, in bytes: address, data, vector control."""
ENTRY_DATA, ENTRY_CONTROL = 8, 12
ENTRY_MASKED = 1
"""Vector control. Spec: 6.8.2.9."""


class MESSAGE_CONTROL(Word, bits=16):  # noqa: N801 - the specification's name
    """Of MSI. Spec: 6.8.1.3."""

    ENABLE = Bits(0)
    CAPABLE_LG2 = Bits(3, 1)
    ENABLED_LG2 = Bits(6, 4)
    WIDE = Bits(7)
    MASKABLE = Bits(8)


class MSIX_CONTROL(Word, bits=16):  # noqa: N801 - the specification's name
    """Of MSI-X. Spec: 6.8.2.3."""

    LAST = Bits(10, 0)
    FUNCTION_MASK = Bits(14)
    ENABLE = Bits(15)


_MSIX_ENABLE, _FUNCTION_MASK = MSIX_CONTROL.mask("ENABLE"), MSIX_CONTROL.mask("FUNCTION_MASK")


class Messages:
    """What both capabilities have in common; ``pending`` has a bit for each masked message."""

    def __init__(self, function: Function, offset: int) -> None:
        self._function = function
        self._offset = offset
        self._sending = False
        self.pending = 0

    @property
    def enabled(self) -> bool:
        """Whether software chose these messages over the interrupt pin."""
        raise NotImplementedError

    def is_masked(self, vector: int) -> bool:
        """Whether messages of this vector have to wait."""
        raise NotImplementedError

    def message(self, vector: int) -> tuple[int, int]:
        """Where a message goes, and what it says."""
        raise NotImplementedError

    def send(self, vector: int = 0) -> bool:
        """Write a message, or let it wait if it is masked; False if it is lost."""
        if not self.enabled or self._sending:
            return False
        if self.is_masked(vector):
            self._set_pending(self.pending | 1 << vector)
            return True
        written = self._write(vector)
        self._release()
        return written

    def reset(self) -> None:
        """Power-on state: nothing waits."""
        self.pending = 0

    def config_written(self) -> None:
        """Configuration space has changed: messages may be let go."""
        self._release()

    def _release(self) -> None:
        """Send what waits and is not masked any more, each at most once."""
        if not self.pending or not self.enabled or self._sending:
            return
        candidates = self.pending
        while candidates:
            vector = (candidates & -candidates).bit_length() - 1
            candidates &= candidates - 1
            if not self.is_masked(vector):
                self._set_pending(self.pending & ~(1 << vector))
                self._write(vector)

    def _write(self, vector: int) -> bool:
        if not self._function.bus_master:
            return False
        address, data = self.message(vector)
        self._sending = True
        try:
            return self._function.dma.write(address, data.to_bytes(4, "little"))
        finally:
            self._sending = False

    def _set_pending(self, pending: int) -> None:
        self.pending = pending

    def _get(self, register: int, size: int) -> int:
        return self._function.config_read(self._offset + register, size)


class Msi(Messages):
    """The MSI capability of ``function`` at ``offset``, with a 64-bit address.

    ``vectors`` is how many messages it is capable of, a power of two; ``maskable`` adds the
    registers that mask them singly.

    Raises: ConfigurationError for a number of vectors that cannot be.
    """

    def __init__(
        self, function: Function, offset: int = OFFSET, *, vectors: int = 1, maskable: bool = False
    ) -> None:
        if not 1 <= vectors <= MOST_MSI or vectors & vectors - 1:
            raise ConfigurationError(f"{function.name}: MSI has 1, 2, 4 ... 32 vectors: {vectors}")
        super().__init__(function, offset)
        self._maskable = maskable
        self._most_lg2 = vectors.bit_length() - 1
        control = MESSAGE_CONTROL.make(CAPABLE_LG2=self._most_lg2, WIDE=1, MASKABLE=int(maskable))
        writable = MESSAGE_CONTROL.mask("ENABLE")
        if vectors > 1:
            writable |= MESSAGE_CONTROL.mask("ENABLED_LG2")
        body = bytes([MSI_ID, 0]) + control.value.to_bytes(2, "little") + bytes(12)
        changeable = b"\0\0" + writable.to_bytes(2, "little") + b"\xfc" + b"\xff" * 11
        if maskable:
            body += bytes(8)
            changeable += ((1 << vectors) - 1).to_bytes(4, "little") + bytes(4)
        function.add_capability(offset, body, changeable, self)

    @property
    def enabled(self) -> bool:
        """Whether software chose messages over the interrupt pin."""
        return bool(self._get(CONTROL, 2) & MESSAGE_CONTROL.mask("ENABLE"))

    def is_masked(self, vector: int) -> bool:
        """Whether this message has to wait. Spec: 6.8.1.7."""
        return self._maskable and bool(self._get(MASK, 4) >> vector & 1)

    def message(self, vector: int) -> tuple[int, int]:
        """The low bits of the data tell messages apart, as many as software enabled.

        Spec: 6.8.1.3, 6.8.1.6.
        """
        count_lg2 = min(MESSAGE_CONTROL(self._get(CONTROL, 2)).ENABLED_LG2, self._most_lg2)
        distinct = (1 << count_lg2) - 1
        return self._get(ADDRESS, 8), self._get(DATA, 2) & ~distinct | vector & distinct

    def _set_pending(self, pending: int) -> None:
        self.pending = pending
        start = self._offset + PENDING
        self._function.space[start : start + 4] = pending.to_bytes(4, "little")


class Msix(Messages):
    """The MSI-X capability of ``function`` at ``offset``.

    ``table`` and ``pending_bits`` say where those are: number of the BAR, and offset in it. The
    function puts the devices of the same names there, or calls `add_msix_bar`.

    Raises: ConfigurationError for a number of vectors that cannot be.
    """

    def __init__(
        self,
        function: Function,
        offset: int,
        vectors: int,
        table: tuple[int, int],
        pending_bits: tuple[int, int],
    ) -> None:
        if not 1 <= vectors <= MOST_MSIX:
            raise ConfigurationError(f"{function.name}: MSI-X has 1 to 2048 vectors: {vectors}")
        super().__init__(function, offset)
        self.vectors = vectors
        self.table = MsixTable(self)
        self.pending_bits = MsixPendingBits(self)
        self.entries = bytearray()
        self.reset()
        body = bytes([MSIX_ID, 0]) + MSIX_CONTROL.make(LAST=vectors - 1).value.to_bytes(2, "little")
        for bar, start in (table, pending_bits):
            body += (start | bar).to_bytes(4, "little")
        writable = (_MSIX_ENABLE | _FUNCTION_MASK).to_bytes(2, "little")
        function.add_capability(offset, body, b"\0\0" + writable + bytes(8), self)

    @property
    def enabled(self) -> bool:
        """Whether software chose these messages over the interrupt pin."""
        return bool(self._get(CONTROL, 2) & _MSIX_ENABLE)

    def is_masked(self, vector: int) -> bool:
        """Whether messages of this vector have to wait. Spec: 6.8.2.3, 6.8.2.9."""
        if self._get(CONTROL, 2) & _FUNCTION_MASK:
            return True
        return bool(self.entries[ENTRY_SIZE * vector + ENTRY_CONTROL] & ENTRY_MASKED)

    def message(self, vector: int) -> tuple[int, int]:
        """Address, a multiple of 4, and data of a vector. Spec: 6.8.2.6 to 6.8.2.8."""
        entry = self.entries[ENTRY_SIZE * vector : ENTRY_SIZE * (vector + 1)]
        address = int.from_bytes(entry[:ENTRY_DATA], "little")
        return address & ~3, int.from_bytes(entry[ENTRY_DATA:ENTRY_CONTROL], "little")

    def send(self, vector: int = 0) -> bool:
        """Write a message, or let it wait if it is masked; False if it is lost, as all messages of
        vectors that there are not."""
        return vector < self.vectors and super().send(vector)

    def reset(self) -> None:
        """Power-on state: all vectors are masked, nothing waits."""
        super().reset()
        entry = bytearray(ENTRY_SIZE)
        entry[ENTRY_CONTROL] = ENTRY_MASKED
        self.entries = entry * self.vectors

    def entry_written(self, vector: int) -> None:
        """A vector has changed: its message may be let go."""
        if self.pending >> vector & 1:
            self._release()


class MsixTable:
    """The table of vectors, in aligned words of 4 bytes, or two of them.

    As in QEMU, other accesses read zero and write nothing. Spec: 6.8.2.
    """

    def __init__(self, msix: Msix) -> None:
        self._msix = msix
        self.size = ENTRY_SIZE * msix.vectors

    def read(self, offset: int, size: int) -> int:
        """A read by software."""
        if not _is_word(offset, size):
            return 0
        return int.from_bytes(self._msix.entries[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """A write by software; unmasking sends what has waited."""
        if not _is_word(offset, size) or offset + size > self.size:
            return
        self._msix.entries[offset : offset + size] = value.to_bytes(size, "little")
        self._msix.entry_written(offset // ENTRY_SIZE)


class MsixPendingBits:
    """A bit for each vector whose message waits; read-only. Spec: 6.8.2.10."""

    def __init__(self, msix: Msix) -> None:
        self._msix = msix
        self.size = -(-msix.vectors // 64) * 8

    def read(self, offset: int, size: int) -> int:
        """A read by software."""
        if not _is_word(offset, size):
            return 0
        return self._msix.pending >> 8 * offset & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Writes do nothing."""


class MsixBar:
    """Registers of a BAR that holds the table, and from ``pending_at`` on the pending bits.

    What lies outside of them reads all ones and is told.
    """

    def __init__(self, msix: Msix, pending_at: int, report: Report = ignore) -> None:
        self._table, self._pending_bits = msix.table, msix.pending_bits
        self._pending_at = pending_at
        self.report = report

    def read(self, offset: int, size: int) -> int:
        """A read by software."""
        if offset + size <= self._table.size:
            return self._table.read(offset, size)
        start = offset - self._pending_at
        if start >= 0 and start + size <= self._pending_bits.size:
            return self._pending_bits.read(start, size)
        self.report(offset, "read beside the MSI-X table")
        return (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """A write by software."""
        if offset + size <= self._table.size:
            self._table.write(offset, size, value)
        elif not 0 <= offset - self._pending_at <= self._pending_bits.size - size:
            self.report(offset, "write beside the MSI-X table")


def add_msix_bar(
    function: Function, offset: int, vectors: int, bar: int, report: Report = ignore
) -> Msix:
    """MSI-X with a 32-bit BAR of its own, laid out as QEMU does it: pending bits in the upper half
    of a page, or behind the table."""
    table_size = ENTRY_SIZE * vectors
    pending_at = max(0x800, table_size)
    pending_size = -(-vectors // 64) * 8
    size = max(0x1000, 1 << (pending_at + pending_size - 1).bit_length())
    msix = Msix(function, offset, vectors, (bar, 0), (bar, pending_at))
    function.add_bar(Bar(bar, size, MsixBar(msix, pending_at, report)))
    return msix


def _is_word(offset: int, size: int) -> bool:
    return size in (4, 8) and not offset & 3
