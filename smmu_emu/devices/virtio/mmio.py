# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio over MMIO, version 2: the registers of one device, and its interrupt wire.

Spec: Virtual I/O Device 1.2, 4.2.2. The legacy interface (version 1) and shared memory regions are
left out. Queue registers of a queue that is ready cannot be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smmu_emu.devices.register_block import RW, R, Register, RegisterBlock, W
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.devices.virtio.device import VirtioDevice
from smmu_emu.devices.virtio.queue import LARGEST, SplitQueue
from smmu_emu.interrupt import InterruptLine
from smmu_emu.port import DmaPort

SLOT = 0x200
"""Bytes of one transport."""
_CONFIGURATION = 0x100
_VENDOR_END = 0x010

REGISTERS = (
    Register("MagicValue", 0x000, R, reset=0x7472_6976),
    Register("Version", 0x004, R, reset=2),
    Register("DeviceID", 0x008, R),
    Register("VendorID", 0x00C, R, reset=0x554D_4551),
    Register("DeviceFeatures", 0x010, R),
    Register("DeviceFeaturesSel", 0x014, W),
    Register("DriverFeatures", 0x020, W),
    Register("DriverFeaturesSel", 0x024, W),
    Register("QueueSel", 0x030, W),
    Register("QueueNumMax", 0x034, R),
    Register("QueueNum", 0x038, W),
    Register("QueueReady", 0x044, RW),
    Register("QueueNotify", 0x050, W),
    Register("InterruptStatus", 0x060, R),
    Register("InterruptACK", 0x064, W),
    Register("Status", 0x070, RW),
    Register("QueueDescLow", 0x080, W),
    Register("QueueDescHigh", 0x084, W),
    Register("QueueDriverLow", 0x090, W),
    Register("QueueDriverHigh", 0x094, W),
    Register("QueueDeviceLow", 0x0A0, W),
    Register("QueueDeviceHigh", 0x0A4, W),
    Register("SHMSel", 0x0AC, W),
    Register("SHMLenLow", 0x0B0, R, reset=0xFFFF_FFFF),
    Register("SHMLenHigh", 0x0B4, R, reset=0xFFFF_FFFF),
    Register("SHMBaseLow", 0x0B8, R, reset=0xFFFF_FFFF),
    Register("SHMBaseHigh", 0x0BC, R, reset=0xFFFF_FFFF),
    Register("ConfigGeneration", 0x0FC, R),
)
"""Spec: table 4.1. The vendor is the one that QEMU's devices show."""


class VirtioMmio:
    """One transport and the device behind it; ``interrupt`` is a level."""

    def __init__(self, device: VirtioDevice, dma: DmaPort, report: Report = ignore) -> None:
        self.device = device
        device.connect(dma)
        self.report = report
        self.interrupt = InterruptLine(device.name)
        self._block = RegisterBlock(REGISTERS, report)
        self._values = self._block.values
        self._connect()
        device.changed = lambda: self.interrupt.set(device.interrupt_status != 0)

    def _connect(self) -> None:
        device, values = self.device, self._values
        self._block.on_read.update(
            DeviceID=lambda: device.device_id,
            DeviceFeatures=self._features,
            QueueNumMax=lambda: LARGEST if self._queue else 0,
            QueueReady=lambda: int(self._queue is not None and self._queue.ready),
            InterruptStatus=lambda: device.interrupt_status,
            Status=lambda: device.status,
            ConfigGeneration=lambda: device.generation,
        )
        self._block.on_write.update(
            DriverFeatures=lambda value: device.write_features(values["DriverFeaturesSel"], value),
            QueueNum=self._set_size,
            QueueReady=self._set_ready,
            QueueNotify=device.notify,
            InterruptACK=device.acknowledge,
            Status=self._write_status,
        )
        for name, field in (("Desc", "descriptors"), ("Driver", "driver"), ("Device", "device")):
            self._block.on_write[f"Queue{name}Low"] = self._address_writer(field, 0)
            self._block.on_write[f"Queue{name}High"] = self._address_writer(field, 32)

    def reset(self) -> None:
        """Power-on state."""
        self._block.reset()
        self.device.power_on()

    # -- the window

    def read(self, offset: int, size: int) -> int | None:
        """A read by the driver. Configuration space ends where the device's does: zeros follow."""
        if self.device.busy:
            return None
        if offset < _CONFIGURATION:
            return self._block.read(offset, size)
        first = offset - _CONFIGURATION
        return int.from_bytes(self.device.configuration()[first : first + size], "little")

    def write(self, offset: int, size: int, value: int) -> bool | None:
        """A write by the driver. Nothing in configuration space can be written here."""
        if self.device.busy:
            return False
        if offset < _CONFIGURATION:
            self._block.write(offset, size, value)
        else:
            self.report(offset, "write to configuration space")
        return None

    # -- registers

    def _features(self) -> int:
        half = self._values["DeviceFeaturesSel"]
        return self.device.features >> 32 * half & 0xFFFF_FFFF if half < 2 else 0

    @property
    def _queue(self) -> SplitQueue | None:
        """The queue that QueueSel names."""
        number = self._values["QueueSel"]
        return self.device.queues[number] if number < len(self.device.queues) else None

    def _set_size(self, value: int) -> None:
        queue = self._queue
        if queue is not None and not queue.ready:
            queue.size = value

    def _set_ready(self, value: int) -> None:
        queue = self._queue
        if queue is None:
            return
        if value & 1 and not queue.usable:
            self.report(0x044, f"a queue of {queue.size} descriptors made ready")
            return
        queue.ready = bool(value & 1)

    def _write_status(self, value: int) -> None:
        if not value & 0xFF:
            self._block.reset()
        self.device.write_status(value)

    def _address_writer(self, field: str, shift: int) -> Callable[[int], None]:
        def write(value: int) -> None:
            queue = self._queue
            if queue is not None and not queue.ready:
                others = getattr(queue, field) & ~(0xFFFF_FFFF << shift)
                setattr(queue, field, others | value << shift)

        return write


class VirtioSlots:
    """A row of transports in one window; slots without a device say so, as the specification asks.

    Spec: 4.2.2.2 (DeviceID 0 stands for no device).
    """

    def __init__(self, transports: Sequence[VirtioMmio]) -> None:
        self.transports = transports
        self._empty = RegisterBlock(REGISTERS)

    def read(self, offset: int, size: int) -> int | None:
        """A read of one slot."""
        number, offset = divmod(offset, SLOT)
        if number < len(self.transports):
            return self.transports[number].read(offset, size)
        return self._empty.read(offset, size) if offset < _VENDOR_END else 0

    def write(self, offset: int, size: int, value: int) -> bool | None:
        """A write to one slot; an empty one ignores it."""
        number, offset = divmod(offset, SLOT)
        if number < len(self.transports):
            return self.transports[number].write(offset, size, value)
        return None
