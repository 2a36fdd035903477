# SPDX-License-Identifier: GPL-2.0-or-later
"""The emulated SMMUv3 on the recorded machine: it takes the recorded steps and shows outcomes.

After each step it can be brought to the twin's state, through its own registers and caches.
"""

from __future__ import annotations

from typing import Any

from smmu_emu.memory import PhysicalMemory
from smmu_emu.smmuv3 import IdRegisters, Smmuv3
from smmu_emu.smmuv3.attributes import INCOMING
from smmu_emu.smmuv3.context import Tag, World
from smmu_emu.tlb import Entry as DeviceEntry
from smmu_emu.transaction import ALL_KINDS, Fault, Transaction
from smmu_emu.walk.long_descriptor import stage1_permissions, stage2_permissions

from . import registers as reg
from .corpus import Scenario
from .fields import EVENT_BYTES
from .outcome import Outcome, transfer_outcome
from .system import FLASH_END, PCIE_WINDOWS, RAM_BASE, RAM_END
from .tlb import Entry, Key
from .twin import IRQ_EVENTQ, IRQ_GERROR, IRQ_SYNC, Twin

RAM = range(RAM_BASE, RAM_END)
DATA_KINDS = 0b11  # unprivileged reads and writes
_SLOT = tuple[Tag, int, int]

# Registers, by the device's names and the twin's offsets, that must agree after every step.
_STATE = {
    "CR1": reg.CR1,
    "CR2": reg.CR2,
    "GBPA": reg.GBPA,
    "IRQ_CTRL": reg.IRQ_CTRL,
    "GERROR": reg.GERROR,
    "GERRORN": reg.GERRORN,
    "STRTAB_BASE": reg.STRTAB_BASE,
    "STRTAB_BASE_CFG": reg.STRTAB_BASE_CFG,
    "CMDQ_BASE": reg.CMDQ_BASE,
    "CMDQ_PROD": reg.CMDQ_PROD,
    "CMDQ_CONS": reg.CMDQ_CONS,
    "EVENTQ_BASE": reg.EVENTQ_BASE,
    "EVENTQ_PROD": reg.EVENTQ_PROD,
    "EVENTQ_CONS": reg.EVENTQ_CONS,
}
_KEPT = [(name, offset, 8 if name.endswith("BASE") else 4) for name, offset in _STATE.items()]


class _Constant:
    """A window whose every byte reads as ``byte`` and that swallows writes."""

    def __init__(self, byte: int) -> None:
        self.byte = byte

    def read(self, offset: int, size: int) -> int:
        return int.from_bytes(bytes([self.byte]) * size, "little")

    def write(self, offset: int, size: int, value: int) -> None:
        pass


def recorded_machine() -> PhysicalMemory:
    """Return memory laid out like the recorded machine's, to be cleared between scenarios."""
    memory = PhysicalMemory()
    memory.add_ram(RAM_BASE, RAM_END - RAM_BASE)
    memory.add_device(0, FLASH_END, _Constant(0), "flash")
    for low, high in PCIE_WINDOWS:
        memory.add_device(low, high - low, _Constant(0xFF), "pcie")
    return memory


