# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the structures are that a transaction would go through.

A second SMMU with the first one's registers, and nothing cached, translates the transaction over
the same memory; what it reads are the structures. It writes nothing and tells nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.spec.cd import CD_SIZE
from smmu_emu.smmuv3.spec.registers import CR0
from smmu_emu.smmuv3.spec.ste import STE_SIZE
from smmu_emu.tlb import Entry
from smmu_emu.transaction import Fault

if TYPE_CHECKING:
    from smmu_emu.transaction import Transaction

_SMMUEN = CR0.mask("SMMUEN")


class Structure(NamedTuple):
    """One structure that a translation reads: "ste", "cd", "l1std", "l1cd" or "descriptor".

    ``stage`` and ``level`` are those of a descriptor.
    """

    what: str
    address: int
    size: int
    stage: int = 0
    level: int = 0


class _Scout:
    """The second SMMU, and what it has read; ``walks`` holds the descriptors of each walk."""

    def __init__(self, smmu: Smmuv3) -> None:
        self.found: list[Structure] = []
        self.shadow = shadow = Smmuv3(smmu.memory, smmu.ids, name=smmu.name)
        shadow.registers.values.update(smmu.registers.values)
        shadow.path.enable(bool(smmu.registers.values["CR0ACK"] & _SMMUEN))
        shadow.ports["event-queue"].write = lambda address, data: True
        shadow.ports["msi"].write = lambda address, data: True
        shadow.ports["walk"].write_u64 = lambda address, value: True
        self._watch_configuration()
        self._watch_walks()

    def _watch_configuration(self) -> None:
        port = self.shadow.ports["config"]
        read, read_u64 = port.read, port.read_u64

        def whole(address: int, size: int) -> bytes | None:
            first = not any(one.what == "ste" for one in self.found)
            self.found.append(Structure("ste" if first else "cd", address, size))
            return read(address, size)

        def word(address: int) -> int | None:
            first = not any(one.what == "ste" for one in self.found)
            self.found.append(Structure("l1std" if first else "l1cd", address, 8))
            return read_u64(address)

        port.read, port.read_u64 = whole, word
        assert STE_SIZE == CD_SIZE

    def _watch_walks(self) -> None:
        stages = self.shadow.stages
        read_u64 = stages.port.read_u64
        reads: list[list[int]] = [[]]

        def word(address: int) -> int | None:
            reads[-1].append(address)
            return read_u64(address)

        def watched(
            function: Callable[..., Entry | Fault], stage: int
        ) -> Callable[..., Entry | Fault]:
            def walk(*arguments: object) -> Entry | Fault:
                reads.append([])
                result = function(*arguments)
                level = result.level
                if isinstance(result, Fault) and result.stage != stage:
                    level = None
                self._note(reads.pop(), stage, level)
                return result

            return walk

        stages.port.read_u64 = word
        stages.walk_stage2 = watched(stages.walk_stage2, 2)  # type: ignore[method-assign]
        stages.make_entry = watched(stages.make_entry, 1)  # type: ignore[method-assign]

    def _note(self, addresses: list[int], stage: int, level: int | None) -> None:
        """Levels count down to that of the last read; where that is not known, it is 3."""
        last = 3 if level is None else level
        for number, address in enumerate(addresses):
            at = last - len(addresses) + 1 + number
            self.found.append(Structure("descriptor", address, 8, stage, at))


def structures(smmu: Smmuv3, transaction: Transaction) -> list[Structure]:
    """What a translation with empty caches reads, in order; descriptors of stage 2 of tables come
    before those that were found through them."""
    scout = _Scout(smmu)
    scout.shadow.translate(transaction)
    return scout.found


def cached(smmu: Smmuv3, transaction: Transaction) -> Entry | None:
    """The TLB entry that a transaction would hit, or None."""
    smmu.tlb.settle()
    context = smmu.path.context_of(transaction)
    if context is None:
        return None
    for sizes in (context.sizes, context.shared_sizes):
        for size_lg2, pages in sizes:
            entry = pages.get(transaction.iova >> size_lg2)
            if entry is not None:
                return entry
    return None
