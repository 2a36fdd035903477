# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio over PCI: the modern transport, with MSI-X or the interrupt pin.

Spec: Virtual I/O Device 1.2, 4.1. Configuration space is what QEMU 11.1 shows with
disable-legacy=on, but for the number of vectors, which is one more than queues. The legacy
interface, which needs port I/O, shared memory, notification data and resets of single queues are
left out. The registers of a queue that is enabled cannot be changed. A field must be accessed in
its own width, as 4.1.3.1 asks; one of 64 bits in halves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from smmu_emu.devices.pcie import Bar, Function
from smmu_emu.devices.pcie_msi import add_msix_bar
from smmu_emu.devices.reporter import Report, ignore
from smmu_emu.devices.virtio.device import VirtioDevice
from smmu_emu.devices.virtio.queue import LARGEST, SplitQueue
from smmu_emu.port import DmaPort

VENDOR_ID = 0x1AF4
FIRST_DEVICE_ID = 0x1040
"""Of PCI; the device's own number is added. Spec: 4.1.2."""
REVISION = 1
NO_VECTOR = 0xFFFF

VENDOR_CAPABILITY = 0x09
COMMON_CFG, NOTIFY_CFG, ISR_CFG, DEVICE_CFG, PCI_CFG = 1, 2, 3, 4, 5
"""Types of capabilities. Spec: 4.1.4."""
MSIX_BAR, BAR = 1, 4
PART = 0x1000
COMMON, ISR, DEVICE, NOTIFY = 0x0000, 0x1000, 0x2000, 0x3000
"""Parts of the BAR."""
NOTIFY_MULTIPLIER = 4
WINDOW_AT, MSIX_AT = 0x84, 0x98
_CAPABILITIES = ((0x40, COMMON_CFG, COMMON), (0x50, ISR_CFG, ISR), (0x60, DEVICE_CFG, DEVICE))
_NOTIFY_AT = 0x70


