# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine: a board, its core, virtual time and what was loaded; built, run, and reset.

The core, and with it Unicorn, is made when it is first needed: whoever makes single transactions
never pays for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from smmu_emu.board.handover import Handover, prepare
from smmu_emu.board.loader import AARCH32, AARCH64, Image, Piece, Source, read_source
from smmu_emu.board.placement import Placement
from smmu_emu.board.virt import (
    HYPERVISOR_TIMER_PPI,
    PHYSICAL_TIMER_PPI,
    VIRTUAL_TIMER_PPI,
    VirtBoard,
)
from smmu_emu.clock import Clock
from smmu_emu.cpu.exit import ExitInfo, ExitKind
from smmu_emu.cpu.models import AARCH32_MODELS
from smmu_emu.devices.reporter import Reporter, Site
from smmu_emu.devices.virtio.disk import Disk
from smmu_emu.errors import ConfigurationError
from smmu_emu.memory import PhysicalMemory, Ram
from smmu_emu.port import DmaPort
from smmu_emu.smmuv3.device import Smmuv3
from smmu_emu.smmuv3.ids import IdRegisters

if TYPE_CHECKING:
    from smmu_emu.cpu.client import Client
    from smmu_emu.cpu.core import Core
    from smmu_emu.policy import Adversary
    from smmu_emu.smmuv3.clients import Changes
    from smmu_emu.snapshot import Snapshot

EXIT_STATUS = {
    ExitKind.POWER_OFF: 0,
    ExitKind.MAX_INSTRUCTIONS: 124,
    ExitKind.DEADLOCK: 125,
    ExitKind.LOCKUP: 126,
    ExitKind.RESET: 127,
}
"""Exit status of a run by how it ended. A semihosting exit, and a device that ends the run, bring
their own: the lowest 8 bits of it, as everywhere."""


class RunResult(NamedTuple):
    """How a run ended: ``status`` for the caller of a program, ``reason`` for people.

    ``pc`` is the next instruction, ``instructions`` counts from the start of the image.
    """

    kind: ExitKind
    status: int
    reason: str
    pc: int
    instructions: int


