# SPDX-License-Identifier: GPL-2.0-or-later
"""A core that is itself a client of an SMMU: each of its accesses is a transaction of one stream.

The core has no MMU of its own then: virtual addresses, all 64 bits of them, are input addresses of
the SMMU. Loads are reads, stores are writes, fetches are instruction reads; EL0 and the LDTR and
STTR forms are unprivileged. The first access of each kind and privilege to a page of 4 KiB is a
transaction at the address that the instruction names; what the SMMU answered serves until it drops
anything at all (`ClientEngine.forget`), so the core never uses what the SMMU would not hit itself.

A refused access is an external abort, synchronous and at its instruction. Where the SMMU refuses
without an abort (CD.A = 0), loads give zero, stores do nothing, and fetched code is undefined;
nothing of that is kept. The core cannot wait, so nothing of it is stalled.

Debuggers and semihosting look at memory the same way without being transactions.

Left out: the core's own MMU. SCTLR_ELx.M and its tables change nothing; whoever sets it is told of.

Reference: IHI 0070 3.12 (masters that cannot wait), 13.1.3; DDI 0487 D1.4.2.1 (external aborts).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from smmu_emu.cpu import abi
from smmu_emu.cpu.engine import Engine
from smmu_emu.cpu.exceptions import EXTERNAL_ABORT, WRITE_NOT_READ
from smmu_emu.cpu.execution import Execution
from smmu_emu.cpu.loadstore import is_unprivileged
from smmu_emu.cpu.mmio import InstructionPlans
from smmu_emu.cpu.names import SYSTEM
from smmu_emu.cpu.pace import Pace, PendingException
from smmu_emu.memory import PAGE, PhysicalMemory
from smmu_emu.port import DmaPort
from smmu_emu.transaction import Fault, Transaction

_PAGE_LG2 = 12
_KINDS = {16: abi.PROT_READ, 17: abi.PROT_WRITE, 18: abi.PROT_EXEC}
"""What the engine calls a load, a store and a fetch."""
_SCTLR = {level: SYSTEM[f"SCTLR_EL{max(level, 1)}"] for level in range(3)}
"""Whose bit 0 enables the MMU that a level would use."""
_MMU_ENABLE = 1


class Client(NamedTuple):
    """What makes a core a client: its way to the SMMU, its SubstreamID, and a look that is none.

    ``look`` answers the physical address that a transaction would get now, or None; the SMMU does
    not notice.
    """

    port: DmaPort
    substream_id: int | None
    look: Callable[[Transaction], int | None]


class SmmuClient(Execution):
    """An engine whose TLB misses go to an SMMU: `_become_client` of one without an MMU, then
    `connect` it before guest code runs.
    """

    def _become_client(self, memory: PhysicalMemory, client: Client) -> None:
        assert client.port.translator is not None
        self._memory = memory
        self._client = client
        self._translator = client.port.translator
        self._fills: dict[int, tuple[int, int]] = {}
        """Frame and permissions by page number, doubled, plus 1 for privileged accesses."""
        self._bypassed = True
        self._stale = False
        self._own_mmu = False
        from unicorn import unicorn_const

        self.hook(unicorn_const.UC_HOOK_TLB_FILL, abi.TlbMissed(self._missed))
        self._nowhere = _free_page(memory)
        self.map_window(self._nowhere, PAGE, lambda *_: 0, lambda *_: None)

    def connect(
        self, pace: Pace, plans: InstructionPlans, report: Callable[[str, int], None]
    ) -> None:
        """From now on the guest runs. ``report`` hears of what the core lacks here."""
        self._pace = pace
        self._plans = plans
        self._report = report
        self._bypassed = False
        self.flush_tlb()

    # -- what was answered

    def forget(self) -> None:
        """The SMMU may answer otherwise now: ask it anew, from the next instruction on."""
        self._stale = True
        if not self._bypassed:
            self._pace.interrupt()

    def settle(self) -> None:
        """Between slices: do what `forget` asked for."""
        if self._stale:
            self.flush_tlb()

    def flush_tlb(self) -> None:
        """Forget every answer of the SMMU."""
        self._stale = False
        self._fills.clear()
        super().flush_tlb()

    def keep_state(self) -> object:
        """What `put_back_state` takes: the answers of the SMMU are part of it."""
        super().flush_tlb()
        return self.save(), tuple(self._fills.items()), self._stale, self._own_mmu

    def put_back_state(self, kept: Any) -> None:
        """Bring back what `keep_state` gave."""
        state, fills, stale, own_mmu = kept
        self.deaf = False
        self.restore(state)
        self.settle_state()
        self.flush_tlb()
        self._fills.update(fills)
        self._stale, self._own_mmu = stale, own_mmu

    def pack_state(self, kept: Any) -> Any:
        """What `keep_state` gave, as plain data."""
        state, *rest = kept
        return (super().pack_state(state), *rest)

    def unpack_state(self, packed: Any) -> object:
        """What `put_back_state` takes.

        Raises: ConfigurationError if the engine that packed it was another.
        """
        state, *rest = packed
        return (super().unpack_state(state), *rest)

    # -- a TLB miss of the engine

    def _missed(self, _engine: object, va: int, kind: int, cell: Any, _user: object) -> bool:
        """Answer where the engine's page at ``va`` is, or refuse."""
        try:
            entry = cell[0]
            if self._bypassed:
                entry.paddr, entry.perms = va, abi.PROT_ALL
                return True
            wanted = _KINDS[kind]
            fetch = wanted == abi.PROT_EXEC
            privileged = self.level > 0 and (fetch or not self._is_unprivileged())
            if fetch:
                self._check_own_mmu()
            key = va >> _PAGE_LG2 << 1 | privileged
            fill = self._fills.get(key)
            if fill is None or not fill[1] & wanted:
                fill = self._ask(va, wanted, privileged, fill)
                if fill is None:
                    return False
                if fill[0] != self._nowhere:
                    self._fills[key] = fill
            entry.paddr, entry.perms = fill[0] | va & PAGE - 1, fill[1]
            return True
        except BaseException as error:
            self._pace.fail(error)
            return False

    def _ask(
        self, va: int, wanted: int, privileged: bool, known: tuple[int, int] | None
    ) -> tuple[int, int] | None:
        """One transaction; None if the access takes an exception instead."""
        pace, port = self._pace, self._client.port
        fetch, write = wanted == abi.PROT_EXEC, wanted == abi.PROT_WRITE
        if fetch:
            pace.sync_to_fetch()
        else:
            pace.sync()
        iova = self._address(va, fetch)
        transaction = Transaction(
            port.stream_id, iova, write, privileged, fetch, self._client.substream_id
        )
        port.transactions += 1
        answer = self._translator.translate(transaction)
        pace.settle()
        if isinstance(answer, Fault):
            port.last_fault = answer
            return self._refused(answer, iova, wanted)
        port.last_fault = None
        frame = answer.pa & -PAGE
        if known is not None and known[0] == frame:
            wanted |= known[1]
        return frame, wanted

    def _refused(self, fault: Fault, iova: int, wanted: int) -> tuple[int, int] | None:
        pace = self._pace
        if wanted == abi.PROT_EXEC:
            iss, far = (EXTERNAL_ABORT, iova) if fault.abort else (0, None)
            abort = fault.abort
            pace.refuse(PendingException(data_abort=False, iss=iss, far=far, fetch_abort=abort))
            return None
        if not fault.abort:
            self.forget()
            return self._nowhere, abi.PROT_READ | abi.PROT_WRITE
        iss = EXTERNAL_ABORT | (WRITE_NOT_READ if wanted == abi.PROT_WRITE else 0)
        pace.refuse(PendingException(data_abort=True, iss=iss, far=iova))
        return None

    def _address(self, va: int, fetch: bool) -> int:
        """The first byte that the instruction at PC touches in the 4 KiB page of ``va``."""
        page = va & -PAGE
        pc = self.pc
        if fetch:
            return pc if pc & -PAGE == page else va
        access = self._plans.at(pc)[3]
        if access is None:
            return va
        first = self._plans.address(access)
        if first & -PAGE == page:
            return first
        last = first + access.total - 1 & self.address_mask
        return page if last & -PAGE == page else va

    @abstractmethod
    def _is_unprivileged(self) -> bool:
        """Whether the load or store at PC is made as though by the lowest level."""

    @abstractmethod
    def _own_mmu_name(self) -> str:
        """The bit by which the guest enabled the MMU of its present level; empty if it did not."""

    def _check_own_mmu(self) -> None:
        """Tell of each time that the guest enables its MMU; the engine fetches anew then."""
        name = self._own_mmu_name()
        if name and not self._own_mmu:
            what = f"{name} = 1: the core has no MMU of its own behind the SMMU"
            self._report(what, self.pc - 4 & self.address_mask)
        self._own_mmu = bool(name)

    # -- the engine's own questions

    def translate(self, va: int, access: int) -> int | None:
        """Physical address for an access at the present level, or None: never a transaction."""
        privileged = self.level > 0
        fill = self._fills.get(va >> _PAGE_LG2 << 1 | privileged)
        if fill is not None and fill[1] & access and not self._stale:
            return fill[0] | va & PAGE - 1
        stream_id, substream_id = self._client.port.stream_id, self._client.substream_id
        write, fetch = access == abi.PROT_WRITE, access == abi.PROT_EXEC
        return self._client.look(Transaction(stream_id, va, write, privileged, fetch, substream_id))

    def memory_attributes(self, va: int) -> int:
        """Device-nGnRnE: the core's MMU is off."""
        return 0

    def drop_code(self, va: int, size: int) -> None:
        """Forget translated code; all of it, since the engine would ask where ``va`` is."""
        self.drop_all_code()


