# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands, QEMU's way: which are refused, and what the others do. Spec: IHI 0070 4.1 to 4.8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .fields import Command, low_mask
from .invalidate import (
    TLBI_NH_ALL,
    TLBI_NH_ASID,
    TLBI_NH_VA,
    TLBI_NH_VAA,
    TLBI_NSNH_ALL,
    TLBI_S2_IPA,
    TLBI_S12_VMALL,
    invalidate,
)

if TYPE_CHECKING:
    from .twin import Twin

PREFETCH_CONFIG, PREFETCH_ADDR = 0x01, 0x02
CFGI_STE, CFGI_STE_RANGE, CFGI_CD, CFGI_CD_ALL = 0x03, 0x04, 0x05, 0x06
SYNC = 0x46
# EL3 and EL2 invalidations, ATC_INV, PRI_RESP, RESUME, STALL_TERM
_IGNORED = {0x18, 0x1A, 0x20, 0x21, 0x22, 0x23, 0x40, 0x41, 0x44, 0x45}

_PREFETCH = {PREFETCH_CONFIG, PREFETCH_ADDR}
_CFGI = {CFGI_STE, CFGI_STE_RANGE, CFGI_CD, CFGI_CD_ALL}
_STAGE1 = {TLBI_NH_ALL, TLBI_NH_ASID, TLBI_NH_VA, TLBI_NH_VAA}
_STAGE2 = {TLBI_S12_VMALL, TLBI_S2_IPA}
_TLBI = _STAGE1 | _STAGE2 | {TLBI_NSNH_ALL}
_BY_ADDRESS = {TLBI_NH_VA, TLBI_NH_VAA, TLBI_S2_IPA}
_KNOWN = _PREFETCH | _CFGI | _TLBI | {SYNC}


def execute(twin: Twin, command: Command) -> bool:
    """Carry out ``command``; False where it is illegal."""
    if twin.acts("illegal-commands", _is_refused(twin, command), _is_illegal(twin, command)):
        return False
    if command.opcode in _CFGI:
        _drop_configurations(twin, command)
    elif command.opcode in _TLBI:
        invalidate(twin, command)
    elif command.opcode == SYNC and command.completion & 1:
        twin.pulse_sync()
    return True


def _drop_configurations(twin: Twin, command: Command) -> None:
    """Forget STE and CD of the StreamIDs named, taken modulo 2^16 unless they are a range."""
    if command.opcode == CFGI_STE_RANGE:
        mask = low_mask(command.range + 1)
        first = command.stream_id & ~mask
        named = {stream_id for stream_id in twin.configs if first <= stream_id <= first + mask}
        twin.result.dropped_streams |= named
    else:
        named = {command.stream_id & 0xFFFF}
        if command.opcode != CFGI_CD or not command.substream_id:
            twin.result.dropped_streams.add(command.stream_id)
    for stream_id in named & twin.configs.keys():
        del twin.configs[stream_id]


def _is_refused(twin: Twin, command: Command) -> bool:
    """Say whether QEMU answers CERROR_ILL."""
    opcode = command.opcode
    if opcode in _CFGI and command.ssec:
        return True
    if opcode in (CFGI_CD, CFGI_CD_ALL):
        return not twin.has_stage1 and command.stream_id & 0xFFFF in twin.functions
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
    if opcode in _CFGI | _PREFETCH and command.ssec:
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
