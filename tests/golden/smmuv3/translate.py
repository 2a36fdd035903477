# SPDX-License-Identifier: GPL-2.0-or-later
"""The way of a transaction, QEMU's way: configuration, TLB, walks.

Spec: IHI 0070 3.3.3, 3.4, 7.3.22, 16.2. What a TLB may serve is not fully determined: each lookup
also notes other entries that might have served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import registers as reg
from .config import decode
from .context import OAS_BITS, Config, Half
from .deviations import lasting
from .events import CLASS_IN, F_ADDR_SIZE, F_PERMISSION, F_TRANSLATION, Fault
from .fields import bits, low_mask
from .stage1 import stage1_denies, walk_stage1
from .stage2 import lookup_stage2, note_other_stage2_entries, usable, walk_stage2
from .tlb import READ, WRITE, Entry, Key, canonical

if TYPE_CHECKING:
    from .twin import Twin

BYPASS_MASK = 0xFFF
_GAP = -1


def translate(twin: Twin, stream_id: int, iova: int, write: bool) -> tuple[int, int]:
    """Return the target of ``iova`` and the mask of what is mapped with it.

    Raises:
        Fault: where the access is aborted.
    """
    if not twin.registers[reg.CR0] & 1:
        if twin.registers[reg.GBPA] >> 20 & 1:
            raise Fault(None)
        return iova, BYPASS_MASK
    config = _configuration(twin, stream_id)
    if config.aborts:
        raise Fault(None)
    if config.bypasses:
        if twin.acts("bypass-address-size", False, bool(iova >> OAS_BITS)):
            raise Fault(F_ADDR_SIZE)
        return iova, BYPASS_MASK
    need = WRITE if write else READ
    entry = (_stage1_entry if config.stage1 else _stage2_entry)(twin, config, iova, need)
    return entry.target(iova), entry.mask


def _configuration(twin: Twin, stream_id: int) -> Config:
    config = twin.configs.get(stream_id)
    if config is None or (twin.architecture and config.names):
        with twin.names_apart() as names:
            config = decode(twin, stream_id)
        config.names = lasting(names)
        if not twin.architecture:
            twin.configs[stream_id] = config
    twin.note(*config.names)
    return config


# Streams with stage 1


def _stage1_entry(twin: Twin, config: Config, iova: int, need: int) -> Entry:
    with twin.names_apart() as names:
        number = twin.acts(
            "tbi1-ignored",
            select_half(config, iova, (config.tbi[0], config.tbi[0])),
            select_half(config, iova, config.tbi),
        )
    half = None if number == _GAP else config.halves[number]
    entry = None if number == _GAP else _lookup_stage1(twin, config, half, iova)
    _note_other_entries(twin, config, iova, entry)
    if entry is not None:
        if entry.combined != (config.stage2 is not None):
            twin.note("tlb-tags")
        _judge_hit(twin, config, entry, iova, need)
        return entry
    if half is None:
        raise Fault(F_TRANSLATION, recorded=config.recorded)
    with twin.names_apart() as more:
        entry = _walk_for(twin, config, half, iova, need)
    entry.names = lasting(names | more)
    twin.remember(config.asid, config.vmid, entry)
    return entry


def select_half(config: Config, iova: int, tbi: tuple[int, int]) -> int:
    """Return 0 or 1 for TTB0 or TTB1, or _GAP; a half without walks takes all that is left."""
    ignored = 8 * tbi[iova >> 55 & 1]
    for number, half in enumerate(config.halves):
        if half is not None:
            width = half.tsz - ignored
            if bits(iova, half.input_bits, width) == (low_mask(width) if number else 0):
                return number
    return config.halves.index(None) if None in config.halves else _GAP


def _lookup_stage1(twin: Twin, config: Config, half: Half | None, iova: int) -> Entry | None:
    """Look with the half's granule, and for nested streams with stage 2's."""
    granule, input_bits = (half.granule, half.input_bits) if half else (0, 64)
    found = twin.tlb.lookup(config.asid, config.vmid, iova, granule, input_bits)
    if found is None and config.stage2 and config.stage2.granule != granule:
        granule = config.stage2.granule
        found = twin.tlb.lookup(config.asid, config.vmid, iova, granule, input_bits)
    return usable(twin, found)


def _walk_for(twin: Twin, config: Config, half: Half, iova: int, need: int) -> Entry:
    """Walk stage 1 and, for nested streams, stage 2: one entry of the smaller size."""
    entry = walk_stage1(twin, config, half, iova, need)
    entry.tagged = bool(config.tbi[iova >> 55 & 1])
    entry.aset = config.aset
    if config.stage2 is None:
        return entry
    ipa = entry.out | iova & entry.mask
    note_other_stage2_entries(twin, config, ipa, None)
    under = walk_stage2(twin, config.stage2, ipa, need, CLASS_IN)
    if under.mask < entry.mask:
        entry.mask, entry.granule, entry.level = under.mask, under.granule, under.level
    entry.out = under.target(ipa) & ~entry.mask
    entry.iova = iova & ~entry.mask
    entry.ipa = ipa & ~entry.mask
    entry.parent = under.perm
    entry.combined = True
    return entry


def _judge_hit(twin: Twin, config: Config, entry: Entry, iova: int, need: int) -> None:
    twin.note(*entry.names)
    if config.stage1:
        read_only = need == WRITE and not entry.perm & WRITE
        if stage1_denies(twin, entry.ap, entry.ap_table, need) or read_only:
            raise Fault(F_PERMISSION, recorded=config.recorded)
    if config.stage2 is None or not need & ~entry.parent:
        return
    recorded = config.stage2.recorded
    if twin.architecture:
        ipa = entry.ipa | iova & entry.mask
        raise Fault(F_PERMISSION, stage2=True, address=ipa, recorded=recorded)
    twin.note("hit-permissions")
    if not config.stage1:
        raise Fault(None)
    if need == WRITE:
        raise Fault(F_PERMISSION, stage2=True, recorded=recorded)


# Streams with stage 2 alone


def _stage2_entry(twin: Twin, config: Config, iova: int, need: int) -> Entry:
    assert config.stage2 is not None
    entry = lookup_stage2(twin, config, config.stage2, iova)
    if entry is not None:
        _judge_hit(twin, config, entry, iova, need)
        return entry
    with twin.names_apart() as names:
        if iova >> OAS_BITS:
            raise Fault(F_ADDR_SIZE, recorded=twin.acts("input-address-size", False, True))
        entry = walk_stage2(twin, config.stage2, iova, need, CLASS_IN)
    entry.names = lasting(names)
    twin.remember(-1, config.vmid, entry)
    return entry


# What else the TLB might have served


def _note_other_entries(twin: Twin, config: Config, iova: int, used: Entry | None) -> None:
    address = canonical(iova) if config.tbi[iova >> 55 & 1] else iova

    def serves(key: Key, entry: Entry) -> bool:
        is_global = key[0] >= 0 and not entry.not_global
        same_asid = entry.aset == config.aset if is_global else key[0] == config.asid
        return same_asid and key[1] == config.vmid and address & ~entry.mask == entry.canonical

    if any(serves(key, entry) for key, entry in twin.tlb.legal() if entry is not used):
        twin.note("tlb-tags")
