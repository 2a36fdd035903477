# SPDX-License-Identifier: GPL-2.0-or-later
"""The address spaces of streams by SubstreamID: which is where, and who has to hear of changes.

Spec: IHI 0070 3.9, 4.3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smmu_emu.driver.contexts import ContextTable
from smmu_emu.driver.domain import Domain
from smmu_emu.smmuv3.spec.cd import CD
from smmu_emu.smmuv3.spec.command import ConfigInvalidate, Opcode

if TYPE_CHECKING:
    from smmu_emu.driver.smmuv3 import Smmuv3Driver


class Substreams:
    """Address spaces by SubstreamID, for the streams that are attached; ``spaces`` shows them."""

    def __init__(self, driver: Smmuv3Driver, bits: int, *, two_level: bool) -> None:
        self.driver = driver
        self.table = ContextTable(driver.structures, bits, self._changed, two_level=two_level)
        self.spaces: dict[int, Domain] = {}
        self._closed = False

    def __setitem__(self, substream_id: int, domain: Domain) -> None:
        """Let a SubstreamID translate through a domain; 0 may serve what has none.

        Raises: DriverError if the table has no such SubstreamID.
        """
        self.table[substream_id] = domain.cd
        self.spaces[substream_id] = domain

    def __delitem__(self, substream_id: int) -> None:
        """Refuse a SubstreamID's transactions from now on."""
        self.table[substream_id] = CD()
        del self.spaces[substream_id]

    def forget(self, space: object) -> None:
        """Take an address space away from all its SubstreamIDs."""
        for substream_id in [n for n, used in self.spaces.items() if used is space]:
            del self[substream_id]

    def _changed(self, substream_id: int) -> None:
        driver = self.driver
        streams = [sid for sid, used in driver.domains.items() if used is self]
        for stream_id in streams:
            command = ConfigInvalidate.make(
                Opcode=Opcode.CFGI_CD, StreamID=stream_id, SubstreamID=substream_id, Leaf=1
            )
            driver.commands.issue(command.value)
        if streams:
            driver.commands.sync()

    def close(self) -> None:
        """Detach the streams that use it, and give its memory back. A second call is nothing."""
        if not self._closed:
            self._closed = True
            self.driver.forget(self)
            self.table.close()