class Device:
    """One SMMU at power-on, with the scenario's ID registers and memory."""

    def __init__(self, scenario: Scenario, memory: PhysicalMemory) -> None:
        memory.clear()
        for address, data in scenario.memory:
            memory.write(address, data)
        self.memory = memory
        names = ("idr0", "idr1", "idr2", "idr3", "idr4", "idr5", "iidr", "aidr")
        ids = IdRegisters(**dict(zip(names, scenario.identification, strict=True)))
        self.smmu = Smmuv3(memory, ids)
        self.values = self.smmu.registers.values
        self.stage2_table = stage2_permissions(xnx=bool(ids.extras.XNX))
        self._mirror: dict[Key, DeviceEntry] = {}

    # Steps

    def read(self, offset: int, size: int) -> Outcome:
        before = self._pulses()
        value = self.smmu.read(offset, size)
        return Outcome(value=value, interrupts=self._pulsed(before))

    def write(self, offset: int, size: int, value: int) -> Outcome:
        before = self._pulses()
        self.smmu.write(offset, size, value)
        return Outcome(interrupts=self._pulsed(before))

    def transfer(self, stream_id: int, iova: int, size: int, write: bool) -> Outcome:
        """Let each 4 KiB page of a transfer be one transaction."""
        before, prod = self._pulses(), self.values["EVENTQ_PROD"]
        pieces = []
        while size:
            length = min(size, 0x1000 - (iova & 0xFFF))
            result = self.smmu.translate(Transaction(stream_id, iova, write))
            pieces.append((length, None if isinstance(result, Fault) else result.pa))
            iova, size = iova + length, size - length
        outcome = transfer_outcome(pieces, write, self.memory, RAM)
        outcome.events = self._events_since(prod)
        outcome.prod = self.values["EVENTQ_PROD"]
        outcome.interrupts = self._pulsed(before)
        return outcome

    def _pulses(self) -> tuple[int, int, int]:
        wires = self.smmu.interrupts
        return wires.eventq.pulses, wires.cmdq_sync.pulses, wires.gerror.pulses

    def _pulsed(self, before: tuple[int, int, int]) -> list[int]:
        lines = zip((IRQ_EVENTQ, IRQ_SYNC, IRQ_GERROR), before, self._pulses(), strict=True)
        return [line for line, old, new in lines for _ in range(new - old)]

    def _events_since(self, prod: int) -> list[bytes]:
        queue = self.smmu.event_queue
        count = self.values["EVENTQ_PROD"] - prod & queue.index_mask
        addresses = [queue.address(prod + number) for number in range(count)]
        return [self.memory.read(address, EVENT_BYTES) or b"" for address in addresses]

    # State

    def state_differences(self, twin: Twin) -> dict[str, tuple[Any, Any]]:
        """Return the registers that differ from the twin's: ours and the twin's."""
        values = self.values
        return {
            name: (values[name], kept)
            for name, offset, size in _KEPT
            if values[name] != (kept := reg.raw(twin, offset, size) & reg.defined(twin, offset))
        }

    def held(self, keys: set[Key]) -> list[Key]:
        """Return which of the twin's entries, as last followed, are still in the TLB."""
        return [key for key in keys if key in self._mirror and self._mirror[key].space is not None]

    def holds_stream(self, stream_id: int) -> bool:
        """Say whether anything is cached of the configuration of ``stream_id``."""
        configuration = self.smmu.configuration
        return stream_id in configuration.contexts

    def follow(self, twin: Twin) -> list[str]:
        """Take over the twin's state; return what of it the device had cached differently."""
        for name, (_, kept) in self.state_differences(twin).items():
            self.values[name] = kept
        return self._follow_configurations(twin) + self._follow_tlb(twin)

    def _follow_configurations(self, twin: Twin) -> list[str]:
        configuration = self.smmu.configuration
        legal = {stream_id for stream_id, config in twin.configs.items() if not config.names}
        for stream_id in configuration.streams.keys() - legal:
            configuration.drop_ste(stream_id)
        lacking = legal - configuration.contexts.keys()
        return [f"no configuration of stream {stream_id:#x} was kept" for stream_id in lacking]

    def _follow_tlb(self, twin: Twin) -> list[str]:
        tlb = self.smmu.tlb
        wanted: dict[_SLOT, tuple[Key, Entry]] = {}
        for key, entry in twin.tlb.legal():
            wanted[_slot(key, entry)] = key, entry
        complaints = []
        self._mirror = {}
        for mine in [entry for space in tlb.spaces.values() for entry in space.entries()]:
            assert mine.space is not None
            slot = (mine.space.tag, mine.size_lg2, mine.base >> mine.size_lg2)
            found = wanted.get(slot)
            if found is not None:
                other = self._made_of(*found)
                if _facts(mine) == _facts(other):
                    self._mirror[found[0]] = mine
                    del wanted[slot]
                    continue
                complaints.append(f"cached {_facts(mine)} instead of {_facts(other)}")
            tlb.drop(mine)
        for slot, (key, entry) in wanted.items():
            made = self._mirror[key] = self._made_of(key, entry)
            tlb.insert(tlb.space(slot[0]), made)
        return complaints

    def _made_of(self, key: Key, entry: Entry) -> DeviceEntry:
        """Return the device's entry for one of the twin's."""
        size_lg2 = entry.mask.bit_length()
        stage1 = key[0] >= 0
        ap = entry.ap & ~(entry.ap_table & 1) | entry.ap_table & 2
        stage2 = entry.parent if entry.combined or not stage1 else None
        granule, level = entry.leaf
        made = DeviceEntry(
            entry.canonical,
            size_lg2,
            entry.out,
            stage1_permissions()[ap] if stage1 else ALL_KINDS,
            ALL_KINDS if stage2 is None else self.stage2_table[stage2],
            INCOMING,
            level,
            granule,
            entry.leaf_mask.bit_length(),
            entry.ipa,
            entry.level if stage2 is not None else None,
        )
        made.stage2_descriptor = entry.descriptor
        return made


def _slot(key: Key, entry: Entry) -> _SLOT:
    asid, vmid = key[:2]
    size_lg2 = entry.mask.bit_length()
    vmid = max(vmid, 0)
    if asid < 0:
        tag = Tag(World.S2, vmid, None, INCOMING)
    else:
        world = World.EL1_NESTED if entry.combined else World.EL1
        tag = (
            Tag(world, vmid, asid) if entry.not_global else Tag(world, vmid, None, aset=entry.aset)
        )
    return tag, size_lg2, entry.canonical >> size_lg2


def _facts(entry: DeviceEntry) -> tuple[int, ...]:
    """Return what of an entry decides the fate of the recorded transactions."""
    return (
        entry.base,
        entry.size_lg2,
        entry.page,
        entry.allowed_stage1 & DATA_KINDS,
        entry.allowed_stage2 & DATA_KINDS,
        entry.level,
        entry.granule_lg2,
        entry.span_lg2,
    )