class Machine:
    """A board with everything it needs to run; make one with `Machine.virt`.

    ``memory``, ``ram``, ``clock``, ``devices`` (by name) and ``board`` are its parts; ``output`` is
    what the guest printed so far, on the UART and through semihosting, in order.
    """

    wiring = ("clock", "reporter", "board", "memory", "ram", "_core")
    unsaved = ("console", "recipe", "_running", "_closed", "_changes")

    def __init__(
        self,
        make_board: Callable[[Clock, Reporter, Callable[[bytes], None]], VirtBoard],
        *,
        cpu_model: str = "cortex-a57",
        core_stream: int | None = None,
        core_substream: int | None = None,
        command_line: str = "",
        console: Callable[[bytes], None] | None = None,
    ) -> None:
        self.cpu_model = cpu_model
        self.command_line = command_line
        self.console = console
        self.output = bytearray()
        self.clock = Clock()
        self.reporter = Reporter(self._current_pc)
        self.board = make_board(self.clock, self.reporter, self._print)
        self.memory: PhysicalMemory = self.board.memory
        self.ram: Ram = self.memory.rams[0]
        self._placement = Placement(self.memory)
        self._dma: dict[int, DmaPort] = {}
        self._core: Core | None = None
        self._core_port = self._check_core_stream(core_stream, core_substream)
        self._core_substream = core_substream
        self._changes: Changes | None = None
        self.adversary: Adversary | None = None
        self._running = False
        self._started = False
        self._level = 1
        self._closed = False
        self.recipe: dict[str, Any] | None = None
        """The arguments of `virt`, if that made it."""

    @classmethod
    def load_snapshot(
        cls, path: str | PathLike[str], console: Callable[[bytes], None] | None = None
    ) -> Machine:
        """A machine as it was when a snapshot of it was saved; disk images are where they were.

        Raises: ConfigurationError in one line for a bad file, or disks that have changed; OSError.
        """
        from smmu_emu.snapshot import Snapshot
        from smmu_emu.snapshot_file import rebuild

        snapshot = Snapshot.load(path)
        machine = cls.virt(**rebuild(snapshot.contents()), console=console)
        try:
            machine.restore(snapshot)
        except BaseException:
            machine.close()
            raise
        return machine

    @classmethod
    def virt(
        cls,
        ram: int = 512 << 20,
        iommu: str | None = "smmuv3",
        devices: Iterable[str] = ("iommu-testdev",),
        cpu_model: str = "cortex-a57",
        *,
        smmu_ids: IdRegisters | None = None,
        disks: Iterable[Disk] = (),
        pmcg: bool = False,
        gic: str = "v2",
        core_stream: int | None = None,
        core_substream: int | None = None,
        policy: str | Iterable[str] | None = None,
        bios: Source | None = None,
        command_line: str = "",
        console: Callable[[bytes], None] | None = None,
    ) -> Machine:
        """A machine like QEMU's ``virt``, with ``ram`` bytes of RAM at 0x40000000.

        ``iommu`` is "smmuv3" or None; ``devices`` are PCI devices, as "iommu-testdev" or
        "iommu-testdev@00:03.0"; each of ``disks`` is a virtio-blk behind the SMMU; ``console``
        takes output while it is made; ``command_line`` is what semihosting gives the guest.

        ``gic`` is "v2", or "v3" with an ITS. ``pmcg`` gives the SMMU a counter group, which QEMU's
        has not. ``core_stream`` puts the core
        behind the SMMU, under that StreamID (and SubstreamID ``core_substream``). ``policy`` names
        what the SMMU makes of its freedoms, as in "evict,prefetch,seed=3": docs/policies.md.
        ``bios`` puts flash at 0, with these bytes at its start, and the machine starts there.

        Raises: ConfigurationError for what cannot be built; an unknown ``cpu_model`` is found out
        when the core is made; ImageError for a ``bios`` that cannot be read or does not fit.
        """

        devices, disks = tuple(devices), tuple(disks)
        policy = policy if policy is None or isinstance(policy, str) else tuple(policy)
        recipe = {name: value for name, value in locals().items() if name not in ("cls", "console")}
        firmware = None if bios is None else read_source(bios, "BIOS")

        def make(clock: Clock, reporter: Reporter, output: Callable[[bytes], None]) -> VirtBoard:
            return VirtBoard(
                clock=clock,
                reporter=reporter,
                console=output,
                ram=ram,
                iommu=iommu,
                smmu_ids=smmu_ids,
                pci=devices,
                disks=disks,
                pmcg=pmcg,
                gic=gic,
                bios=None if firmware is None else firmware[1],
            )

        machine = cls(
            make,
            cpu_model=cpu_model,
            core_stream=core_stream,
            core_substream=core_substream,
            command_line=command_line,
            console=console,
        )
        machine.recipe = recipe
        if firmware is not None:
            machine.start_in_flash(firmware[0])
        if policy is not None:
            machine.use_policy(policy)
        return machine

    # -- parts

    @property
    def smmu(self) -> Smmuv3:
        """The translation unit.

        Raises: ConfigurationError if the machine was built without one.
        """
        if self.board.smmu is None:
            raise ConfigurationError("this machine was built without an SMMU")
        return self.board.smmu

    @property
    def core(self) -> Core:
        """The core; made at the first use.

        Raises: ConfigurationError for a model that does not exist, or a closed machine.
        """
        if self._core is None:
            self._core = self._make_core()
        return self._core

    @property
    def is_aarch32(self) -> bool:
        """Whether the core executes AArch32, and with it what images can be loaded."""
        return self.cpu_model in AARCH32_MODELS

    @property
    def has_core(self) -> bool:
        """Whether the core was made."""
        return self._core is not None

    @property
    def instructions(self) -> int:
        """Instructions begun since the image started."""
        return 0 if self._core is None else self._core.instructions

    @property
    def running_core(self) -> Core | None:
        """The core while `run` is under way, else None: who started what happens now."""
        return self._core if self._running else None

    @property
    def devices(self) -> dict[str, Any]:
        """Every device by its name; PCI functions as "iommu-testdev@00:01.0"."""
        board = self.board
        found: dict[str, Any] = {"gic": board.gic}
        if board.v2m is not None:
            found["v2m"] = board.v2m
        found |= {"pl011": board.uart, "pl031": board.rtc, "pcie": board.pcie}
        if board.smmu is not None:
            found[board.smmu.name] = board.smmu
        if board.pmcg is not None:
            found[board.pmcg.name] = board.pmcg
        found |= {bank.name: bank for bank in board.flash}
        found |= {transport.device.name: transport.device for transport in board.virtio}
        return found | board.pcie.by_name()

    @property
    def unmodelled(self) -> list[Site]:
        """What was touched so far and is not modelled, once a site."""
        return self.reporter.sites

    def dma(self, stream_id: int) -> DmaPort:
        """A way into memory through the SMMU, as a DMA master with this StreamID has it."""
        if stream_id not in self._dma:
            name = f"dma {stream_id:#x}"
            self._dma[stream_id] = DmaPort(self.memory, self.board.smmu, stream_id, name)
        return self._dma[stream_id]

    @property
    def dma_ports(self) -> list[DmaPort]:
        """The ports of all DMA masters: of PCI functions, those that `dma` gave out, and that of
        a core behind the SMMU."""
        built = [function.dma for function in self.board.pcie.everything]
        built += [transport.device.dma for transport in self.board.virtio]
        built += [] if self._core_port is None else [self._core_port]
        return built + list(self._dma.values())

    def use_policy(self, policy: str | Iterable[str]) -> None:
        """Let the SMMU make other use of its freedoms from now on; without names, of none.

        Raises: ConfigurationError for what is not known, or without an SMMU.
        """
        from smmu_emu.policy import Adversary, Choice

        choice = Choice.parse(policy)
        smmu = self.smmu
        if self.adversary is not None:
            self.adversary.remove()
            self.adversary = None
        if choice.names:
            core = [] if self._core_port is None else [self._core_port.stream_id]
            self.adversary = Adversary(smmu, choice, core)

    # -- what runs

    def load(
        self,
        image: Source,
        *,
        load_address: int | None = None,
        entry: int | None = None,
        initrd: Source | None = None,
        append: str = "",
        dtb: Source | None = None,
        el: int = 1,
    ) -> Image:
        """Load an AArch64 ELF, an arm64 Linux kernel, or raw bytes at ``load_address``.

        ``image`` is a path or bytes. The next `run` starts at its entry, or at ``entry``, at
        exception level ``el``. An image loaded before is taken away. A device tree is handed over
        as `smmu_emu.board.handover` says: ``dtb`` or `device_tree`, with ``append`` as the kernel's
        command line. ``initrd`` is for Linux kernels.

        Raises: ImageError in one line; ConfigurationError for a level other than 1 and 2.
        """
        self._check_level(el)

        def hand_over(loaded: Image) -> Handover:
            def tree(where: tuple[int, int] | None) -> bytes:
                return self.device_tree(append, where, dtb, el=el)

            return prepare(loaded, self.ram, tree, initrd)

        loaded = self._placement.load(
            image,
            load_address=load_address,
            entry=entry,
            hand_over=hand_over,
            architecture=AARCH32 if self.is_aarch32 else AARCH64,
        )
        self._started = False
        self._level = el
        return loaded

    def start_in_flash(self, name: str = "BIOS", *, dtb: Source | None = None, el: int = 1) -> None:
        """Let the next `run` start at address 0, where the flash is, in place of a loaded image.

        The device tree is at the start of RAM. ``name`` is for messages.

        Raises: ImageError for a bad ``dtb``; ConfigurationError for a level other than 1 and 2.
        """
        self._check_level(el)

        def hand_over(loaded: Image) -> Handover:
            return prepare(loaded, self.ram, lambda _: self.device_tree(dtb=dtb, el=el), None)

        self._placement.install(Image(name, "bios", (), 0), hand_over)
        self._started = False
        self._level = el

    def device_tree(
        self,
        append: str = "",
        initrd: tuple[int, int] | None = None,
        dtb: Source | None = None,
        *,
        el: int = 1,
    ) -> bytes:
        """The device tree blob of this machine, or ``dtb`` made to fit it.

        ``append`` is a kernel's command line, ``initrd`` where one begins and ends, ``el`` the
        exception level it starts at: at EL2 it calls PSCI by SMC, not by HVC.

        Raises: ImageError if ``dtb`` is no device tree.
        """
        from smmu_emu.board import devicetree

        if dtb is None:
            return devicetree.build(self.board, self.cpu_model, append, initrd, el)
        name, blob = read_source(dtb, "device tree")
        return devicetree.amend(blob, name, self.board, append, initrd)

    @property
    def handover(self) -> Handover:
        """What was put into RAM for the loaded image: its device tree and initrd."""
        return self._placement.handover

    def load_blob(self, address: int, data: Source, name: str | None = None) -> None:
        """Put bytes, or a file's bytes, at a physical address in RAM, beside the image.

        Raises: ImageError in one line.
        """
        self._placement.load_blob(address, data, name)

    @property
    def image_kind(self) -> str:
        """What was loaded: "elf", "linux" or "raw"; empty if nothing was."""
        image = self._placement.image
        return "" if image is None else image.kind

    def loaded_at(self, pa: int) -> Piece | None:
        """What was loaded to a physical address, None if nothing was. Guests may have written it
        since."""
        return self._placement.at(pa)

    def run(self, max_instructions: int | None = None) -> RunResult:
        """Run the image; go on where the last run stopped, if one did.

        Raises: ConfigurationError if nothing was loaded, ``max_instructions`` is negative, or a run
        is under way.
        """
        self._check_stopped()
        image = self._placement.image
        if image is None:
            raise ConfigurationError("nothing to run: load an image first")
        if max_instructions is not None and max_instructions < 0:
            raise ConfigurationError(f"cannot run {max_instructions} instructions")
        core = self.core
        if not self._started:
            core.reset(image.entry, el=self._level, x0=self._placement.handover.x0)
            if image.kind == "linux":
                self.board.uart.turn_on()
            self._started = True
        self._running = True
        try:
            info = core.run(max_instructions)
        finally:
            self._running = False
        return _result(info)

    def feed(self, data: bytes) -> None:
        """Type on the console: the UART, or a virtio console with ``stdio=on``, gets ``data``."""
        self.board.keyboard(data)

    def reset(self) -> None:
        """Power off and on: as it was before the first run, images and blobs loaded.

        Raises: ConfigurationError while a run is under way.
        """
        self._check_stopped()
        self.clock.reset()
        self.board.reset()
        for port in self.dma_ports:
            port.reset()
        self.reporter.clear()
        self.output.clear()
        self._placement.restore()
        self._started = False

    def snapshot(self, *others: object) -> Snapshot:
        """Everything as it is now, to be brought back by `restore`: see `smmu_emu.snapshot`.

        ``others`` are objects that belong to the machine's state without being part of it, such as
        a driver in Python.

        Raises: ConfigurationError while a run is under way, or for what cannot be kept.
        """
        from smmu_emu import snapshot

        self._check_stopped()
        return snapshot.take(self, others)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot of this machine, any number of times and in any order.

        Raises: ConfigurationError while a run is under way, or for another machine's snapshot.
        """
        from smmu_emu import snapshot as snapshots

        self._check_stopped()
        snapshots.put_back(self, snapshot)

    def close(self) -> None:
        """Free the core and close disks. Harmless when done already.

        Raises: ConfigurationError while a run is under way.
        """
        self._check_stopped()
        self._closed = True
        self.board.close()
        if self._core is not None:
            self._core.close()
            self._core = None
        if self._changes is not None:
            self._changes.remove()
            self._changes = None

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inside

    def _check_stopped(self) -> None:
        if self._running:
            raise ConfigurationError("the machine runs: end that with core.request_exit first")

    def _check_level(self, el: int) -> None:
        if el not in (1, 2):
            raise ConfigurationError(f"an image starts at EL1 or EL2 here, not at EL{el}")

    def _make_core(self) -> Core:
        if self._closed:
            raise ConfigurationError("this machine is closed")
        core = self._new_core32() if self.is_aarch32 else self._new_core64()
        if self._core_port is not None:
            from smmu_emu.smmuv3.clients import Changes

            self._changes = Changes(self.smmu, core.forget_translations)
        gic = self.board.gic
        core.physical_timer.sink = gic.ppi(PHYSICAL_TIMER_PPI)
        core.virtual_timer.sink = gic.ppi(VIRTUAL_TIMER_PPI)
        core.hypervisor_timer.sink = gic.ppi(HYPERVISOR_TIMER_PPI)
        self.connect_interrupts(core)
        return core

    def connect_interrupts(self, core: Core) -> None:
        """Let the GIC drive a core that is about to start."""
        gic = self.board.gic
        pairs = [(gic.cpu.irq, core.irq), (gic.cpu.fiq, core.fiq)]
        if self.board.gicv3 is not None:
            virtual, inputs = self.board.gicv3.cpu.virtual, cast("Any", core)
            pairs += [(virtual.virq, inputs.virq), (virtual.vfiq, inputs.vfiq)]
        for output, line in pairs:
            output.sink = line.set
            line.set(output.level)

    def _new_core64(self) -> Core:
        from smmu_emu.cpu.aarch64 import Aarch64Core

        core = Aarch64Core(
            self.memory,
            self.clock,
            self.cpu_model,
            console=self._print,
            command_line=self.command_line,
            unmodelled=self._core_lacks,
            client=self._make_client(),
        )
        if self.board.gicv3 is not None:
            core.system_device = self.board.gicv3.cpu
        return core

    def _new_core32(self) -> Core:
        from smmu_emu.cpu.aarch32 import Aarch32Core

        if self.board.gicv3 is not None:
            raise ConfigurationError(f"a {self.cpu_model} cannot have a GICv3: use the GICv2")
        return Aarch32Core(
            self.memory,
            self.clock,
            self.cpu_model,
            console=self._print,
            command_line=self.command_line,
            unmodelled=self._core_lacks,
            client=self._make_client(),
        )

    def _check_core_stream(self, stream_id: int | None, substream_id: int | None) -> DmaPort | None:
        """The core's own way to memory, if it is a client of the SMMU."""
        if stream_id is None:
            if substream_id is not None:
                raise ConfigurationError("a SubstreamID of the core needs a StreamID, too")
            return None
        if self.board.smmu is None:
            raise ConfigurationError("the core cannot be behind an SMMU: this machine has none")
        for name, value, bits in (("Stream", stream_id, 32), ("Substream", substream_id, 20)):
            if value is not None and not 0 <= value < 1 << bits:
                raise ConfigurationError(f"{name}ID {value:#x} of the core has not {bits} bits")
        return DmaPort(self.memory, self.board.smmu, stream_id, "core")

    def _make_client(self) -> Client | None:
        port = self._core_port
        if port is None:
            return None
        from smmu_emu.cpu.client import Client
        from smmu_emu.smmuv3.clients import look

        return Client(port, self._core_substream, partial(look, self.smmu))

    def _print(self, data: bytes) -> None:
        self.output += data
        if self.console is not None:
            self.console(data)

    def _current_pc(self) -> int | None:
        core = self.running_core
        return None if core is None else core.pc

    def _core_lacks(self, what: str, pc: int) -> None:
        self.reporter.add(Site(None, pc, "access", what))


def _result(info: ExitInfo) -> RunResult:
    status = EXIT_STATUS.get(info.kind, info.status & 0xFF)
    return RunResult(info.kind, status, info.reason, info.pc, info.instructions)
