# SPDX-License-Identifier: GPL-2.0-or-later
"""Unicorn as an execution engine: slices of instructions, registers, translations, nothing more.

What both execution states have in common; `engine` and `engine32` know the rest. What an exception
or an interrupt means is decided elsewhere. Rules kept here:

- Guest code runs only in counted slices. That makes PC exact in every callback, and a slice is
  ended early by lowering its limit, never by asking Unicorn to stop: a stop from a callback would
  restart the instruction that is executing.
- Exit addresses are enabled and empty, so that no guest address means "stop here"; it also takes
  the fixed cost of a slice from 50 to 1.5 microseconds.
- No hook on interrupts exists: an exception ends the slice with EXCEPTION, and the syndrome is
  read from the engine's memory.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from smmu_emu.cpu import abi
from smmu_emu.cpu.layout import FIQ_REQUEST, IRQ_REQUEST, VFIQ_REQUEST, VIRQ_REQUEST, Layout
from smmu_emu.errors import ConfigurationError
from smmu_emu.memory import PhysicalMemory

MASK64 = (1 << 64) - 1
_CONTEXT_HEADER = 32
"""Bytes of a saved context that are about the context itself; behind them is the core's state."""


class Syndrome(NamedTuple):
    """What the engine says about the exception that ended a slice."""

    esr: int
    far: int
    target_el: int


class Batch:
    """Several registers that are read or written in one call: ``values`` in the order of names."""

    unsaved = ("*",)

    def __init__(self, handle: Any, numbers: Mapping[str, int], names: tuple[str, ...]) -> None:
        count = len(names)
        cells = (ctypes.c_uint64 * count)()
        first = ctypes.addressof(cells)
        self.values: memoryview = memoryview(cells).cast("B").cast("Q")
        self._call = (
            handle,
            (ctypes.c_int32 * count)(*(numbers[name] for name in names)),
            (ctypes.c_void_p * count)(*(first + 8 * i for i in range(count))),
            count,
        )
        library = abi.library()
        self._read, self._write = library.uc_reg_read_batch, library.uc_reg_write_batch

    def read(self) -> memoryview:
        """Fetch and answer the values; registers of 32 bits leave the upper halves alone."""
        self._read(*self._call)
        return self.values

    def write(self) -> None:
        """Store the values."""
        self._write(*self._call)


