# SPDX-License-Identifier: GPL-2.0-or-later
"""A Performance Monitor Counter Group that counts what happens in one SMMU.

Spec: IHI 0070 10. Modelled: 1 to 64 counters of 32 to 64 bits, page 1, the architected events,
StreamID filters, overflow, capture, the interrupt as a wire or a message. While a counter of
traffic is enabled, the SMMU is observed (see `observe`), and slower; otherwise nothing is there.

Choices: a clock cycle is a fixed number of nanoseconds of virtual time, whatever the SMMU does; all
StreamIDs of the SMMU belong to the group; software that sets OVS bits causes neither interrupt nor
capture; illegal accesses are RAZ/WI and guarded registers ignore writes, as in the SMMU; fields
that reset to UNKNOWN are zero. Left out: Secure and Realm state, MPAM, IMPLEMENTATION DEFINED
events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from smmu_emu.clock import Appointment
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.errors import ConfigurationError
from smmu_emu.interrupt import InterruptLine
from smmu_emu.port import MemoryPort
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.observe import Observation
from smmu_emu.smmuv3.spec.pmcg import (
    AIDR,
    ARRAYS,
    CAPR,
    CFGR,
    CIDR_VALUES,
    COUNTER_BITS,
    CR,
    EVTYPER,
    IIDR,
    IRQ_CFG0,
    IRQ_CFG2,
    IRQ_CTRL,
    IRQ_STATUS,
    MOST_COUNTERS,
    PIDR1,
    PIDR2,
    PIDR3,
    PIDR4,
    PMDEVARCH_VALUE,
    PMDEVTYPE_VALUE,
    REGISTERS,
    RELOCATED,
    MonitorEvent,
)

PAGE1 = 0x1_0000
"""Where page 1 is in the group's window: alone in its 64 KiB, so that it can be handed to a guest.

