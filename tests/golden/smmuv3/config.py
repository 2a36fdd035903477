# SPDX-License-Identifier: GPL-2.0-or-later
"""From a StreamID to a configuration, QEMU's way: stream table, STE, CD.

Spec: IHI 0070 3.3.1 (stream table), 5.1, 5.2, 5.4, 6.3.24, 6.3.25, 7.3.22 (order of the checks).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import registers as reg
from .context import OAS_BITS, Config, Half, Stage2
from .events import (
    C_BAD_CD,
    C_BAD_STE,
    C_BAD_STREAMID,
    CLASS_CD,
    CLASS_TT,
    F_CD_FETCH,
    F_STE_FETCH,
    Fault,
)
from .fields import (
    CD_BYTES,
    GRANULE_LG2_0,
    OUTPUT_BITS,
    STE_BYTES,
    Cd,
    Ste,
    level_shift,
    low_mask,
)
from .stage2 import fetch_address

if TYPE_CHECKING:
    from .twin import Twin

SID_BITS = 16
_SPLITS = (6, 8, 10)
_MAX_CONCATENATED = 16

# Legal S2T0SZ by granule and start level: 64 - IAS at least, 39 at most. Spec: DDI 0487 D8.2.
_LEGAL_T0SZ = {
    (12, 0): range(20, 25),
    (12, 1): range(21, 34),
    (12, 2): range(30, 40),
    (14, 1): range(20, 28),
    (14, 2): range(24, 39),
    (14, 3): range(35, 40),
    (16, 1): range(20, 22),
    (16, 2): range(20, 35),
    (16, 3): range(31, 40),
}


def decode(twin: Twin, stream_id: int) -> Config:
    """Fetch and check the configuration of ``stream_id``.

    Raises:
        Fault: for what the SMMU reports.
    """
    ste = _find_ste(twin, stream_id)
    if not ste.valid:
        raise Fault(C_BAD_STE)
    config = Config()
    if not ste.config & 4:
        config.aborts = True
        return config
    if ste.config == 4:
        config.bypasses = True
        return config
    _check_ste(twin, ste)
    config.stage1 = bool(ste.config & 1)
    if twin.has_stage2:
        config.vmid = ste.s2_vmid
    if ste.config & 2:
        config.stage2 = _decode_stage2(twin, ste)
    if config.stage1:
        _decode_cd(twin, config, _fetch_cd(twin, config, ste.s1_context_ptr))
    return config


def _find_ste(twin: Twin, stream_id: int) -> Ste:
    settings = twin.registers[reg.STRTAB_BASE_CFG]
    log2size = settings & 0x3F
    if stream_id >= 1 << min(log2size, SID_BITS):
        raise _bad_stream_id(twin)
    base = twin.registers[reg.STRTAB_BASE] & ~0x3F
    base = twin.acts("reserved-bits", base & low_mask(52), base & low_mask(OAS_BITS))
    live = (settings >> 16 & 3 == 1, settings >> 6 & 0x1F)
    two_level, split = twin.acts(
        "sticky-fmt", (twin.two_level, twin.split if twin.two_level else live[1]), live
    )
    if two_level:
        address = _two_level_address(twin, stream_id, base, log2size, split)
    else:
        address = (base & ~low_mask(log2size + 6)) + STE_BYTES * stream_id
    raw = twin.memory.read(address, STE_BYTES)
    if raw is None:
        raise Fault(F_STE_FETCH, address=address)
    return Ste(raw)


def _bad_stream_id(twin: Twin) -> Fault:
    recorded = twin.acts("recinvsid", True, bool(twin.registers[reg.CR2] & 2))
    return Fault(C_BAD_STREAMID, recorded=recorded)


def _two_level_address(twin: Twin, stream_id: int, base: int, log2size: int, split: int) -> int:
    if split not in _SPLITS:
        split = _SPLITS[0]
    base &= ~low_mask(max(5, log2size - split + 3))
    l1_address = base + 8 * (stream_id >> split)
    descriptor = twin.memory.read_u64(l1_address)
    if descriptor is None:
        raise Fault(F_STE_FETCH, address=l1_address)
    span = descriptor & 0x1F
    if span == 0 or span > split + 1:
        raise _bad_stream_id(twin)
    index = stream_id & low_mask(split)
    beyond = twin.acts(
        "level2-stream-table",
        C_BAD_STE if index >= 1 << span else None,
        C_BAD_STREAMID if index >= 1 << span - 1 else None,
    )
    if beyond == C_BAD_STREAMID:
        raise _bad_stream_id(twin)
    if beyond == C_BAD_STE:
        raise Fault(C_BAD_STE)
    table = twin.acts(
        "level2-stream-table", descriptor & ~0x1F, descriptor & low_mask(56) & ~low_mask(span + 5)
    )
    return table + STE_BYTES * index


def _check_ste(twin: Twin, ste: Ste) -> None:
    if (ste.config & 1 and not twin.has_stage1) or (ste.config & 2 and not twin.has_stage2):
        raise Fault(C_BAD_STE)
    bad_max = twin.acts("s1cdmax", bool(ste.s1_cd_max), False)
    stalls = bool(ste.s1_stalld)
    bad_stall = twin.acts("s1stalld", stalls, stalls and bool(ste.config & 1))
    far_cd = not ste.config & 2 and ste.config & 1 and ste.s1_context_ptr >> OAS_BITS
    bad_pointer = twin.acts("cd-pointer-size", False, bool(far_cd))
    if bad_max or bad_stall or bad_pointer:
        raise Fault(C_BAD_STE)


def _decode_stage2(twin: Twin, ste: Ste) -> Stage2:
    granule = GRANULE_LG2_0.get(ste.s2_tg)
    if granule is None or ste.s2_sl0 == 3 or ste.s2_endi or ste.s2_s or not ste.s2_aa64:
        raise Fault(C_BAD_STE)
    output_bits = min(OAS_BITS, OUTPUT_BITS[ste.s2_ps])
    input_bits = 64 - ste.s2_t0sz
    start = (2 if granule == 12 else 3) - ste.s2_sl0
    in_range = 20 <= ste.s2_t0sz <= 39
    good_size = twin.acts("s2t0sz-s2ps", in_range and input_bits <= output_bits, in_range)
    last_table = low_mask(input_bits) >> level_shift(start - 1, granule)
    good_start = twin.acts(
        "s2-start-level",
        last_table < _MAX_CONCATENATED,
        not in_range or ste.s2_t0sz in _LEGAL_T0SZ.get((granule, start), ()),
    )
    good_flags = twin.acts("s2-hardware-flags", True, not (ste.s2_ha or ste.s2_hd))
    if not (good_size and good_start and good_flags) or ste.s2_ttb >> output_bits:
        raise Fault(C_BAD_STE)
    return Stage2(
        granule=granule,
        start=start,
        input_bits=input_bits,
        output_bits=output_bits,
        ttb=ste.s2_ttb,
        affd=bool(ste.s2_affd),
        recorded=bool(ste.s2_r),
        ptw=bool(ste.s2_ptw),
    )


def _fetch_cd(twin: Twin, config: Config, pointer: int) -> Cd:
    address = pointer
    if config.stage2:
        address = fetch_address(twin, config, pointer, CLASS_CD)
    raw = twin.memory.read(address, CD_BYTES)
    if raw is None:
        raise Fault(F_CD_FETCH, address=address)
    return Cd(raw)


def _decode_cd(twin: Twin, config: Config, cd: Cd) -> None:
    if not cd.valid or not cd.aa64 or not cd.a or cd.s or cd.ha or cd.hd:
        raise Fault(C_BAD_CD)
    config.output_bits = min(OAS_BITS, OUTPUT_BITS[cd.ips])
    config.asid = cd.asid
    config.aset = cd.aset
    config.affd = bool(cd.affd)
    config.tbi = (cd.tbi(0), cd.tbi(1))
    if twin.architecture:
        for half in (0, 1):
            _check_half(config, cd, half)
    config.halves = (_decode_half(twin, config, cd, 0), _decode_half(twin, config, cd, 1))
    config.recorded = bool(cd.r)


def _check_half(config: Config, cd: Cd, half: int) -> None:
    if cd.epd(half):
        return
    if (
        cd.granule(half) is None
        or cd.endi
        or not 16 <= cd.tsz(half) <= 39
        or cd.ttb(half) >> config.output_bits
    ):
        raise Fault(C_BAD_CD)


def _decode_half(twin: Twin, config: Config, cd: Cd, half: int) -> Half | None:
    if cd.epd(half):
        return None
    _check_half(config, cd, half)
    granule = cd.granule(half)
    assert granule is not None
    ttb = ttb_ipa = cd.ttb(half)
    if config.stage2 and not twin.architecture:
        try:
            ttb = fetch_address(twin, config, ttb_ipa, CLASS_TT)
        except Fault:
            twin.note("ttb-at-decode")
            raise
    return Half(granule, cd.tsz(half), ttb, ttb_ipa, bool(cd.had(half)))