class VirtioPci(Function):
    """A PCI function, and the device behind it."""

    def __init__(
        self, device: VirtioDevice, class_code: int, report: Report = ignore, name: str = ""
    ) -> None:
        super().__init__(
            VENDOR_ID, FIRST_DEVICE_ID + device.device_id, class_code, name=name or device.name
        )
        self.device = device
        self.report = report
        self.preset("REVISION_ID", REVISION)
        self.preset("INTERRUPT_PIN", 1)
        self.add_bar(Bar(BAR, 4 * PART, self, wide=True, prefetchable=True))
        for at, kind, start in _CAPABILITIES:
            self.add_capability(at, _capability(kind, start), bytes(16))
        body = _capability(NOTIFY_CFG, NOTIFY, NOTIFY_MULTIPLIER.to_bytes(4, "little"))
        self.add_capability(_NOTIFY_AT, body, bytes(20))
        self.window = Window(self)
        self.msix = add_msix_bar(self, MSIX_AT, device.queue_count + 1, MSIX_BAR, report)
        self.common = CommonConfiguration(device, self.msix.vectors, report)
        device.changed = self._drive_pin
        device.interrupted = self._send
        device.may_do_dma = self._may_do_dma

    def connect(self, requester_id: int, dma: DmaPort, changed: Callable[[], None]) -> None:
        """Take a place on a host."""
        super().connect(requester_id, dma, changed)
        self.device.connect(dma)

    def reset(self) -> None:
        """Power-on state."""
        self.common.reset()
        self.device.power_on()
        super().reset()

    def _may_do_dma(self) -> bool:
        return self.bus_master

    # -- interrupts

    def _drive_pin(self) -> None:
        """Spec: 4.1.4.5.1; the pin is let go once messages are on."""
        self.set_interrupt(self.device.interrupt_status != 0 and not self.msix.enabled)

    def _send(self, reason: int, queue: int | None) -> None:
        """Spec: 4.1.5.3, 4.1.5.4."""
        vector = self.common.vector(queue)
        if self.msix.enabled and vector != NO_VECTOR:
            self.msix.send(vector)

    # -- configuration space

    def config_read(self, offset: int, size: int) -> int:
        """A read of configuration space, or through its window of the BAR."""
        if self.window.holds(offset):
            self.window.fetch()
        return super().config_read(offset, size)

    def config_write(self, offset: int, size: int, value: int) -> None:
        """A write of configuration space, or through its window of the BAR."""
        super().config_write(offset, size, value)
        if self.window.holds(offset):
            self.window.store()
        self._drive_pin()

    # -- the BAR

    def read(self, offset: int, size: int) -> int | None:
        """A read by the driver."""
        if self.device.busy:
            return None
        part, offset = offset & -PART, offset % PART
        if part == COMMON:
            return self.common.read(offset, size)
        if part == DEVICE:
            data = self.device.configuration()[offset : offset + size]
            return int.from_bytes(data, "little")
        if part == ISR and offset == 0:
            reasons = self.device.interrupt_status
            self.device.acknowledge(reasons)
            return reasons
        return 0

    def write(self, offset: int, size: int, value: int) -> bool | None:
        """A write by the driver."""
        if self.device.busy:
            return False
        part, within = offset & -PART, offset % PART
        if part == COMMON:
            self.common.write(within, size, value)
        elif part == NOTIFY:
            self.device.notify(within // NOTIFY_MULTIPLIER)
        elif part == DEVICE:
            self.report(offset, "write to configuration space")
        return None


class Field(NamedTuple):
    """One field of the common configuration."""

    name: str
    size: int


FIELDS = {
    0x00: Field("device_feature_select", 4),
    0x04: Field("device_feature", 4),
    0x08: Field("driver_feature_select", 4),
    0x0C: Field("driver_feature", 4),
    0x10: Field("config_msix_vector", 2),
    0x12: Field("num_queues", 2),
    0x14: Field("device_status", 1),
    0x15: Field("config_generation", 1),
    0x16: Field("queue_select", 2),
    0x18: Field("queue_size", 2),
    0x1A: Field("queue_msix_vector", 2),
    0x1C: Field("queue_enable", 2),
    0x1E: Field("queue_notify_off", 2),
    0x20: Field("queue_desc", 4),
    0x24: Field("queue_desc_high", 4),
    0x28: Field("queue_driver", 4),
    0x2C: Field("queue_driver_high", 4),
    0x30: Field("queue_device", 4),
    0x34: Field("queue_device_high", 4),
}
"""Spec: 4.1.4.3. Those of features that are not offered are not there."""
_RINGS = {"queue_desc": "descriptors", "queue_driver": "driver", "queue_device": "device"}


class CommonConfiguration:
    """The registers that all devices have. ``vectors`` is how many MSI-X has."""

    def __init__(self, device: VirtioDevice, vectors: int, report: Report = ignore) -> None:
        self._device = device
        self._vectors = vectors
        self.report = report
        self._selected: dict[str, int] = {}
        self._queue_vectors: list[int] = []
        self._config_vector = NO_VECTOR
        self.reset()
        self._readers: dict[str, Callable[[], int]] = {
            "device_feature": self._features,
            "driver_feature": lambda: _half(
                device.driver_features, self._selected["driver_feature_select"]
            ),
            "config_msix_vector": lambda: self._config_vector,
            "num_queues": lambda: device.queue_count,
            "device_status": lambda: device.status,
            "config_generation": lambda: device.generation,
            "queue_size": lambda: 0 if self._queue is None else self._queue.size,
            "queue_msix_vector": self._read_vector,
            "queue_enable": lambda: int(self._queue is not None and self._queue.ready),
            "queue_notify_off": self._notify_offset,
        }
        self._writers: dict[str, Callable[[int], None]] = {
            "driver_feature": self._take_features,
            "config_msix_vector": self._write_config_vector,
            "device_status": self._write_status,
            "queue_size": self._write_size,
            "queue_msix_vector": self._write_vector,
            "queue_enable": self._enable,
        }
        for name, ring in _RINGS.items():
            for suffix, shift in (("", 0), ("_high", 32)):
                self._readers[name + suffix] = self._address_reader(ring, shift)
                self._writers[name + suffix] = self._address_writer(ring, shift)

    def reset(self) -> None:
        """As after a reset of the device."""
        self._selected = dict.fromkeys(
            ("device_feature_select", "driver_feature_select", "queue_select"), 0
        )
        self._queue_vectors = [NO_VECTOR] * self._device.queue_count
        self._config_vector = NO_VECTOR

    def vector(self, queue: int | None) -> int:
        """Which MSI-X vector tells of a queue, or of a change of configuration."""
        return self._config_vector if queue is None else self._queue_vectors[queue]

    def read(self, offset: int, size: int) -> int:
        """A read by the driver; an access of 8 bytes is two of 4."""
        if size == 8:
            return self.read(offset, 4) | self.read(offset + 4, 4) << 32
        field = FIELDS.get(offset)
        if field is None or field.size != size:
            self.report(offset, f"read of {size} bytes of the common configuration")
            return 0
        reader = self._readers.get(field.name)
        return self._selected[field.name] if reader is None else reader()

    def write(self, offset: int, size: int, value: int) -> None:
        """A write by the driver; an access of 8 bytes is two of 4."""
        if size == 8:
            self.write(offset, 4, value & 0xFFFF_FFFF)
            self.write(offset + 4, 4, value >> 32)
            return
        field = FIELDS.get(offset)
        if field is None or field.size != size:
            self.report(offset, f"write of {size} bytes of the common configuration")
        elif field.name in self._selected:
            self._selected[field.name] = value
        elif field.name in self._writers:
            self._writers[field.name](value)

    # -- fields

    @property
    def _queue(self) -> SplitQueue | None:
        """The queue that queue_select names."""
        number = self._selected["queue_select"]
        return self._device.queues[number] if number < len(self._device.queues) else None

    def _features(self) -> int:
        return _half(self._device.features, self._selected["device_feature_select"])

    def _take_features(self, value: int) -> None:
        self._device.write_features(self._selected["driver_feature_select"], value)

    def _write_status(self, value: int) -> None:
        if not value:
            self.reset()
        self._device.write_status(value)

    def _write_config_vector(self, value: int) -> None:
        self._config_vector = self._known(value)

    def _read_vector(self) -> int:
        return NO_VECTOR if self._queue is None else self.vector(self._selected["queue_select"])

    def _write_vector(self, value: int) -> None:
        if self._queue is not None:
            self._queue_vectors[self._selected["queue_select"]] = self._known(value)

    def _known(self, vector: int) -> int:
        """A vector, or none if there is no such vector. Spec: 4.1.5.1.2.1."""
        return vector if vector < self._vectors else NO_VECTOR

    def _notify_offset(self) -> int:
        return 0 if self._queue is None else self._selected["queue_select"]

    def _write_size(self, value: int) -> None:
        queue = self._queue
        if queue is not None and not queue.ready and value <= LARGEST:
            queue.size = value

    def _enable(self, value: int) -> None:
        queue = self._queue
        if queue is None or value != 1:
            self.report(0x1C, f"{value} written to queue_enable")
        elif not queue.usable:
            self.report(0x1C, f"a queue of {queue.size} descriptors made ready")
        else:
            queue.ready = True

    def _address_reader(self, ring: str, shift: int) -> Callable[[], int]:
        return lambda: 0 if self._queue is None else getattr(self._queue, ring) >> shift & _WORD

    def _address_writer(self, ring: str, shift: int) -> Callable[[int], None]:
        def write(value: int) -> None:
            queue = self._queue
            if queue is not None and not queue.ready:
                others = getattr(queue, ring) & ~(_WORD << shift)
                setattr(queue, ring, others | value << shift)

        return write


_WORD = 0xFFFF_FFFF


class Window:
    """The capability through which configuration accesses reach the BAR. Spec: 4.1.4.9."""

    _BAR, _OFFSET, _LENGTH, _DATA = WINDOW_AT + 4, WINDOW_AT + 8, WINDOW_AT + 12, WINDOW_AT + 16

    def __init__(self, function: VirtioPci) -> None:
        self._function = function
        writable = bytes(4) + b"\xff" + bytes(3) + b"\xff" * 12
        function.add_capability(
            WINDOW_AT, _capability(PCI_CFG, 0, bytes(4), bar=0, length=0), writable
        )

    def holds(self, offset: int) -> bool:
        """Whether an access at this offset of configuration space goes through the window."""
        return self._DATA <= offset < self._DATA + 4

    def fetch(self) -> None:
        """Read the BAR into the data register."""
        target = self._target()
        if target is not None:
            offset, size = target
            value = self._function.read(offset, size) or 0
            self._function.space[self._DATA : self._DATA + size] = value.to_bytes(size, "little")

    def store(self) -> None:
        """Write the data register to the BAR."""
        target = self._target()
        if target is not None:
            offset, size = target
            data = self._function.space[self._DATA : self._DATA + size]
            self._function.write(offset, size, int.from_bytes(data, "little"))

    def _target(self) -> tuple[int, int] | None:
        """Offset in the BAR and size, if the driver chose an access that there is."""
        space = self._function.space
        offset = int.from_bytes(space[self._OFFSET : self._OFFSET + 4], "little")
        size = int.from_bytes(space[self._LENGTH : self._LENGTH + 4], "little")
        fits = size in (1, 2, 4) and not offset % size and offset + size <= 4 * PART
        return (offset, size) if fits and space[self._BAR] == BAR else None


def _half(features: int, select: int) -> int:
    return features >> 32 * select & _WORD if select < 2 else 0


def _capability(
    kind: int, start: int, tail: bytes = b"", *, bar: int = BAR, length: int = PART
) -> bytes:
    """Spec: 4.1.4, struct virtio_pci_cap, and what follows in those of some types."""
    head = bytes((VENDOR_CAPABILITY, 0, 16 + len(tail), kind, bar, 0, 0, 0))
    return head + start.to_bytes(4, "little") + length.to_bytes(4, "little") + tail