The architecture leaves it open (10.5)."""
WINDOW_SIZE = 2 * PAGE1

_E = CR.mask("E")
_CAPTURE = CAPR.mask("CAPTURE")
_IRQEN = IRQ_CTRL.mask("IRQEN")
_IRQ_ABT = IRQ_STATUS.mask("IRQ_ABT")
_ALL_BITS = 0xFFFF_FFFF
_BITMAPS = {
    f"{bitmap}{way}0": bitmap for bitmap in ("CNTEN", "INTEN", "OVS") for way in ("SET", "CLR")
}
"""Registers that set or clear bits of what is stored under another name."""


class _Part(NamedTuple):
    """What one access of 4 or 8 bytes reaches, and under which name that is stored."""

    register: str
    stored: str
    shift: int
    mask: int


class _Filter(NamedTuple):
    """A counter of an event of streams: those whose StreamID has ``value`` where ``mask`` is 1."""

    counter: int
    stored: str
    mask: int
    value: int


class Pmcg:
    """One counter group of ``smmu``: `read` and `write` are its register window.

    ``counters`` is their number and ``size`` their size in bits. ``relocated`` puts what guests may
    have into page 1; ``shared_filter`` gives all counters the StreamID filter of counter 0. ``msi``
    is by default as the SMMU has it. ``cycle`` is the length of a clock cycle in nanoseconds.
    ``device_id`` is what its messages carry. ``report`` hears of accesses to registers that do not
    exist.

    Raises: ConfigurationError for what cannot be.
    """

    unsaved = ("_observation",)

    def __init__(
        self,
        smmu: Smmuv3,
        *,
        counters: int = 4,
        size: int = 64,
        relocated: bool = True,
        shared_filter: bool = False,
        capture: bool = True,
        msi: bool | None = None,
        device_id: int | None = None,
        cycle: int = 1,
        iidr: int = 0,
        name: str = "pmcg0",
        report: Report = ignore,
    ) -> None:
        self.smmu = smmu
        self.name = name
        self.report = report
        self.ports = {"msi": MemoryPort("msi", smmu.memory, device_id)}
        self.interrupt = InterruptLine(f"{name}.overflow")
        self.config = CFGR.make(
            NCTR=_checked("counters", counters, range(1, MOST_COUNTERS + 1)) - 1,
            SIZE=_checked("size", size, COUNTER_BITS) - 1,
            RELOC_CTRS=int(relocated),
            MSI=smmu.ids.features.MSI if msi is None else int(msi),
            CAPTURE=int(capture),
            SID_FILTER_TYPE=int(shared_filter),
        )
        self.events = frozenset(MonitorEvent) - (set() if smmu.ids.features.ATS else _ATS_EVENTS)
        self._sid_mask = (1 << smmu.ids.sizes.SIDSIZE) - 1
        self._cycle = _checked("cycle", cycle, range(1, 1 << 32))
        self._numbers = range(counters)
        self._last = (1 << size) - 1
        self._constants = self._identification(IIDR(iidr))
        self._writable = self._writable_masks()
        self._parts = dict(self._lay_out())
        self._observation: Observation | None = None
        self._filters: dict[int, list[_Filter]] = {}
        self._cycle_counters: list[int] = []
        self._due: Appointment | None = None
        self._ticks = 0
        self.values: dict[str, int] = {}
        self.reset()

    def reset(self) -> None:
        """Power-on state: nothing enabled. Fields that reset to UNKNOWN read as zero."""
        self.values = dict.fromkeys((part.stored for part in self._parts.values()), 0)
        self.values.update(self._constants)
        self._ticks = 0
        self._update()

    def after_put_back(self) -> None:
        """Observe the SMMU as long as counters ask for that now."""
        self._observe(bool(self._filters))

    @property
    def counts(self) -> list[int]:
        """What every counter holds now."""
        self._sync()
        return [self.values[f"EVCNTR{n}"] for n in self._numbers]

    # -- registers

    def read(self, offset: int, size: int) -> int:
        """What a read of ``size`` bytes at ``offset`` gives; 0 where it is illegal."""
        part = self._parts.get((offset, size))
        if part is None:
            self.report(offset, f"read of {size} bytes")
            return 0
        self._sync()
        return self.values[part.stored] >> part.shift & part.mask

    def write(self, offset: int, size: int, value: int) -> None:
        """A write by software; ignored where it is illegal, guarded, or the register read-only."""
        part = self._parts.get((offset, size))
        if part is None:
            self.report(offset, f"write of {size} bytes")
            return
        self._sync()
        values, name = self.values, part.register
        reached = self._writable.get(name, 0) & part.mask << part.shift & ~self._guarded(name)
        bits, old = value << part.shift & reached, values[part.stored]
        if name == "CAPR":
            if bits:
                self._capture()
            return
        if name in _BITMAPS:
            values[part.stored] = old | bits if "SET" in name else old & ~bits
        else:
            values[name] = old & ~reached | bits
        if name == "IRQ_CTRL":
            self.smmu.clock.after(self.smmu.delays.acknowledge, self._acknowledge)
        self._update()

    def _guarded(self, name: str) -> int:
        """Where messages go must not change while they may be sent. Spec: 10.5.2.21."""
        enabled = (self.values["IRQ_CTRL"] | self.values["IRQ_CTRLACK"]) & _IRQEN
        return -1 if enabled and name.startswith("IRQ_CFG") else 0

    def _acknowledge(self) -> None:
        """The Update of IRQ_CTRL completes. Spec: 10.5.2.19, 10.5.2.24."""
        self._sync()
        values = self.values
        if values["IRQ_CTRL"] & ~values["IRQ_CTRLACK"] & _IRQEN:
            values["IRQ_STATUS"] = 0
        values["IRQ_CTRLACK"] = values["IRQ_CTRL"]
        self._update()

    def _lay_out(self) -> Iterator[tuple[tuple[int, int], _Part]]:
        """What each legal access reaches, by offset in the window and size."""
        counter_size = 8 if self._last >> 32 else 4
        for array in ARRAYS:
            size = array.size or counter_size
            for n in self._numbers:
                yield from self._access(
                    f"{array.name}{n}", array.name, array.offset + size * n, size
                )
        for name, offset, size in REGISTERS:
            yield from self._access(name, name, offset, size)

    def _access(
        self, name: str, kind: str, offset: int, size: int
    ) -> Iterator[tuple[tuple[int, int], _Part]]:
        if self.config.RELOC_CTRS and kind in RELOCATED:
            offset += PAGE1
        stored = _BITMAPS.get(name, name)
        yield (offset, 4), _Part(name, stored, 0, _ALL_BITS)
        if size == 8:
            yield (offset + 4, 4), _Part(name, stored, 32, _ALL_BITS)
            yield (offset, 8), _Part(name, stored, 0, (1 << 64) - 1)

    def _writable_masks(self) -> dict[str, int]:
        """Bits that exist and that software may write; others read as they are."""
        has = self.config
        masks = dict.fromkeys(_BITMAPS, (1 << len(self._numbers)) - 1)
        masks |= {"CR": CR.mask(), "IRQ_CTRL": IRQ_CTRL.mask()}
        for n in self._numbers:
            masks[f"EVCNTR{n}"] = self._last
            masks[f"EVTYPER{n}"] = EVTYPER.mask("EVENT")
            if has.CAPTURE:
                masks[f"EVTYPER{n}"] |= EVTYPER.mask("OVFCAP")
            if n == 0 or not has.SID_FILTER_TYPE:
                masks[f"EVTYPER{n}"] |= EVTYPER.mask("FILTER_SID_SPAN")
                masks[f"SMR{n}"] = self._sid_mask
        if has.CAPTURE:
            masks["CAPR"] = _CAPTURE
        if has.MSI:
            physical = (1 << self.smmu.ids.output_bits) - 1
            masks["IRQ_CFG0"] = IRQ_CFG0.mask("ADDR") & physical
            masks["IRQ_CFG1"] = _ALL_BITS
            masks["IRQ_CFG2"] = IRQ_CFG2.mask()
        return masks

    def _identification(self, iidr: IIDR) -> dict[str, int]:
        """What never changes. The PIDRs say the same as IIDR. Spec: 10.5.2.15, 10.5.2.29."""
        part, designer = iidr.ProductID, iidr.Implementer
        return {
            "CFGR": self.config.value,
            "IIDR": iidr.value,
            "CEID0": sum(1 << event for event in self.events),
            "AIDR": AIDR.make(ArchMinorRev=self.smmu.ids.minor).value,
            "PMDEVARCH": PMDEVARCH_VALUE,
            "PMDEVTYPE": PMDEVTYPE_VALUE,
            "PIDR0": part & 0xFF,
            "PIDR1": PIDR1.make(PART_1=part >> 8, DES_0=designer & 0xF).value,
            "PIDR2": PIDR2.make(DES_1=designer >> 4 & 7, JEDEC=1, REVISION=iidr.Variant).value,
            "PIDR3": PIDR3.make(REVAND=iidr.Revision).value,
            "PIDR4": PIDR4.make(DES_2=designer >> 8).value,
            **{f"CIDR{number}": value for number, value in enumerate(CIDR_VALUES)},
        }

    # -- what is counted

    def _update(self) -> None:
        """Registers changed: work out who counts what, and what has to be done for that."""
        values = self.values
        enabled = values["CNTEN"] if values["CR"] & _E else 0
        self._filters.clear()
        self._cycle_counters.clear()
        for n in self._numbers:
            event = EVTYPER(values[f"EVTYPER{n}"]).EVENT
            if not enabled >> n & 1 or event not in self.events:
                continue
            if event == MonitorEvent.CYCLE:
                self._cycle_counters.append(n)
            else:
                self._filters.setdefault(event, []).append(self._filter(n))
        self._observe(bool(self._filters))
        self._make_appointment()

    def _filter(self, counter: int) -> _Filter:
        """Spec: 10.4. The lowest 0 of a span is the highest bit that need not match."""
        source = 0 if self.config.SID_FILTER_TYPE else counter
        value, mask = self.values[f"SMR{source}"], _ALL_BITS
        if EVTYPER(self.values[f"EVTYPER{source}"]).FILTER_SID_SPAN:
            mask = 0 if value == self._sid_mask else mask & ~(value ^ value + 1)
        return _Filter(counter, f"EVCNTR{counter}", mask, value)

    def _observe(self, wanted: bool) -> None:
        if wanted == (self._observation is not None):
            return
        if self._observation is not None:
            self._observation.remove(self._count)
            self._observation = None
        else:
            self._observation = Observation(self.smmu)
            self._observation.add(self._count)

    def _count(self, event: MonitorEvent, stream_id: int) -> None:
        """An event of a stream happened."""
        values, overflowed = self.values, 0
        for counter, stored, mask, value in self._filters.get(event, ()):
            if (stream_id ^ value) & mask:
                continue
            if values[stored] == self._last:
                values[stored] = 0
                overflowed |= 1 << counter
            else:
                values[stored] += 1
        if overflowed:
            self._overflow(overflowed)

    # -- clock cycles

    def _sync(self) -> None:
        """Give counters of clock cycles those that have gone by. They need no filter: 10.3."""
        elapsed = self.smmu.clock.now // self._cycle - self._ticks
        if elapsed <= 0:
            return
        self._ticks += elapsed
        values, overflowed = self.values, 0
        for n in self._cycle_counters:
            count = values[f"EVCNTR{n}"] + elapsed
            values[f"EVCNTR{n}"] = count & self._last
            if count > self._last:
                overflowed |= 1 << n
        if overflowed:
            self._overflow(overflowed)

    def _make_appointment(self) -> None:
        """Be there when a counter of cycles overflows, if that does more than set OVS."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        values = self.values
        interrupting = values["INTEN"] if values["IRQ_CTRLACK"] & _IRQEN else 0
        left = [
            self._last + 1 - values[f"EVCNTR{n}"]
            for n in self._cycle_counters
            if interrupting >> n & 1 or EVTYPER(values[f"EVTYPER{n}"]).OVFCAP
        ]
        if left:
            clock = self.smmu.clock
            time = (self._ticks + min(left)) * self._cycle
            self._due = clock.after(time - clock.now, self._overflow_is_due)

    def _overflow_is_due(self) -> None:
        self._due = None
        self._sync()
        self._make_appointment()

    # -- overflow, capture, interrupt

    def _overflow(self, counters: int) -> None:
        """Counters of a bitmap wrapped: status, then capture, then the interrupt. Spec: 10.2.1."""
        values = self.values
        values["OVS"] |= counters
        if any(counters >> n & 1 and EVTYPER(values[f"EVTYPER{n}"]).OVFCAP for n in self._numbers):
            self._capture()
        if values["INTEN"] & counters and values["IRQ_CTRLACK"] & _IRQEN:
            self._interrupt()

    def _capture(self) -> None:
        """Copy all counters at once. Spec: 10.2.1."""
        self._sync()
        for n in self._numbers:
            self.values[f"SVR{n}"] = self.values[f"EVCNTR{n}"]

    def _interrupt(self) -> None:
        """A message if it has an address, else the wire. Spec: 10.5.2.21, 10.5.2.24."""
        values = self.values
        address = IRQ_CFG0(values["IRQ_CFG0"]).ADDR
        if not address:
            self.interrupt.pulse()
        elif not self.ports["msi"].write(address, values["IRQ_CFG1"].to_bytes(4, "little")):
            values["IRQ_STATUS"] = _IRQ_ABT if self.smmu.ids.minor else 0


_ATS_EVENTS = {MonitorEvent.ATS_REQUEST, MonitorEvent.ATS_TRANSLATED}
"""Events that a group has only where there is ATS."""


def _checked(what: str, value: int, allowed: range | tuple[int, ...]) -> int:
    if value not in allowed:
        legal = (
            f"{allowed[0]} to {allowed[-1]}"
            if isinstance(allowed, range)
            else ", ".join(map(str, allowed))
        )
        raise ConfigurationError(f"a PMCG cannot have {what} = {value}: {legal}")
    return value
