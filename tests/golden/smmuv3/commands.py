# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands, QEMU's way: what they drop from the caches, and which are refused.

Spec: IHI 0070 4.1 to 4.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .fields import MASK64, Command, low_mask
from .tlb import Entry, Key

if TYPE_CHECKING:
    from .twin import Twin

PREFETCH_CONFIG, PREFETCH_ADDR = 0x01, 0x02
CFGI_STE, CFGI_STE_RANGE, CFGI_CD, CFGI_CD_ALL = 0x03, 0x04, 0x05, 0x06
TLBI_NH_ALL, TLBI_NH_ASID, TLBI_NH_VA, TLBI_NH_VAA = 0x10, 0x11, 0x12, 0x13
TLBI_S12_VMALL, TLBI_S2_IPA, TLBI_NSNH_ALL = 0x28, 0x2A, 0x30
SYNC = 0x46
# EL3 and EL2 invalidations, ATC_INV, PRI_RESP, RESUME, STALL_TERM
_IGNORED = {0x18, 0x1A, 0x20, 0x21, 0x22, 0x23, 0x40, 0x41, 0x44, 0x45}

_STAGE1 = {TLBI_NH_ALL, TLBI_NH_ASID, TLBI_NH_VA, TLBI_NH_VAA}
_STAGE2 = {TLBI_S12_VMALL, TLBI_S2_IPA}
_BY_ADDRESS = {TLBI_NH_VA, TLBI_NH_VAA, TLBI_S2_IPA}
_CFGI = {CFGI_STE, CFGI_STE_RANGE, CFGI_CD, CFGI_CD_ALL}
_KNOWN = _CFGI | _STAGE1 | _STAGE2 | {PREFETCH_CONFIG, PREFETCH_ADDR, TLBI_NSNH_ALL, SYNC}


def execute(twin: Twin, command: Command) -> bool:
    """Carry out ``command``; False where it is illegal."""
    refused = twin.acts("illegal-commands", _is_refused(twin, command), _is_illegal(twin, command))
    if refused:
        return False
    opcode = command.opcode
    if opcode == SYNC:
        if command.completion & 1:
            twin.pulse_sync()
    elif opcode in (CFGI_STE, CFGI_CD, CFGI_CD_ALL):
        twin.configs.pop(command.stream_id & 0xFFFF, None)
    elif opcode == CFGI_STE_RANGE:
        mask = low_mask(command.range + 1)
        first = command.stream_id & ~mask
        for stream_id in [s for s in twin.configs if first <= s <= first + mask]:
            del twin.configs[stream_id]
    elif opcode in _STAGE1 | _STAGE2 | {TLBI_NSNH_ALL}:
        _invalidate(twin, command)
    return True


def _is_refused(twin: Twin, command: Command) -> bool:
    """Say whether QEMU answers CERROR_ILL."""
    opcode = command.opcode
    if opcode in _CFGI and command.ssec:
        return True
    if opcode in (CFGI_CD, CFGI_CD_ALL):
        return not twin.has_stage1 and twin.has_function(command.stream_id & 0xFFFF)
    if opcode in _STAGE1:
        return not twin.has_stage1
    if opcode in _STAGE2:
        return not twin.has_stage2
    return opcode not in _KNOWN | _IGNORED


def _is_illegal(twin: Twin, command: Command) -> bool:
    """Say whether the architecture wants CERROR_ILL, for an SMMU with QEMU's features."""
    opcode = command.opcode
    if opcode not in _KNOWN:
        return True
    if opcode in _CFGI | {PREFETCH_CONFIG, PREFETCH_ADDR} and command.ssec:
        return True
    if opcode == SYNC:
        return bool(command.completion == 3)
    if opcode in (CFGI_CD, CFGI_CD_ALL) or opcode in _STAGE1:
        absent = not twin.has_stage1
    else:
        absent = opcode in _STAGE2 and not twin.has_stage2
    return absent or (opcode in _BY_ADDRESS and _is_reserved_range(command))


def _is_reserved_range(command: Command) -> bool:
    ttl = 0 if command.tg == 2 and command.ttl == 1 else command.ttl
    return bool(command.tg) and not command.num and not command.scale and not ttl


def _invalidate(twin: Twin, command: Command) -> None:
    opcode = command.opcode
    vmid = command.vmid if twin.has_stage2 else -1
    entries = twin.tlb
    if opcode == TLBI_NSNH_ALL or (opcode == TLBI_NH_ALL and not twin.has_stage2):
        keys = list(entries.entries)
    elif opcode == TLBI_NH_ALL:
        keys = entries.select(lambda key, _: key[0] >= 0 and key[1] == vmid)
    elif opcode == TLBI_NH_ASID:
        keys = entries.select(lambda key, _: key[0] == command.asid and key[1] == vmid)
    elif opcode == TLBI_S12_VMALL:
        keys = entries.select(lambda key, _: key[1] == vmid)
    else:
        _invalidate_range(twin, command, vmid)
        return
    entries.remove(keys)


def _invalidate_range(twin: Twin, command: Command, vmid: int) -> None:
    """Split the range in aligned powers of two, as QEMU does, and drop what each piece touches."""
    if not command.tg:
        _invalidate_piece(twin, command, vmid, command.address, 1)
        return
    granule = 10 + 2 * command.tg
    start = command.address
    length = (command.num + 1 << command.scale) << granule
    while length:
        aligned = start & -start if start else 1 << 64
        size = min(aligned, 1 << length.bit_length() - 1)
        _invalidate_piece(twin, command, vmid, start, size >> granule)
        start, length = start + size & MASK64, length - size


def _invalidate_piece(twin: Twin, command: Command, vmid: int, start: int, pages: int) -> None:
    granule = 10 + 2 * command.tg if command.tg else 12
    asid = command.asid if command.opcode == TLBI_NH_VA else -1
    stage2 = command.opcode == TLBI_S2_IPA
    if command.ttl and pages == 1 and (stage2 or asid >= 0):
        # An exact match is sought with the granule that the command gives: none when TG is 0.
        key = (asid, vmid, start, granule if command.tg else 10, command.ttl)
        if key in twin.tlb.entries:
            twin.tlb.remove([key])
            return
    mask = (pages << granule) - 1 & MASK64

    def touches(key: Key, entry: Entry) -> bool:
        if key[0] >= 0 if stage2 else asid >= 0 and key[0] != asid:
            return False
        if key[1] != vmid and (stage2 or vmid >= 0):
            return False
        covered = start & ~entry.mask == entry.iova
        return covered or entry.iova & ~mask & MASK64 == start

    twin.tlb.remove(twin.tlb.select(touches))
