# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of Context descriptors: the address spaces of one stream, by SubstreamID.

Spec: IHI 0070 3.9, 5.2 (S1Fmt, S1CDMax, S1DSS), 5.3. Descriptors change under the SMMU's eyes, as
STEs do, and every step is followed by CFGI_CD and CMD_SYNC.
"""

from __future__ import annotations

from collections.abc import Callable

from smmu_emu.driver.hitless import steps, used_by_cd
from smmu_emu.driver.queues import DriverError
from smmu_emu.driver.structures import Structures
from smmu_emu.smmuv3.spec.cd import CD, CD_SIZE, L1CD, L1CD_SIZE
from smmu_emu.smmuv3.spec.ste import STE, Config, DefaultSubstream

SPLIT = 10
"""Descriptors in a table of the second level, log2: 64 KiB (S1Fmt 2)."""
_FMT_64K = 2


class ContextTable:
    """Descriptors for SubstreamIDs of ``bits`` bits; 0 makes a single one.

    ``changed`` is called with the SubstreamID after each step of a change.
    """

    def __init__(
        self,
        structures: Structures,
        bits: int,
        changed: Callable[[int], None],
        *,
        two_level: bool = False,
    ) -> None:
        self.structures = structures
        self.bits = bits
        self.changed = changed
        self.two_level = two_level and bits > SPLIT
        self._size = L1CD_SIZE << bits - SPLIT if self.two_level else CD_SIZE << bits
        self.address = structures.allocate(self._size)
        self._leaves: list[int] = []

    def ste(self, default: DefaultSubstream = DefaultSubstream.SUBSTREAM0) -> STE:
        """The STE of a stream that uses the table; ``default`` is for what has no SubstreamID."""
        return STE.make(
            V=1,
            Config=Config.STAGE1,
            S1ContextPtr=self.address,
            S1CDMax=self.bits,
            S1Fmt=_FMT_64K if self.two_level else 0,
            S1DSS=default if self.bits else 0,
            SHCFG=1,
        )

    def __getitem__(self, substream_id: int) -> CD:
        """The descriptor of a SubstreamID, as it is in memory."""
        return CD.from_bytes(self.structures.load(self._entry(substream_id), CD_SIZE))

    def __setitem__(self, substream_id: int, cd: CD) -> None:
        """Change a descriptor; one with V 0 takes the address space away.

        Raises: DriverError if the table has no such SubstreamID.
        """
        address = self._entry(substream_id)
        for step in steps(self[substream_id], cd, used_by_cd):
            self.structures.store_words(address, step.to_bytes())
            self.changed(substream_id)

    def _entry(self, substream_id: int) -> int:
        if substream_id >> self.bits:
            raise DriverError(
                f"SubstreamID {substream_id:#x} needs a table of more than {self.bits} bits"
            )
        if not self.two_level:
            return self.address + CD_SIZE * substream_id
        where = self.address + L1CD_SIZE * (substream_id >> SPLIT)
        level1 = L1CD(self.structures.load_word(where))
        if not level1.V:
            leaf = self.structures.allocate(CD_SIZE << SPLIT)
            self._leaves.append(leaf)
            level1 = L1CD.make(V=1, L2Ptr=leaf)
            self.structures.store(where, level1.to_bytes())
        return level1.L2Ptr + CD_SIZE * (substream_id & (1 << SPLIT) - 1)

    def close(self) -> None:
        """Give the memory back; no stream may use the table any more."""
        for leaf in self._leaves:
            self.structures.free(leaf, CD_SIZE << SPLIT)
        self._leaves.clear()
        self.structures.free(self.address, self._size)
