# SPDX-License-Identifier: GPL-2.0-or-later
"""An AArch32 core that is a client of an SMMU: see `client`."""

from __future__ import annotations

from smmu_emu.cpu.client import Client, SmmuClient
from smmu_emu.cpu.engine32 import CONTROL, Engine32
from smmu_emu.cpu.loadstore32 import is_unprivileged
from smmu_emu.memory import PhysicalMemory


class ClientEngine32(SmmuClient, Engine32):
    """An AArch32 core in an engine whose TLB misses go to an SMMU."""

    def __init__(self, memory: PhysicalMemory, model: str, client: Client) -> None:
        Engine32.__init__(self, memory, model, own_mmu=False)
        self._become_client(memory, client)

    def _is_unprivileged(self) -> bool:
        word = self.instruction_word()
        return word is not None and is_unprivileged(word, thumb=self.in_thumb)

    def _own_mmu_name(self) -> str:
        return "SCTLR.M" if self.get_coprocessor(CONTROL) & 1 else ""
