# SPDX-License-Identifier: GPL-2.0-or-later
"""The ITS's commands: what each does, and what is wrong with it if it does nothing.

Spec: Arm IHI 0069 5.3. Left out: those for virtual LPIs (GITS_TYPER.Virtual is 0).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smmu_emu.bits import Bits, Word
from smmu_emu.devices.gicv3_distributor import LPI_BITS
from smmu_emu.devices.gicv3_its_tables import Collection, Device, Event, Table, read, write
from smmu_emu.devices.gicv3_lpi import FIRST_LPI, Lpis
from smmu_emu.port import MemoryPort

DEVICE_BITS, EVENT_BITS, COLLECTION_BITS = 17, 16, 16
"""Bits of DeviceID, EventID and ICID that there are."""


class Command(Word, bits=256):
    """One command. ``Second`` and ``Third`` are doublewords 1 and 2 for fields that overlap."""

    Opcode = Bits(7, 0)
    DeviceID = Bits(63, 32)
    Second = Bits(127, 64)
    Third = Bits(191, 128)
    Fourth = Bits(255, 192)

    @property
    def event(self) -> int:
        """EventID."""
        return self.Second & 0xFFFF_FFFF

    @property
    def intid(self) -> int:
        """pINTID."""
        return self.Second >> 32

    @property
    def size(self) -> int:
        """Of MAPD: bits of EventID, less one."""
        return self.Second & 0x1F

    @property
    def itt(self) -> int:
        """Of MAPD: address of the ITT."""
        return self.Third & (1 << 52) - (1 << 8)

    @property
    def icid(self) -> int:
        """Collection."""
        return self.Third & 0xFFFF

    @property
    def valid(self) -> bool:
        """V, of MAPD and MAPC."""
        return bool(self.Third >> 63)

    @property
    def processor(self) -> int:
        """RDbase, the processor's number."""
        return self.Third >> 16 & (1 << 36) - 1

    @property
    def other_processor(self) -> int:
        """Of MOVALL: RDbase2."""
        return self.Fourth >> 16 & (1 << 36) - 1