class Execution(ABC):
    """One Unicorn engine over a memory map's RAM; windows are added with `map_window`.

    ``uc`` is new; ``model`` is Unicorn's number of the core. Without ``own_mmu`` a hook on TLB
    misses has to be added, which says where pages are.
    """

    unsaved = ("*",)

    address_mask = MASK64
    pc_index: int
    """PC's place in ``registers``."""
    registers: memoryview
    """The general registers and PC."""
    exceptions: frozenset[int] = frozenset((abi.EXCEPTION,))
    """What `start` answers when the guest takes an exception."""

    def __init__(
        self,
        memory: PhysicalMemory,
        uc: Any,
        model: int,
        numbers: Mapping[str, int],
        *,
        own_mmu: bool = True,
    ) -> None:
        from unicorn import unicorn_const

        self._numbers = numbers
        self._lib = lib = abi.library()
        self._uc = uc
        self._handle: Any = uc._uch
        uc.ctl_set_cpu_model(model)
        uc.ctl_set_tlb_mode(unicorn_const.UC_TLB_CPU if own_mmu else unicorn_const.UC_TLB_VIRTUAL)
        uc.ctl_exits_enabled(True)
        self._rams = list(memory.rams)
        for ram in self._rams:
            abi.check(
                lib.uc_mem_map_ptr(
                    self._handle,
                    ram.base,
                    ram.size,
                    abi.PROT_ALL,
                    ctypes.c_void_p(ram.host_address),
                ),
                f"mapping RAM at {ram.base:#x}",
            )
        self._kept: list[object] = []
        self.deaf = False
        """Callbacks of windows do nothing and answer 0: nobody means their device just now."""
        self._physical = ctypes.c_uint64()
        self._value = ctypes.c_uint64()
        self._pointer = ctypes.byref(self._value)

    def _find_state(self, layout: Layout) -> int:
        """Attach to what the interface does not show; the address of the first register."""
        handle = self._handle.value
        words = (ctypes.c_uint64 * (layout.limit + 1)).from_address(handle)
        cpu = ctypes.c_uint64.from_address(handle + 8 * layout.cpu).value
        registers: int = cpu + layout.registers
        syndrome = registers + layout.syndrome
        self.counters: memoryview = memoryview(words).cast("B").cast("Q")[layout.counter :]
        self._esr = ctypes.c_uint32.from_address(syndrome)
        self._fault_status = ctypes.c_uint32.from_address(syndrome + 4)
        self._far = ctypes.c_uint64.from_address(syndrome + 8)
        self._target = ctypes.c_uint32.from_address(syndrome + 16)
        self._requests = ctypes.c_uint32.from_address(cpu + layout.requests)
        self._lines = ctypes.c_uint32.from_address(registers + layout.lines)
        return registers

    def close(self) -> None:
        """Free the engine. RAM stays with the memory map."""
        self.registers.release()
        self.counters.release()
        self._uc = None
        self._kept.clear()

    # -- what differs between the execution states

    @property
    @abstractmethod
    def level(self) -> int:
        """The present exception level."""

    @property
    def in_aarch32(self) -> bool:
        """Whether the core left the execution state that is modelled."""
        return False

    @abstractmethod
    def skip_instruction(self) -> None:
        """Go on behind the instruction at PC."""

    @abstractmethod
    def settle_state(self) -> None:
        """After a change of PSTATE or of everything: rebuild what the engine derives from it."""

    @abstractmethod
    def memory_attributes(self, va: int) -> int:
        """The MAIR byte of a data address that the present level can read; 0 with the MMU off."""

    @abstractmethod
    def drop_physical_code(self, pa: int, size: int) -> None:
        """Forget translated code at a physical address, whatever maps it. Not while running."""

    # -- executing

    def start(self, count: int) -> int:
        """Execute up to ``count`` instructions from PC; one of `abi`'s error codes."""
        error: int = self._lib.uc_emu_start(
            self._handle, self.registers[self.pc_index], 0, 0, count
        )
        return error

    @property
    def begun(self) -> int:
        """Instructions begun in this slice, the one that is executing included."""
        counter, limit = self.counters[0], self.counters[1]
        return counter if counter < limit else limit

    def end_slice_at(self, count: int) -> None:
        """End the running slice after ``count`` of its instructions, or before if it would anyway.

        If that many have begun already it ends after the one that is executing.
        """
        counters = self.counters
        counters[1] = min(counters[1], max(counters[0], count))

    def end_slice(self) -> None:
        """End the running slice right after the instruction that is executing."""
        counters = self.counters
        counters[1] = min(counters[1], counters[0])  # it may be ending before that one

    def stop_before_block(self) -> None:
        """Stop before a new block executes. Allowed only where Unicorn announces a new block."""
        self._lib.uc_emu_stop(self._handle)

    def stop_before_instruction(self) -> None:
        """Stop before an instruction executes, and do not count it.

        Allowed only where Unicorn announces an instruction.
        """
        counters = self.counters
        counters[1] = counters[0] - 1
        self._lib.uc_emu_stop(self._handle)

    @property
    def pc(self) -> int:
        """Address of the instruction that is executing, or that will be next."""
        pc: int = self.registers[self.pc_index]
        return pc

    @property
    def syndrome(self) -> Syndrome:
        """The last exception's syndrome."""
        return Syndrome(self._esr.value, self._far.value, self._target.value)

    def ask_for_interrupts(self, irq: bool, fiq: bool) -> None:
        """Drive the core's physical interrupt inputs. Not while running.

        An interrupt is taken before the next instruction that may be interrupted; the level it goes
        to and what masks it are as SCR_EL3, HCR_EL2 and PSTATE say (DDI 0487 D1.3.6).
        """
        others = self._requests.value & ~(IRQ_REQUEST | FIQ_REQUEST)
        self._requests.value = others | irq * IRQ_REQUEST | fiq * FIQ_REQUEST

    def ask_for_virtual_interrupts(self, virq: bool, vfiq: bool) -> None:
        """Likewise, of the virtual ones: they are asked for beside HCR_EL2.VI and VF."""
        self._lines.value = virq * VIRQ_REQUEST | vfiq * VFIQ_REQUEST
        self.settle_state()

    # -- registers

    def get(self, name: str) -> int:
        """A register that Unicorn has a name for, such as "SP"."""
        error = self._lib.uc_reg_read(self._handle, self._numbers[name], self._pointer)
        if error:
            abi.check(error, f"reading {name}")
        return self._value.value

    def set(self, name: str, value: int) -> None:
        """Write a register that Unicorn has a name for."""
        self._value.value = value
        error = self._lib.uc_reg_write(self._handle, self._numbers[name], self._pointer)
        if error:
            abi.check(error, f"writing {name}")
        self._value.value = 0

    def batch(self, *names: str) -> Batch:
        """Registers that Unicorn has names for, to be read or written together."""
        return Batch(self._handle, self._numbers, names)

    def has(self, name: str) -> bool:
        """Whether Unicorn has a name for this register."""
        return name in self._numbers

    # -- the whole state

    def save(self) -> object:
        """Registers and system state, to be given back to `restore`. RAM is not part of it."""
        return self._uc.context_save()

    def restore(self, state: object) -> None:
        """Bring back what `save` gave. The TLB and interrupts asked for stay as they are."""
        self._uc.context_restore(state)

    def keep_state(self) -> object:
        """What `put_back_state` takes. The TLB is empty then, as it is after that."""
        self.flush_tlb()
        return self.save()

    def put_back_state(self, kept: object) -> None:
        """Bring back what `keep_state` gave. What was asked of interrupts stays as it is."""
        self.deaf = False
        self.restore(kept)
        self.settle_state()
        self.flush_tlb()

    def pack_state(self, kept: Any) -> Any:
        """What `keep_state` gave, as bytes for `unpack_state` of an engine of the same build."""
        return bytes(kept)[_CONTEXT_HEADER:]

    def unpack_state(self, packed: Any) -> object:
        """What `put_back_state` takes.

        Raises: ConfigurationError if the engine that packed it was another.
        """
        context: Any = self._uc.context_save()
        if len(packed) != context.size - _CONTEXT_HEADER:
            raise ConfigurationError("the core's state is of another build of Unicorn")
        address = ctypes.cast(context.context, ctypes.c_void_p).value
        ctypes.memmove((address or 0) + _CONTEXT_HEADER, packed, len(packed))
        return context

    # -- translation, of addresses and of code

    def translate(self, va: int, access: int) -> int | None:
        """Physical address for an access (`abi.PROT_READ` ...) at the present level, or None."""
        deaf, self.deaf = self.deaf, True  # the walk may lead into a window
        error = self._lib.uc_vmem_translate(self._handle, va, access, ctypes.byref(self._physical))
        self.deaf = deaf
        return None if error else self._physical.value

    def flush_tlb(self) -> None:
        """Forget every cached translation of addresses."""
        from unicorn import unicorn_const

        self._uc.ctl(unicorn_const.UC_CTL_TLB_FLUSH, unicorn_const.UC_CTL_IO_WRITE)

    def settle(self) -> None:  # noqa: B027
        """Between slices: what callbacks of the engine put off."""

    def drop_all_code(self) -> None:
        """Forget all translated code."""
        self._uc.ctl_flush_tb()

    def drop_code(self, va: int, size: int) -> None:
        """Forget translated code at a virtual address of the present regime. Not while running."""
        self._uc.ctl_remove_cache(va, va + size)

    # -- what the guest can meet

    def map_window(
        self,
        base: int,
        size: int,
        read: Callable[..., int],
        write: Callable[..., None],
    ) -> None:
        """Call ``read(_, offset, size, _)`` and ``write(_, offset, size, value, _)`` there.

        They must not raise.
        """
        on_read, on_write = abi.MmioRead(read), abi.MmioWrite(write)
        self._kept += (on_read, on_write)
        abi.check(
            self._lib.uc_mmio_map(self._handle, base, size, on_read, None, on_write, None),
            f"mapping a window at {base:#x}",
        )

    def map_rom(self, base: int, size: int, host_address: int) -> None:
        """Let the guest read and execute these bytes of this process there, and not write."""
        access = abi.PROT_READ | abi.PROT_EXEC
        abi.check(
            self._lib.uc_mem_map_ptr(
                self._handle, base, size, access, ctypes.c_void_p(host_address)
            ),
            f"mapping flash at {base:#x}",
        )

    def unmap(self, base: int, size: int) -> None:
        """Take away what was mapped there. Not while running."""
        abi.check(self._lib.uc_mem_unmap(self._handle, base, size), f"unmapping {base:#x}")

    def hook(self, kind: int, callback: object, begin: int = 1, end: int = 0, *more: int) -> int:
        """Add a hook; ``callback`` is a C function of `abi`. It covers everything by default.

        Answers what `unhook` takes.
        """
        handle = ctypes.c_size_t()
        self._kept.append(callback)
        abi.check(
            self._lib.uc_hook_add(
                self._handle,
                ctypes.byref(handle),
                kind,
                callback,
                None,
                ctypes.c_uint64(begin),
                ctypes.c_uint64(end),
                *more,
            ),
            "adding a hook",
        )
        return handle.value or 0

    def unhook(self, hook: int) -> None:
        """Take a hook away, and then drop the code that calls it. Not while running."""
        abi.check(self._lib.uc_hook_del(self._handle, ctypes.c_size_t(hook)), "removing a hook")
