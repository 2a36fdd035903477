# SPDX-License-Identifier: GPL-2.0-or-later
"""A generic PCIe host: ECAM, buses, and the windows of memory space that BARs decode in.

Spec: PCI Express 4.0 7.2.2 (ECAM). Functions sit on the root bus 0, behind root ports
(`smmu_emu.devices.pcie_bridge`), or, for large requester IDs without enumeration, on any other bus
as if that were part of the root. Reads of absent functions, and of extended configuration space,
give all ones. Interrupt pins are wired to four lines of the host, turned by one pin a device
(PCI-to-PCI Bridge 1.2, 9.1).
"""

from __future__ import annotations

from smmu_emu.clock import Clock
from smmu_emu.devices.pcie import (
    HEADER_SIZE,
    MULTIFUNCTION,
    PINS,
    Function,
    format_address,
    parse_address,
)
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.errors import ConfigurationError
from smmu_emu.interrupt import InterruptLine
from smmu_emu.memory import MmioDevice, PhysicalMemory
from smmu_emu.port import DmaPort, Translator

ECAM_SIZE = 1 << 28


class PcieHost:
    """The functions of one host. `ecam` and `aperture` are what the memory map holds.

    DMA of its functions goes to ``memory`` through ``translator``; their requester IDs are its
    StreamIDs. ``interrupts`` are the four lines that interrupt pins are wired to. ``functions`` are
    those that configuration accesses reach now, by requester ID; `everything` is all there are.
    """

    def __init__(
        self, memory: PhysicalMemory, translator: Translator | None, clock: Clock | None = None
    ) -> None:
        self._memory = memory
        self._translator = translator
        self._clock = Clock() if clock is None else clock
        self.functions: dict[int, Function] = {}
        self._root: dict[int, Function] = {}
        self.interrupts = tuple(InterruptLine(f"pcie.{number}") for number in range(PINS))
        self._spans: list[tuple[int, int, MmioDevice]] = []
        self.ecam = Ecam(self)

    def aperture(self, base: int, report: Report = ignore) -> Aperture:
        """The window of memory space at CPU and PCI address ``base``."""
        return Aperture(self, base, report)

    def add(
        self, function: Function, address: str | None = None, bridge: Function | None = None
    ) -> None:
        """Put a function at ``address`` ("00:02.0"), or at the first free device of bus 0.

        Behind a ``bridge``, which is a root port, there is device 0 alone ("0.0").

        Raises: ConfigurationError for an address that is none, taken, or impossible.
        """
        if bridge is None:
            requester_id = self.free_address() if address is None else parse_address(address)
            bus, place = self._root, format_address(requester_id)
        else:
            requester_id = 0 if address is None else parse_address(address)
            bus, place = bridge.behind, f"{address or '0.0'} behind {bridge.name}"
            if requester_id > 7:
                raise ConfigurationError(f"PCI {place}: a root port leads to device 0 alone")
        if requester_id in bus:
            raise ConfigurationError(f"PCI {place} is taken by {bus[requester_id].name}")
        first = requester_id & ~7
        if requester_id != first:
            if first not in bus:
                raise ConfigurationError(f"PCI {place} needs a function {format_address(first)}")
            for one in (bus[first], function):
                one.preset("HEADER_TYPE", one.get("HEADER_TYPE") | MULTIFUNCTION)
        dma = DmaPort(self._memory, self._translator, requester_id, function.name)
        function.clock = self._clock
        function.upstream = bridge
        function.connect(requester_id, dma, self._changed)
        bus[requester_id] = function
        self._remap()

    @property
    def everything(self) -> list[Function]:
        """All functions: those of root buses in the order of their addresses, each followed by
        those behind it."""
        found = []
        for _, function in sorted(self._root.items()):
            found += [function, *function.behind.values()]
        return found

    def reset(self) -> None:
        """Power-on state of every function."""
        for function in self.everything:
            function.reset()

    def find(self, address: int, size: int) -> tuple[MmioDevice, int] | None:
        """The registers that answer all of an access to memory space, and the offset in them."""
        for first, end, device in self._spans:
            if first <= address and address + size <= end:
                return device, address - first
        return None

    def by_name(self) -> dict[str, Function]:
        """Functions by names such as "edu@00:01.0", or "edu@00:02.0/0.0" behind a root port."""
        return {f"{f.name}@{f.place}": f for f in self.everything}

    def _changed(self) -> None:
        self._remap()
        driven = {function.interrupt_line for function in self.everything}
        for number, line in enumerate(self.interrupts):
            line.set(number in driven)

    def _remap(self) -> None:
        """Number the buses, and find out who decodes what, as configuration space says now."""
        found = {}
        for port in self._root.values():
            bus = port.secondary_bus
            for place, function in port.behind.items():
                function.renumber(bus << 8 | place)
                if bus:
                    found[bus << 8 | place] = function
        self.functions = functions = found | self._root
        self._spans = [span for rid in sorted(functions) for span in functions[rid].decoded()]

    def free_address(self) -> int:
        """The requester ID of the first free device of bus 0.

        Raises: ConfigurationError if there is none.
        """
        for device in range(32):
            if device << 3 not in self._root:
                return device << 3
        raise ConfigurationError("all 32 devices of PCI bus 0 are taken; name another bus")


class Ecam:
    """Configuration space of 256 buses, 4 KiB a function. Spec: PCIe 4.0 7.2.2."""

    def __init__(self, host: PcieHost) -> None:
        self._host = host

    def read(self, offset: int, size: int) -> int:
        """A configuration read; all ones where no function answers."""
        function = self._host.functions.get(offset >> 12)
        register = offset & 0xFFF
        if function is None or register + size > HEADER_SIZE:
            return (1 << 8 * size) - 1
        return function.config_read(register, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """A configuration write; nothing happens where no function answers."""
        function = self._host.functions.get(offset >> 12)
        register = offset & 0xFFF
        if function is not None and register + size <= HEADER_SIZE:
            function.config_write(register, size, value)


class Aperture:
    """A window of memory space: an access goes to the BAR that decodes it.

    Where none does, reads give all ones, as a host bridge answers an Unsupported Request. That is
    told, since it mostly means that a BAR or the command register was forgotten.
    """

    def __init__(self, host: PcieHost, base: int, report: Report = ignore) -> None:
        self._host = host
        self._base = base
        self.report = report

    def read(self, offset: int, size: int) -> int | None:
        """A memory read by the CPU or by a device behind the host."""
        target = self._host.find(self._base + offset, size)
        if target is None:
            self.report(offset, "read that no BAR decodes")
            return (1 << 8 * size) - 1
        return target[0].read(target[1], size)

    def write(self, offset: int, size: int, value: int) -> bool | None:
        """A memory write by the CPU or by a device behind the host."""
        target = self._host.find(self._base + offset, size)
        if target is None:
            self.report(offset, "write that no BAR decodes")
            return None
        return target[0].write(target[1], size, value)