class ClientEngine(SmmuClient, Engine):
    """An AArch64 core that is a client of an SMMU."""

    def __init__(self, memory: PhysicalMemory, model: str, client: Client) -> None:
        Engine.__init__(self, memory, model, own_mmu=False)
        self._become_client(memory, client)

    def _is_unprivileged(self) -> bool:
        pc = self.pc
        pa = self.translate(pc, abi.PROT_EXEC)
        ram = self._memory.find_ram(pa, 4) if pa is not None else None
        if ram is None or pa is None:
            return False
        at = pa - ram.base
        return is_unprivileged(int.from_bytes(ram.view[at : at + 4], "little"))

    def _own_mmu_name(self) -> str:
        level = self.level
        enabled = self.get_system(_SCTLR[level]) & _MMU_ENABLE
        return f"SCTLR_EL{max(level, 1)}.M" if enabled else ""

    def drop_physical_code(self, pa: int, size: int) -> None:
        """Forget translated code at a physical address, whatever maps it. Not while running."""
        self._bypassed = True
        super().drop_physical_code(pa, size)
        self._bypassed = False
        Execution.flush_tlb(self)


def _free_page(memory: PhysicalMemory) -> int:
    """A page that no RAM and no window has, for accesses that go nowhere."""
    ends = [ram.base + ram.size for ram in memory.rams]
    ends += [window.base + window.size for window in memory.windows]
    return -(-max(ends, default=0) // PAGE) * PAGE
