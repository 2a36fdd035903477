# SPDX-License-Identifier: GPL-2.0-or-later
"""For clients of an SMMU that keep what it answered: when to forget it, and looks without a trace.

The SMMU knows nothing of such clients. `Changes` stands before the functions by which it drops what
it holds, for as long as that is wanted.

Spec: IHI 0070 3.17 (TLB maintenance), 4.3 and 4.4 (commands), 6.3.9.6 (SMMUEN), 6.3.14 (GBPA).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smmu_emu.interpose import Interposition, Layer, interpose
from smmu_emu.port import MemoryPort
from smmu_emu.smmuv3.config import ConfigurationCache
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.stages import Stages
from smmu_emu.smmuv3.stall import StallBuffer
from smmu_emu.smmuv3.translate import TranslationPath, untagged
from smmu_emu.tlb import Tlb
from smmu_emu.transaction import Transaction, Translation


class Changes:
    """Calls ``changed`` after whatever may make the SMMU answer otherwise than it did before.

    That is: a TLB entry was dropped, by whatever command or for want of room; configuration was
    dropped; SMMUEN or GBPA took effect; the SMMU failed. What software writes to tables alone
    changes no answer.
    """

    def __init__(self, smmu: Smmuv3, changed: Callable[[], None]) -> None:
        self._smmu = smmu
        self._changed = changed
        configuration = smmu.configuration
        places: list[tuple[Any, str]] = [(smmu.tlb, "drop"), (smmu.path, "enable")]
        places += [(configuration, name) for name in ("drop_ste", "drop_cds", "drop_cd")]
        self._places: list[Interposition] = [
            interpose(owner, name, self._after, Layer.OBSERVE) for owner, name in places
        ]
        self._places += [
            interpose(smmu, name, self._after_write, Layer.OBSERVE) for name in ("write", "reset")
        ]

    def remove(self) -> None:
        """Watch no longer."""
        for place in self._places:
            place.remove()

    def _after(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            self._changed()
            return result

        return watched

    def _after_write(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A write of GBPA takes effect at once, whenever it is acknowledged."""

        def watched(*arguments: Any, **named: Any) -> Any:
            registers = self._smmu.registers
            before = registers.values["GBPA"]
            result = function(*arguments, **named)
            if registers.values["GBPA"] != before:
                self._changed()
            return result

        return watched


def look(smmu: Smmuv3, transaction: Transaction) -> int | None:
    """Physical address that a transaction would get, or None where it would fault.

    Nothing is counted, cached, recorded or marked as accessed. What the TLB holds counts; where it
    holds nothing, configuration and tables are read as they are in memory now.
    """
    context = smmu.path.context_of(transaction)
    if context is not None:
        iova = untagged(transaction.iova, context.tbi) if context.tbi else transaction.iova
        kind = context.kinds[transaction.kind]
        for size_lg2, pages in (*context.sizes, *context.shared_sizes):
            entry = pages.get(iova >> size_lg2)
            if entry is not None and entry.allowed >> kind & 1:
                return entry.page | iova & entry.mask
    answer = _scratch(smmu).translate(transaction)
    return answer.pa if isinstance(answer, Translation) else None


def _scratch(smmu: Smmuv3) -> TranslationPath:
    """The way of a transaction with empty caches, whose writes and reports go nowhere."""
    port = MemoryPort("look", smmu.memory)
    port.write = lambda address, data: True
    port.write_u64 = lambda address, value: True
    tlb = Tlb()
    configuration = ConfigurationCache(smmu.registers, port, tlb)
    stages = Stages(smmu.ids, tlb, port)
    path = TranslationPath(
        smmu.registers, configuration, tlb, stages, StallBuffer(1), lambda _: True
    )
    path.failed = smmu.path.failed
    path.enable(bool(smmu.registers.values["CR0ACK"] & 1))
    return path