class Mapping:
    """What the tables say, and the commands that change it; ``lpis`` by processor number.

    Commands and lookups answer what is wrong, or "" and what was looked for.
    """

    def __init__(
        self, devices: Table, collections: Table, port: MemoryPort, lpis: Sequence[Lpis]
    ) -> None:
        self.devices = devices
        self.collections = collections
        self._port = port
        self._lpis = tuple(lpis)

    def execute(self, command: Command) -> str:
        """Do what a command says."""
        known = _COMMANDS.get(command.Opcode)
        if known is None:
            return f"command {command.Opcode:#x}, which there is not"
        name, action = known
        wrong = action(self, command)
        return f"{name}: {wrong}" if wrong else ""

    # -- what is looked for

    def find(self, device_id: int, event_id: int) -> tuple[int, Event] | str:
        """Where the entry of an event is, and what it says, valid or not."""
        if device_id >> DEVICE_BITS:
            return f"DeviceID {device_id:#x} is too large"
        entry = self.devices.read(device_id)
        if entry is None or not entry & 1:
            return f"DeviceID {device_id:#x} is not mapped"
        device = Device(entry & Device.mask())
        if event_id >> device.Size + 1:
            return f"EventID {event_id:#x} of DeviceID {device_id:#x} is too large"
        at = device.ITT + 8 * event_id
        event = read(self._port, at)
        if event is None:
            return f"no memory at {at:#x}, in the ITT of DeviceID {device_id:#x}"
        return at, Event(event & Event.mask())

    def target(self, icid: int) -> Lpis | str:
        """Who takes the interrupts of a collection."""
        entry = self.collections.read(icid)
        if entry is None or not entry & 1:
            return f"collection {icid} is not mapped"
        processor = Collection(entry & Collection.mask()).Processor
        if processor >= len(self._lpis):
            return f"no redistributor {processor}"
        return self._lpis[processor]

    def translate(self, device_id: int, event_id: int) -> tuple[Lpis, int] | str:
        """Who takes this event, and as which LPI."""
        found = self.find(device_id, event_id)
        if isinstance(found, str):
            return found
        if not found[1].Valid:
            return f"EventID {event_id:#x} of DeviceID {device_id:#x} is not mapped"
        lpis = self.target(found[1].ICID)
        return lpis if isinstance(lpis, str) else (lpis, found[1].INTID)

    # -- commands

    def signal(self, device_id: int, event_id: int) -> str:
        """An event happened: INT, or a message."""
        found = self.translate(device_id, event_id)
        if isinstance(found, str):
            return found
        found[0].set_pending(found[1])
        return ""

    def _map_device(self, command: Command) -> str:
        device_id = command.DeviceID
        if device_id >> DEVICE_BITS:
            return f"DeviceID {device_id:#x} is too large"
        if command.valid and command.size >= EVENT_BITS:
            return f"{command.size + 1} bits of EventID are too many"
        entry = Device.make(Valid=1, Size=command.size, ITT=command.itt).value
        if not self.devices.write(device_id, entry if command.valid else 0):
            return f"the device table has no room for DeviceID {device_id:#x}"
        return ""

    def _map_collection(self, command: Command) -> str:
        if command.valid and command.processor >= len(self._lpis):
            return f"no redistributor {command.processor}"
        entry = Collection.make(Valid=1, Processor=command.processor).value if command.valid else 0
        if not self.collections.write(command.icid, entry):
            return f"the collection table has no room for collection {command.icid}"
        return ""

    def _map_event(self, command: Command) -> str:
        return self._map_to(command, command.intid)

    def _map_identically(self, command: Command) -> str:
        return self._map_to(command, command.event)

    def _map_to(self, command: Command, intid: int) -> str:
        found = self.find(command.DeviceID, command.event)
        if isinstance(found, str):
            return found
        if not FIRST_LPI <= intid < 1 << LPI_BITS:
            return f"there is no LPI {intid}"
        return self._store(found[0], Event.make(Valid=1, INTID=intid, ICID=command.icid))

    def _store(self, at: int, event: Event) -> str:
        return "" if write(self._port, at, event.value) else f"no memory at {at:#x}, in an ITT"

    def _move(self, command: Command) -> str:
        found = self.find(command.DeviceID, command.event)
        if isinstance(found, str):
            return found
        before = self.translate(command.DeviceID, command.event)
        if isinstance(before, str):
            return before
        after = self.target(command.icid)
        if isinstance(after, str):
            return after
        lpis, intid = before
        if lpis is not after and intid in lpis.pending:
            lpis.clear_pending(intid)
            after.set_pending(intid)
        return self._store(found[0], found[1].replace(ICID=command.icid))

    def _move_all(self, command: Command) -> str:
        source, target = command.processor, command.other_processor
        for processor in (source, target):
            if processor >= len(self._lpis):
                return f"no redistributor {processor}"
        if source != target:
            for intid in sorted(self._lpis[source].pending):
                self._lpis[source].clear_pending(intid)
                self._lpis[target].set_pending(intid)
        return ""

    def _interrupt(self, command: Command) -> str:
        return self.signal(command.DeviceID, command.event)

    def _clear(self, command: Command) -> str:
        found = self.translate(command.DeviceID, command.event)
        if isinstance(found, str):
            return found
        found[0].clear_pending(found[1])
        return ""

    def _discard(self, command: Command) -> str:
        wrong = self._clear(command)
        found = self.find(command.DeviceID, command.event)
        return wrong or (found if isinstance(found, str) else self._store(found[0], Event()))

    def _invalidate(self, command: Command) -> str:
        found = self.translate(command.DeviceID, command.event)
        if isinstance(found, str):
            return found
        found[0].invalidate(found[1])
        return ""

    def _invalidate_all(self, command: Command) -> str:
        lpis = self.target(command.icid)
        if isinstance(lpis, str):
            return lpis
        lpis.invalidate_all()
        return ""

    def _synchronise(self, command: Command) -> str:
        """Commands take effect at once."""
        if command.processor >= len(self._lpis):
            return f"no redistributor {command.processor}"
        return ""


_COMMANDS: dict[int, tuple[str, Callable[[Mapping, Command], str]]] = {
    0x01: ("MOVI", Mapping._move),
    0x03: ("INT", Mapping._interrupt),
    0x04: ("CLEAR", Mapping._clear),
    0x05: ("SYNC", Mapping._synchronise),
    0x08: ("MAPD", Mapping._map_device),
    0x09: ("MAPC", Mapping._map_collection),
    0x0A: ("MAPTI", Mapping._map_event),
    0x0B: ("MAPI", Mapping._map_identically),
    0x0C: ("INV", Mapping._invalidate),
    0x0D: ("INVALL", Mapping._invalidate_all),
    0x0E: ("MOVALL", Mapping._move_all),
    0x0F: ("DISCARD", Mapping._discard),
}
