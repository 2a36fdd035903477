# SPDX-License-Identifier: GPL-2.0-or-later
"""The stream table: linear, or in two levels whose second is made where streams are.

Spec: IHI 0070 3.3.1, 5.1, 6.3.24, 6.3.25. A new second level aborts all its streams, so that those
that nobody attached stay silent; unused entries of a linear table are invalid instead.
"""

from __future__ import annotations

from smmu_emu.driver.queues import DriverError
from smmu_emu.driver.structures import Structures
from smmu_emu.smmuv3.spec.registers import STRTAB_BASE, STRTAB_BASE_CFG
from smmu_emu.smmuv3.spec.ste import L1STD, L1STD_SIZE, STE, STE_SIZE, Config

SPLIT = 8
"""StreamIDs in a table of the second level, log2."""


class StreamTable:
    """A table for StreamIDs of ``bits`` bits; ``address`` is that of its (first) level."""

    def __init__(self, structures: Structures, bits: int, *, two_level: bool) -> None:
        self.structures = structures
        self.bits = bits
        self.two_level = two_level and bits > SPLIT
        size = L1STD_SIZE << bits - SPLIT if self.two_level else STE_SIZE << bits
        self.address = structures.allocate(size)

    @property
    def base(self) -> STRTAB_BASE:
        """What tells the SMMU where the table is."""
        return STRTAB_BASE.make(ADDR=self.address, RA=1)

    @property
    def layout(self) -> STRTAB_BASE_CFG:
        """And how large it is."""
        if self.two_level:
            return STRTAB_BASE_CFG.make(LOG2SIZE=self.bits, SPLIT=SPLIT, FMT=1)
        return STRTAB_BASE_CFG.make(LOG2SIZE=self.bits)

    def entry(self, stream_id: int) -> int:
        """Address of a StreamID's STE; its second level is made if need be.

        Raises: DriverError if the table has no such StreamID.
        """
        if stream_id >> self.bits:
            raise DriverError(
                f"StreamID {stream_id:#x} needs a stream table of more than "
                f"{self.bits} bits; raise stream_bits"
            )
        if not self.two_level:
            return self.address + STE_SIZE * stream_id
        where = self.address + L1STD_SIZE * (stream_id >> SPLIT)
        descriptor = L1STD(self.structures.load_word(where))
        if not descriptor.Span:
            descriptor = self._second_level()
            self.structures.store(where, descriptor.to_bytes())
        return descriptor.L2Ptr + STE_SIZE * (stream_id & (1 << SPLIT) - 1)

    def _second_level(self) -> L1STD:
        abort = STE.make(V=1, Config=Config.ABORT).to_bytes()
        return L1STD.make(L2Ptr=self.structures.place(abort * (1 << SPLIT)), Span=SPLIT + 1)
