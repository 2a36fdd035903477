# SPDX-License-Identifier: GPL-2.0-or-later
"""Walks of the long-descriptor tables, QEMU's way, stage by stage.

Spec: DDI 0487 D8.2, D8.3, D8.4, D8.15; IHI 0070 3.4, 7.3.22.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .config import Config, Half, Stage2
from .events import (
    CLASS_IN,
    CLASS_TT,
    F_ACCESS,
    F_ADDR_SIZE,
    F_PERMISSION,
    F_TRANSLATION,
    F_WALK_EABT,
    Fault,
)
from .fields import bits, level_shift, low_mask, start_level
from .tlb import READ, WRITE, Entry

if TYPE_CHECKING:
    from .twin import Twin

_VALID, _TABLE, _ACCESSED = 1 << 0, 1 << 1, 1 << 10
_LAST = 3


def _output(descriptor: int, shift: int) -> int:
    return descriptor & low_mask(48) & ~low_mask(shift)


def _is_block_level(granule: int, level: int) -> bool:
    return level == 2 or (granule == 12 and level == 1)


def _first(*checks: tuple[bool, int]) -> int | None:
    """Return the event of the first check that fails."""
    return next((kind for fails, kind in checks if fails), None)


def _index(address: int, input_bits: int, level: int, granule: int) -> int:
    return (address & low_mask(input_bits)) >> level_shift(level, granule) & low_mask(granule - 3)


def walk_stage2(twin: Twin, stage2: Stage2, ipa: int, need: int, klass: int) -> Entry:
    """Walk stage 2 for ``ipa``; ``need`` is READ or WRITE, ``klass`` what is being translated.

    Raises:
        Fault: stage 2's, with the IPA.
    """

    def fault(kind: int, address: int = ipa, recorded: bool = stage2.recorded) -> Fault:
        return Fault(kind, stage2=True, klass=klass, address=address, recorded=recorded)

    if ipa >> stage2.input_bits:
        raise fault(F_TRANSLATION)
    granule, level = stage2.granule, stage2.start
    table, index = twin.acts(
        "concatenated-tables", _start_stage2(stage2, ipa), _architecture_start(stage2, ipa)
    )
    while True:
        address = table + 8 * index
        descriptor = twin.memory.read_u64(address)
        if descriptor is None:
            raise fault(F_WALK_EABT, address, True)
        if not descriptor & _VALID or (level == _LAST and not descriptor & _TABLE):
            raise fault(F_TRANSLATION)
        if level == _LAST or not descriptor & _TABLE:
            break
        table = _output(descriptor, granule)
        if twin.acts("table-address-size", False, bool(table >> stage2.output_bits)):
            raise fault(F_ADDR_SIZE)
        level += 1
        index = _index(ipa, stage2.input_bits, level, granule)
    if level < _LAST and not twin.acts("block-level", True, _is_block_level(granule, level)):
        raise fault(F_TRANSLATION)
    kind = _judge_stage2(twin, stage2, descriptor, level, need, klass)
    if kind is not None:
        raise fault(kind)
    mask = low_mask(level_shift(level, granule))
    s2ap = bits(descriptor, 6, 2)
    return Entry(
        iova=ipa & ~mask,
        mask=mask,
        out=_output(descriptor, level_shift(level, granule)),
        granule=granule,
        level=level,
        perm=s2ap,
        parent=s2ap,
        ipa=ipa & ~mask,
        leaf_mask=mask,
    )


def _start_stage2(stage2: Stage2, ipa: int) -> tuple[int, int]:
    """Return QEMU's start table and the index in it.

    The size of the tables is taken modulo 64 bits, as the host's shift does when the input is too
    small for the start level.
    """
    stride = stage2.granule - 3
    table_lg2 = stage2.input_bits - stride * (4 - stage2.start)
    number = ipa >> level_shift(stage2.start - 1, stage2.granule)
    base = stage2.ttb + (8 << stride) * number & ~low_mask(table_lg2 & 63)
    return base, _index(ipa, stage2.input_bits, stage2.start, stage2.granule)


def _architecture_start(stage2: Stage2, ipa: int) -> tuple[int, int]:
    shift = level_shift(stage2.start, stage2.granule)
    table_lg2 = max(0, stage2.input_bits - shift) + 3
    index = ipa >> shift
    per_table = stage2.granule - 3
    base = stage2.ttb & ~low_mask(table_lg2)
    # Told as a table and an index in it, so as to compare with the other way.
    return base + (8 << per_table) * (index >> per_table), index & low_mask(per_table)


def _judge_stage2(
    twin: Twin, stage2: Stage2, descriptor: int, level: int, need: int, klass: int
) -> int | None:
    out = _output(descriptor, level_shift(level, stage2.granule))
    access = (not descriptor & _ACCESSED and not stage2.affd, F_ACCESS)
    permission = (bool(need & ~bits(descriptor, 6, 2)), F_PERMISSION)
    size = (bool(out >> stage2.output_bits), F_ADDR_SIZE)
    kind = twin.acts(
        "leaf-check-order", _first(access, permission, size), _first(size, access, permission)
    )
    device = bits(descriptor, 4, 2) == 0
    protected = stage2.ptw and device and klass != CLASS_IN
    return twin.acts("s2ptw", kind, F_PERMISSION if protected and kind is None else kind)


def walk_stage1(twin: Twin, config: Config, half: Half, va: int, need: int) -> Entry:
    """Walk stage 1 for ``va``.

    Raises:
        Fault: stage 1's, or stage 2's for one of the tables.
    """

    def fault(kind: int) -> Fault:
        return Fault(kind, recorded=config.recorded)

    granule, level = half.granule, start_level(half.input_bits, half.granule)
    index_mask = low_mask(half.input_bits - (granule - 3) * (4 - level))
    table = half.ttb & low_mask(config.output_bits) & ~index_mask
    table_ipa = half.ttb_ipa & ~index_mask
    start, ap_table = True, 0
    while True:
        index = _index(va, half.input_bits, level, granule)
        address = table + 8 * index
        if config.stage2:
            address = _through_stage2(twin, config, half, address, table_ipa + 8 * index, start)
        descriptor = twin.memory.read_u64(address)
        if descriptor is None:
            raise Fault(F_WALK_EABT, klass=CLASS_TT, address=address)
        if not descriptor & _VALID or (level == _LAST and not descriptor & _TABLE):
            raise fault(F_TRANSLATION)
        if level == _LAST or not descriptor & _TABLE:
            break
        table = table_ipa = _output(descriptor, granule)
        if not half.had:
            ap_table |= bits(descriptor, 61, 2)
            forbids = need == WRITE and bool(bits(descriptor, 62, 1))
            if twin.acts("aptable", forbids, False):
                raise fault(F_PERMISSION)
        if twin.acts("table-address-size", False, bool(table >> config.output_bits)):
            raise fault(F_ADDR_SIZE)
        if config.stage2 and not twin.architecture:
            table = _translate_table(twin, config, table)
        level, start = level + 1, False
    if level < _LAST and not twin.acts("block-level", True, _is_block_level(granule, level)):
        raise fault(F_TRANSLATION)
    kind = _judge_stage1(twin, config, descriptor, level_shift(level, granule), ap_table, need)
    if kind is not None:
        raise fault(kind)
    return _stage1_entry(va, granule, level, descriptor, ap_table)


def _stage1_entry(va: int, granule: int, level: int, descriptor: int, ap_table: int) -> Entry:
    mask = low_mask(level_shift(level, granule))
    perm = READ if descriptor >> 7 & 1 else READ | WRITE
    out = _output(descriptor, level_shift(level, granule))
    return Entry(
        iova=va & ~mask,
        mask=mask,
        out=out,
        granule=granule,
        level=level,
        perm=perm,
        parent=perm,
        ap=bits(descriptor, 6, 2),
        ap_table=ap_table,
        not_global=bool(descriptor >> 11 & 1),
        ipa=out,
        leaf_mask=mask,
    )


def _through_stage2(
    twin: Twin, config: Config, half: Half, address: int, ipa: int, start: bool
) -> int:
    """Return where the descriptor is read, given QEMU's ``address`` and the descriptor's IPA."""
    name = "stage2-of-tables"
    expected = twin.peek_stage2(config, ipa, CLASS_TT)
    if start and twin.peek_stage2(config, half.ttb_ipa, CLASS_TT) != half.ttb:
        name = "ttb-at-decode"
    where = twin.acts(name, address, expected)
    if isinstance(where, Fault):
        raise where
    return where


def _translate_table(twin: Twin, config: Config, ipa: int) -> int:
    """Return QEMU's address of the next table; what faults there loses its stage."""
    try:
        return twin.fetch_address(config, ipa, CLASS_TT)
    except Fault as fault:
        twin.note("lost-s2")
        eabt = fault.kind == F_WALK_EABT
        raise Fault(
            fault.kind,
            klass=CLASS_TT,
            address=ipa,
            recorded=eabt or config.recorded,
        ) from None


def _judge_stage1(
    twin: Twin, config: Config, descriptor: int, shift: int, ap_table: int, need: int
) -> int | None:
    access = (not descriptor & _ACCESSED and not config.affd, F_ACCESS)
    size = (bool(_output(descriptor, shift) >> config.output_bits), F_ADDR_SIZE)
    denied = stage1_denies(twin, bits(descriptor, 6, 2), ap_table, need)
    permission = (denied, F_PERMISSION)
    return twin.acts(
        "leaf-check-order", _first(access, permission, size), _first(size, access, permission)
    )


def stage1_denies(twin: Twin, ap: int, ap_table: int, need: int) -> bool:
    """Say whether AP[2:1] and the gathered APTable forbid the access."""
    read_only = need == WRITE and bool(ap & 2)
    unprivileged = twin.acts("privileged", False, not ap & 1)
    by_table = twin.acts("aptable", False, bool(ap_table & 1 or (ap_table & 2 and need == WRITE)))
    return read_only or unprivileged or by_table
