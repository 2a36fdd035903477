# SPDX-License-Identifier: GPL-2.0-or-later
"""structure-misplaced: a queue or the stream table is enabled where it cannot be.

Spec: IHI 0070 3.5, 6.3.24 to 6.3.26, 6.3.29, 6.3.34. Second levels of stream tables, and CDs, are
left out: they come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from smmu_emu.check.findings import ERROR, Found, Kind, story_of
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.spec.registers import CR0, QUEUE_BASE, STRTAB_BASE, STRTAB_BASE_CFG
from smmu_emu.smmuv3.spec.ste import L1STD_SIZE, STE_SIZE
from smmu_emu.trace.events import RegisterAccess

KIND = Kind(
    "structure-misplaced",
    ERROR,
    "a queue or the stream table was enabled at an address that is not aligned, or that another "
    "one has",
    "IHI 0070 6.3.24 to 6.3.26, 6.3.29, 6.3.34: the SMMU ignores the bits of a base address below "
    "the size of what is there",
    "allocate queues and the stream table apart from each other, each aligned to its size",
)
_QUEUES = (("CMDQ", "CMDQEN", 16), ("EVENTQ", "EVENTQEN", 32), ("PRIQ", "PRIQEN", 16))


class Place(NamedTuple):
    """Where a structure is: ``given`` was written, ``base`` is what the SMMU makes of it."""

    name: str
    enable: int
    given: int
    base: int
    size: int


def places(smmu: Smmuv3) -> Iterator[Place]:
    """Where the registers say that queues and the (first level of the) stream table are."""
    values = smmu.registers.values
    queues = (smmu.commands.queue, smmu.event_queue, smmu.page_requests.queue)
    for (name, enable, entry), queue in zip(_QUEUES, queues, strict=True):
        given = QUEUE_BASE(values[f"{name}_BASE"]).ADDR
        yield Place(
            f"{name}_BASE", CR0.mask(enable), given, queue.address(0), entry << queue.size_lg2
        )
    layout = STRTAB_BASE_CFG(values["STRTAB_BASE_CFG"])
    bits = min(layout.LOG2SIZE, smmu.registers.ids.sizes.SIDSIZE)
    size = STE_SIZE << bits
    if layout.FMT:
        size = max(L1STD_SIZE << max(0, bits - layout.SPLIT), STE_SIZE)
    given = STRTAB_BASE(values["STRTAB_BASE"]).ADDR
    yield Place("STRTAB_BASE", CR0.mask("SMMUEN"), given, given & -size, size)


class Misplaced:
    """Looks at what is being enabled."""

    kind = KIND

    def __init__(self, smmu: Smmuv3, report: Callable[[Found], None]) -> None:
        self._smmu = smmu
        self._report = report

    def register(self, event: RegisterAccess) -> None:
        """CR0 is about to be written."""
        if not event.write or event.name != "CR0":
            return
        fresh = event.value & ~self._smmu.registers.values["CR0"]
        enabled = [one for one in places(self._smmu) if event.value & one.enable]
        for number, one in enumerate(enabled):
            if one.given != one.base and fresh & one.enable:
                text = (
                    f"{one.name} is {one.given:#x}, and the {one.size:#x} bytes there are not "
                    f"aligned to their size: the SMMU takes {one.base:#x}"
                )
                self._report(Found(KIND, event.unit, text, story_of(event)))
            for other in enabled[:number]:
                apart = one.base + one.size <= other.base or other.base + other.size <= one.base
                if not apart and fresh & (one.enable | other.enable):
                    text = (
                        f"what {one.name} and {other.name} describe overlaps: {one.size:#x} bytes "
                        f"at {one.base:#x}, and {other.size:#x} at {other.base:#x}"
                    )
                    self._report(Found(KIND, event.unit, text, story_of(event)))
