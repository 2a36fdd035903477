# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens at rest: structures change, a device acts of its own mind.

Structures are found as the SMMU would find them (`smmu_emu.inject.locate`). If there is nothing to
change (no such entry, an empty queue), the fault has not fired and waits for the next occasion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from smmu_emu.ats import PageRequest
from smmu_emu.inject.change import changed
from smmu_emu.inject.effects import Dma, Drop, PageRequests
from smmu_emu.inject.locate import Structure, cached, structures
from smmu_emu.smmuv3.queue import Queue
from smmu_emu.transaction import Fault, Transaction

if TYPE_CHECKING:
    from smmu_emu.inject.armed import Access, Armed
    from smmu_emu.inject.injector import Injector

_PAGE = 0x1000
_GROUPS = 512


def act(injector: Injector, one: Armed, access: Access) -> None:
    """Do what a fault at rest does, now."""
    _ACTS[one.fault.site](injector, one, access)


def _target(one: Armed, access: Access) -> Transaction:
    """The transaction whose structures are meant."""
    target = one.fault.target
    stream = target.stream if target.stream is not None else access.stream
    iova = target.iova if target.iova is not None else access.iova
    substream = access.substream if target.substream is None else target.substream
    return Transaction(stream or 0, iova or 0, access.write, substream_id=substream)


def _structure(injector: Injector, one: Armed, access: Access) -> None:
    transaction = _target(one, access)
    found = [
        found
        for found in structures(injector.smmu, transaction)
        if found.what == one.fault.site and _is_meant(one, found)
    ]
    if not found:
        one.came_to_nothing(f"stream {transaction.stream_id:#x} reaches no such {one.fault.site}")
        return
    where = found[-1]
    level = f" of stage {where.stage} level {where.level}" if where.stage else ""
    what = f"{where.what}{level} at {where.address:#x}"
    _edit_memory(injector, one, access, where.address, where.size, what)


def _is_meant(one: Armed, found: Structure) -> bool:
    target = one.fault.target
    return target.level in (None, found.level) and target.stage in (None, found.stage)


def _edit_memory(
    injector: Injector, one: Armed, access: Access, address: int, size: int, what: str
) -> None:
    memory = injector.machine.memory
    before = memory.read(address, size)
    if before is None:
        one.came_to_nothing(f"there is no memory at {address:#x}")
        return
    after = changed(one.fault.effect, before, one.random, one.fault.site)
    memory.write(address, after)
    injector.tell(one, what, before, after, f"before {access}")


def _entry_of(injector: Injector, one: Armed, access: Access, queue: Queue, index: int) -> None:
    what = f"{one.fault.site} in slot {index & queue.index_mask >> 1:#x}"
    _edit_memory(injector, one, access, queue.address(index), queue.entry_size, what)


def _command(injector: Injector, one: Armed, access: Access) -> None:
    """The oldest command that waits; if none does, the one that the next doorbell is about."""
    queue = injector.smmu.commands.queue
    _entry_of(injector, one, access, queue, queue.prod if queue.empty else queue.cons)


def _event(injector: Injector, one: Armed, access: Access) -> None:
    queue = injector.smmu.event_queue
    if queue.empty:
        one.came_to_nothing("the event queue was empty each time")
        return
    _entry_of(injector, one, access, queue, queue.prod - 1)


def _tlb_entry(injector: Injector, one: Armed, access: Access) -> None:
    transaction = _target(one, access)
    entry = cached(injector.smmu, transaction)
    if entry is None:
        one.came_to_nothing("nothing was cached for it")
        return
    what = f"TLB entry of {entry.base:#x}"
    before = entry.page.to_bytes(8, "little")
    if isinstance(one.fault.effect, Drop):
        injector.smmu.tlb.drop(entry)
        injector.tell(one, what, before, before, "dropped")
        return
    after = changed(one.fault.effect, before, one.random)
    entry.page = int.from_bytes(after, "little") & ~entry.mask
    injector.tell(one, what, before, entry.page.to_bytes(8, "little"), f"before {access}")


def _register(injector: Injector, one: Armed, access: Access) -> None:
    name = one.fault.target.register or ""
    values = injector.smmu.registers.values
    size = 8 if name.endswith(("BASE", "CFG0")) else 4
    before = values[name].to_bytes(size, "little")
    after = changed(one.fault.effect, before, one.random)
    values[name] = int.from_bytes(after, "little")
    injector.tell(one, f"register {name}", before, after, f"before {access}")


def _device(injector: Injector, one: Armed, access: Access) -> None:
    effect = one.fault.effect
    if isinstance(effect, PageRequests):
        _ask_for_pages(injector, one, access, effect)
    elif isinstance(effect, Dma):
        _send(injector, one, access, effect)


def _send(injector: Injector, one: Armed, access: Access, effect: Dma) -> None:
    stream = effect.stream if effect.stream is not None else access.stream or 0
    iova = effect.iova if effect.iova is not None else access.iova or 0
    dma = injector.machine.dma(stream)
    data = bytes([effect.pattern & 0xFF]) * effect.size
    what = f"{'write' if effect.write else 'read'} of stream {stream:#x} iova {iova:#x}"
    done: object
    if effect.translated:
        what = f"Translated {what}"
        sent = Transaction(stream, iova, effect.write, substream_id=effect.substream)
        answer = injector.smmu.ats.translated(sent)
        if isinstance(answer, Fault):
            done = not answer.abort
        elif effect.write:
            done = dma.memory.write(answer.pa, data)
        else:
            done = dma.memory.read(answer.pa, effect.size) is not None
    elif effect.write:
        done = dma.write(iova, data, substream_id=effect.substream)
    else:
        done = dma.read(iova, effect.size, substream_id=effect.substream) is not None
    injector.tell(one, what, note="passed" if done else "aborted")


def _ask_for_pages(injector: Injector, one: Armed, access: Access, effect: PageRequests) -> None:
    stream = effect.stream if effect.stream is not None else access.stream or 0
    for number in range(effect.count):
        request = PageRequest(
            stream,
            effect.iova + number * _PAGE & (1 << 64) - 1,
            number % _GROUPS,
            read=True,
            write=True,
            substream_id=effect.substream,
        )
        injector.smmu.ats.page_request(request)
    injector.tell(one, f"{effect.count} page requests of stream {stream:#x}")


_ACTS: dict[str, Callable[[Injector, Armed, Access], None]] = {
    "ste": _structure,
    "cd": _structure,
    "descriptor": _structure,
    "command": _command,
    "event": _event,
    "tlb-entry": _tlb_entry,
    "register": _register,
    "device": _device,
}
