# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes a Stream Table Entry ILLEGAL, field by field, and what does not.

Spec: IHI 0070 5.2 (fields), 5.2.1, 5.2.2 (SteIllegal), 5.5, 3.4.3; DDI 0487 D8.2.5 and J1.1
(AArch64.S2InconsistentSL, AArch64.S2InvalidSL).
"""

from __future__ import annotations

import pytest

from smmu_emu.transaction import Translation
from tests.unit.smmuv3.rig import (
    CD_AT,
    GUEST,
    NESTED_STE,
    RAM,
    S1_STE,
    S2_STE,
    SID,
    Bench,
    make_ids,
    nested_bench,
    stage1_bench,
    stage2_bench,
)

C_BAD_STE = 0x04
PAGE_AT = RAM + 0x30_0000
IOVA = 0x5000


def _is_legal(bench: Bench) -> bool:
    """Whether a transaction gets past the STE (whatever happens to it then)."""
    bench.go(IOVA)
    codes = [record & 0xFF for record in bench.events()]
    return C_BAD_STE not in codes


def _bench(kind: str, ids_changes: dict[str, int], changes: dict[str, int]) -> Bench:
    ids = make_ids(**ids_changes)
    if kind == "s1":
        bench, _ = stage1_bench(ids)
        bench.ste(**{**S1_STE, **changes})
    elif kind == "s2":
        bench, _ = stage2_bench(ids, **changes)
    elif kind == "nested":
        bench, _, _ = nested_bench(ids, ste=changes)
    else:
        bench = Bench(ids)
        config = {"bypass": 0b100, "abort": 0b000}[kind]
        bench.ste(**{"V": 1, "Config": config, "SHCFG": 1, **changes})
    return bench


NO_S1, NO_S2 = {"S1P": 0, "HAD": 0}, {"S2P": 0}
ID8 = {"VMID16": 0}
SSIDS = {"SSIDSIZE": 8}
FORCED_STALL, STALLS = {"STALL_MODEL": 2}, {"STALL_MODEL": 0}

# (kind, ID fields changed, STE fields changed, legal?, section)
RULES = [
    # V and Config
    ("s1", {}, {"V": 0}, False, "5.2 V"),
    ("s2", {}, {"V": 0}, False, "5.2 V"),
    ("bypass", {}, {"V": 0}, False, "5.2 V"),
    ("abort", {}, {"V": 0}, False, "5.2 V"),
    ("s1", {}, {}, True, "5.2 Config"),
    ("s2", {}, {}, True, "5.2 Config"),
    ("nested", {}, {}, True, "5.2 Config"),
    ("bypass", {}, {}, True, "5.2 Config"),
    ("abort", {}, {}, True, "5.2 Config"),
    ("s1", NO_S1, {}, False, "5.2 Config, S1P"),
    ("s2", NO_S1, {}, True, "5.2 Config, S1P"),
    ("nested", NO_S1, {}, False, "5.2 Config, S1P"),
    ("bypass", NO_S1, {}, True, "5.2 Config, S1P"),
    ("s1", NO_S2, {}, True, "5.2 Config, S2P"),
    ("s2", NO_S2, {}, False, "5.2 Config, S2P"),
    ("nested", NO_S2, {}, False, "5.2 Config, S2P"),
    # S1ContextPtr
    ("s1", {}, {"S1ContextPtr": 0x0800_0000_0000}, True, "3.4.3"),
    ("s1", {}, {"S1ContextPtr": 0x1000_0000_0000}, False, "3.4.3 (1)"),
    ("s1", {}, {"S1ContextPtr": 0x00FF_FFFF_FFFF_FFC0}, False, "3.4.3 (1)"),
    ("s1", {"OAS": 5}, {"S1ContextPtr": 0x1000_0000_0000}, True, "3.4.3 (1)"),
    # S1CDMax, S1Fmt
    ("s1", {}, {"S1CDMax": 1}, True, "5.2 S1CDMax, SSIDSIZE 0"),
    ("s1", {}, {"S1CDMax": 31, "S1Fmt": 1}, True, "5.2 S1CDMax, SSIDSIZE 0"),
    ("s1", SSIDS, {"S1CDMax": 8}, True, "5.2 S1CDMax"),
    ("s1", SSIDS, {"S1CDMax": 9}, False, "5.2 S1CDMax"),
    ("nested", SSIDS, {"S1CDMax": 9}, False, "5.2 S1CDMax"),
    ("s2", SSIDS, {"S1CDMax": 9}, True, "5.2 S1CDMax, stage 1 off"),
    ("s1", SSIDS, {"S1CDMax": 8, "S1Fmt": 1}, False, "5.2 S1Fmt, CD2L 0"),
    ("s1", SSIDS, {"S1CDMax": 8, "S1Fmt": 2}, False, "5.2 S1Fmt, CD2L 0"),
    ("s1", SSIDS, {"S1CDMax": 8, "S1Fmt": 3}, True, "5.2 S1Fmt 3 behaves as 0"),
    ("s1", SSIDS, {"S1CDMax": 0, "S1Fmt": 1}, True, "5.2 S1Fmt, one CD"),
    ("s1", {**SSIDS, "CD2L": 1}, {"S1CDMax": 8, "S1Fmt": 1}, True, "5.2 S1Fmt"),
    ("s1", {**SSIDS, "CD2L": 1}, {"S1CDMax": 8, "S1Fmt": 2}, True, "5.2 S1Fmt"),
    ("s1", SSIDS, {"S1CDMax": 8, "S1DSS": 3}, True, "5.2 S1DSS"),
    # S1STALLD
    ("s1", {}, {"S1STALLD": 1}, False, "5.5, STALL_MODEL 1"),
    ("nested", {}, {"S1STALLD": 1}, False, "5.5, STALL_MODEL 1"),
    ("s2", {}, {"S1STALLD": 1}, True, "5.2 S1STALLD, stage 1 off"),
    ("bypass", {}, {"S1STALLD": 1}, True, "5.2 S1STALLD, stage 1 off"),
    ("s1", STALLS, {"S1STALLD": 1}, True, "5.5, STALL_MODEL 0"),
    ("s1", FORCED_STALL, {"S1STALLD": 1}, False, "5.5, STALL_MODEL 2"),
    # STRW
    ("s1", {}, {"STRW": 1}, True, "5.2 STRW, Hyp 0"),
    ("s1", {}, {"STRW": 3}, True, "5.2 STRW, Hyp 0"),
    ("s1", {"Hyp": 1}, {"STRW": 0}, True, "5.2 STRW"),
    ("s1", {"Hyp": 1}, {"STRW": 2}, True, "5.2 STRW"),
    ("s1", {"Hyp": 1}, {"STRW": 1}, False, "5.2 STRW"),
    ("s1", {"Hyp": 1}, {"STRW": 3}, False, "5.2 STRW"),
    ("nested", {"Hyp": 1}, {"STRW": 3}, True, "5.2 STRW, stage 2 on"),
    ("s2", {"Hyp": 1}, {"STRW": 1}, True, "5.2 STRW, stage 2 on"),
    ("bypass", {"Hyp": 1}, {"STRW": 1}, True, "5.2 STRW, bypass"),
    # EATS without ATS
    ("s1", {}, {"EATS": 2}, True, "5.2 EATS, ATS 0"),
    ("s2", {}, {"EATS": 1}, True, "5.2 EATS, ATS 0"),
    # S2VMID
    ("s2", {}, {"S2VMID": 0xFFFF}, True, "5.2 S2VMID"),
    ("s2", ID8, {"S2VMID": 0xFF}, True, "5.2 S2VMID"),
    ("s2", ID8, {"S2VMID": 0x100}, False, "5.2 S2VMID"),
    ("nested", ID8, {"S2VMID": 0x8000}, False, "5.2 S2VMID"),
    ("s1", ID8, {"S2VMID": 0x100}, False, "5.2 S2VMID, NS-EL1 stage 1"),
    ("bypass", ID8, {"S2VMID": 0x100}, True, "5.2 S2VMID, bypass"),
    ("s1", {**ID8, **NO_S2}, {"S2VMID": 0x100}, True, "5.2 S2VMID, no stage 2"),
    ("s1", {**ID8, "Hyp": 1}, {"S2VMID": 0x100, "STRW": 2}, True, "5.2 S2VMID, EL2"),
    ("s1", {**ID8, "Hyp": 1}, {"S2VMID": 0x100, "STRW": 0}, False, "5.2 S2VMID, EL1"),
    # S2AA64, S2ENDI
    ("s2", {}, {"S2AA64": 0}, False, "5.2 S2AA64, TTF 2"),
    ("nested", {}, {"S2AA64": 0}, False, "5.2 S2AA64, TTF 2"),
    ("s1", {}, {"S2AA64": 0}, True, "5.2 S2AA64, stage 2 off"),
    ("s2", {}, {"S2ENDI": 1}, False, "5.2 S2ENDI, TTENDIAN 2"),
    ("s1", {}, {"S2ENDI": 1}, True, "5.2 S2ENDI, stage 2 off"),
    # S2TG
    ("s2", {}, {"S2TG": 3}, False, "5.2 S2TG"),
    ("s2", {"GRAN4K": 0}, {}, False, "5.2 S2TG"),
    ("s2", {"GRAN16K": 0}, {"S2TG": 2, "S2T0SZ": 25, "S2SL0": 1}, False, "5.2 S2TG"),
    ("s2", {"GRAN64K": 0}, {"S2TG": 1, "S2T0SZ": 25, "S2SL0": 1}, False, "5.2 S2TG"),
    ("s1", {}, {"S2TG": 3}, True, "5.2 S2TG, stage 2 off"),
    # S2T0SZ limits
    ("s2", {}, {"S2T0SZ": 40, "S2SL0": 0}, False, "5.2 S2T0SZ, STT 0"),
    ("s2", {}, {"S2T0SZ": 39, "S2SL0": 0}, True, "5.2 S2T0SZ, STT 0"),
    ("s2", {}, {"S2T0SZ": 19, "S2SL0": 2}, False, "5.2 S2T0SZ, IAS 44"),
    ("s2", {}, {"S2T0SZ": 20, "S2SL0": 2}, True, "5.2 S2T0SZ, IAS 44"),
    ("s2", {"OAS": 5}, {"S2T0SZ": 16, "S2SL0": 2}, True, "5.2 S2T0SZ, IAS 48"),
    ("s2", {"OAS": 6}, {"S2T0SZ": 15, "S2SL0": 2}, False, "5.2 S2T0SZ, IAS 52, 4K"),
    ("s2", {"OAS": 6}, {"S2T0SZ": 12, "S2SL0": 2, "S2TG": 1}, True, "5.2 S2T0SZ, IAS 52, 64K"),
    ("s2", {"OAS": 6}, {"S2T0SZ": 11, "S2SL0": 2, "S2TG": 1}, False, "5.2 S2T0SZ, IAS 52, 64K"),
    ("s1", {}, {"S2T0SZ": 0}, True, "5.2 S2T0SZ, stage 2 off"),
    # S2SL0
    ("s2", {}, {"S2SL0": 3}, False, "5.2 S2SL0"),
    ("s1", {}, {"S2SL0": 3}, True, "5.2 S2SL0, stage 2 off"),
    # S2PS and S2TTB
    ("s2", {}, {"S2PS": 5}, True, "5.2 S2PS is capped"),
    ("s2", {}, {"S2PS": 7}, True, "5.2 S2PS is capped"),
    ("s2", {}, {"S2TTB": 0x0FFF_FFFF_0000}, True, "5.2 S2TTB"),
    ("s2", {}, {"S2TTB": 0x1000_0000_0000}, False, "5.2 S2TTB"),
    ("s2", {}, {"S2TTB": 0x1000_0000_0000, "S2PS": 7}, False, "5.2 S2TTB, capped S2PS"),
    ("s2", {}, {"S2TTB": 0x1_0000_0000, "S2PS": 0}, False, "5.2 S2TTB"),
    ("s2", {}, {"S2TTB": 0xFFFF_0000, "S2PS": 0}, True, "5.2 S2TTB"),
    ("s2", {}, {"S2TTB": 0x000F_0000_0000_0000}, False, "5.2 S2TTB"),
    ("s2", {"OAS": 6}, {"S2TTB": 1 << 48, "S2PS": 6}, False, "5.2 S2TTB, 48 bits at 4K"),
    ("s2", {"OAS": 6}, {"S2TTB": 1 << 48, "S2PS": 6, "S2TG": 1}, True, "5.2 S2TTB, 64K"),
    ("nested", {}, {"S2TTB": 0x1000_0000_0000}, False, "5.2 S2TTB"),
    ("s1", {}, {"S2TTB": 0x000F_FFFF_FFFF_FFF0}, True, "5.2 S2TTB, stage 2 off"),
    # S2HA, S2HD
    ("s2", {}, {"S2HA": 1}, False, "5.2 S2HA, HTTU 0"),
    ("s2", {}, {"S2HD": 1}, False, "5.2 S2HD, HTTU 0"),
    ("nested", {}, {"S2HA": 1}, False, "5.2 S2HA, HTTU 0"),
    ("s1", {}, {"S2HA": 1, "S2HD": 1}, True, "5.2 S2HA, stage 2 off"),
    ("s2", {"HTTU": 1}, {"S2HA": 1}, True, "5.2 S2HA, HTTU 1"),
    ("s2", {"HTTU": 1}, {"S2HD": 1}, False, "5.2 S2HD, HTTU 1"),
    ("s2", {"HTTU": 1}, {"S2HA": 1, "S2HD": 1}, False, "5.2 S2HD, HTTU 1"),
    ("s2", {"HTTU": 2}, {"S2HA": 1, "S2HD": 1}, True, "5.2 S2HD, HTTU 2"),
    ("s2", {"HTTU": 2}, {"S2HD": 1}, True, "5.2 S2HD, HTTU 2"),
    # S2S
    ("s2", {}, {"S2S": 1}, False, "5.5, STALL_MODEL 1"),
    ("nested", {}, {"S2S": 1}, False, "5.5, STALL_MODEL 1"),
    ("s1", {}, {"S2S": 1}, True, "5.2 S2S, stage 2 off"),
    ("s2", STALLS, {"S2S": 1}, True, "5.5, STALL_MODEL 0"),
    ("s2", STALLS, {"S2S": 0}, True, "5.5, STALL_MODEL 0"),
    ("s2", FORCED_STALL, {"S2S": 0}, False, "5.5, STALL_MODEL 2"),
    ("s2", FORCED_STALL, {"S2S": 1}, True, "5.5, STALL_MODEL 2"),
    # everything else is data
    ("s2", {}, {"S2PTW": 1, "S2AFFD": 1, "S2IR0": 3, "S2OR0": 2, "S2SH0": 1}, True, "5.2"),
    ("s2", {}, {"S2FWB": 1}, True, "5.2 S2FWB, FWB 0"),
    ("s2", {"FWB": 1}, {"S2FWB": 1}, True, "5.2 S2FWB"),
    ("s1", {}, {"SW_RESERVED": 0xF, "MEV": 1, "DRE": 1, "DCP": 1, "PPAR": 1}, True, "5.2"),
    ("s1", {}, {"MTCFG": 1, "MemAttr": 4, "ALLOCCFG": 9, "NSCFG": 3}, True, "5.2"),
    ("s1", {}, {"PRIVCFG": 1, "INSTCFG": 1, "SHCFG": 0, "CONT": 15}, True, "5.2"),
]


def _rule_id(rule: tuple[str, dict[str, int], dict[str, int], bool, str]) -> str:
    kind, ids, changes, legal, _ = rule
    fields = ",".join(f"{name}={number:#x}" for name, number in {**ids, **changes}.items())
    return f"{kind}-{fields or 'plain'}-{'legal' if legal else 'ILLEGAL'}"


@pytest.mark.parametrize("rule", RULES, ids=_rule_id)
def test_ste_is_legal_exactly_where_its_section_allows(
    rule: tuple[str, dict[str, int], dict[str, int], bool, str],
) -> None:
    kind, ids, changes, legal, section = rule

    assert _is_legal(_bench(kind, ids, changes)) is legal, section


# S2T0SZ values that a walk may start at S2SL0's level with, for an IAS of 48 bits and STT 0:
# the start level resolves between one bit and a whole level plus four (concatenation).
START_LEVELS = {
    # (S2TG, S2SL0): first and last legal S2T0SZ
    (0, 2): (16, 24),
    (0, 1): (21, 33),
    (0, 0): (30, 39),
    (2, 2): (16, 27),
    (2, 1): (24, 38),
    (2, 0): (35, 39),
    (1, 2): (16, 21),
    (1, 1): (18, 34),
    (1, 0): (31, 39),
}


@pytest.mark.parametrize(("s2tg", "s2sl0"), [(t, s) for t in range(3) for s in range(4)])
def test_start_level_is_consistent_with_size_and_granule(s2tg: int, s2sl0: int) -> None:
    """5.2 S2T0SZ, S2SL0; DDI 0487 AArch64.S2InconsistentSL."""
    first, last = START_LEVELS.get((s2tg, s2sl0), (64, 63))
    ids = make_ids(OAS=5)
    bench, tree = stage2_bench(ids)
    legal = []
    for s2t0sz in range(64):
        fields = {"S2TG": s2tg, "S2SL0": s2sl0, "S2T0SZ": s2t0sz, "S2TTB": tree.root}
        bench.ste(**{**S2_STE, **fields})
        bench.forget()
        if _is_legal(bench):
            legal.append(s2t0sz)

    assert legal == list(range(first, last + 1))


SMALL_TABLES = {
    (0, 0): (30, 42),
    (0, 3): (39, 48),
    (2, 1): (24, 38),
    (2, 0): (35, 48),
    (1, 1): (18, 34),
    (1, 0): (31, 47),
}


@pytest.mark.parametrize(("s2tg", "s2sl0"), list(SMALL_TABLES))
def test_small_tables_widen_the_range(s2tg: int, s2sl0: int) -> None:
    """5.2 S2T0SZ with STT 1: up to 48, or 47 at 64 KiB; S2SL0 3 starts at level 3 for 4 KiB."""
    first, last = SMALL_TABLES[s2tg, s2sl0]
    bench, tree = stage2_bench(make_ids(OAS=5, STT=1))
    legal = []
    for s2t0sz in range(64):
        fields = {"S2TG": s2tg, "S2SL0": s2sl0, "S2T0SZ": s2t0sz, "S2TTB": tree.root}
        bench.ste(**{**S2_STE, **fields})
        bench.forget()
        if _is_legal(bench):
            legal.append(s2t0sz)

    assert legal == list(range(first, last + 1))


@pytest.mark.parametrize(
    ("oas", "s2tg", "s2t0sz", "legal"),
    [
        (2, 0, 24, False),  # level 0 at 4 KiB needs 44 bits
        (3, 0, 24, False),
        (4, 0, 24, True),
        (2, 2, 24, False),  # level 1 at 16 KiB needs 42 bits
        (3, 2, 24, True),
    ],
)
def test_start_level_needs_a_physical_address_size(
    oas: int, s2tg: int, s2t0sz: int, legal: bool
) -> None:
    """DDI 0487 AArch64.S2InvalidSL: SL0 2 is reserved where physical addresses are too small."""
    ids = make_ids(OAS=oas)
    fields = {"S2TG": s2tg, "S2SL0": 2, "S2T0SZ": s2t0sz, "S2PS": oas}

    assert _is_legal(_bench("s2", {"OAS": oas}, fields)) is legal, ids


def test_context_pointer_beyond_ias_with_stage_2_is_bad_ste_or_a_stage_2_fault() -> None:
    """3.4.3 (2)."""
    bench, _, _ = nested_bench(ste={"S1ContextPtr": 0x1000_0000_0000})
    record = bench.refused(IOVA)

    assert record is not None
    assert record["Number"] == C_BAD_STE or (record["S2"], record["CLASS"]) == (1, 0)


# -- fields of a stage that is off


@pytest.mark.parametrize("filler", [0x00, 0xFF, 0xAA, 0x5C])
@pytest.mark.parametrize(
    ("config", "live"),
    [
        (0b000, {"V", "Config"}),
        (0b001, {"V", "Config"}),
        (0b011, {"V", "Config"}),
        (0b100, {"V", "Config"}),
    ],
)
def test_stream_that_translates_nothing_ignores_every_other_field(
    config: int, live: set[str], filler: int
) -> None:
    """5.2.1: junk in fields without use neither faults nor changes what happens."""
    bench = Bench()
    junk = int.from_bytes(bytes([filler]) * 64, "little") & ~0xF | config << 1 | 1
    bench.store(RAM + 64 * SID, junk, 64)
    result = bench.go(0x1234_5678)

    assert not bench.events()
    assert isinstance(result, Translation) is (config == 0b100), live


@pytest.mark.parametrize("s2", [0, (1 << 512) - 1])
def test_stage_1_stream_ignores_stage_2_fields(s2: int) -> None:
    """5.2 V: all fields with an S2 prefix but S2VMID are IGNORED when stage 2 bypasses."""
    bench, tree = stage1_bench()
    tree.page(IOVA, PAGE_AT)
    where = RAM + 64 * SID
    plain = bench.memory.read(where, 64)
    assert plain is not None
    # bits [191:160] and [255:192], S2HWU and S2FWB; S2VMID is in use.
    dead = 0xFFFF_FFFF << 160 | 0xFFFF_FFFF_FFFF_FFFF << 192 | 0xF << 72 | 1 << 89
    bench.store(where, int.from_bytes(plain, "little") & ~dead | s2 & dead, 64)

    assert bench.pa(IOVA) == PAGE_AT


@pytest.mark.parametrize("s1", [0, (1 << 512) - 1])
def test_stage_2_stream_ignores_stage_1_fields(s1: int) -> None:
    """5.2 V: all fields with an S1 prefix are IGNORED when stage 1 bypasses."""
    bench, tree = stage2_bench()
    tree.page(IOVA, PAGE_AT, 0x4FC)  # read, write, write-back, AF
    where = RAM + 64 * SID
    plain = bench.memory.read(where, 64)
    assert plain is not None
    # S1Fmt, S1ContextPtr, S1CDMax, S1DSS, S1CIR, S1COR, S1CSH, S1STALLD, STRW (stage 2 is on).
    dead = 0xF8FF_FFFF_FFFF_FFF0 | 0xFF << 64 | 1 << 91 | 3 << 94
    bench.store(where, int.from_bytes(plain, "little") & ~dead | s1 & dead, 64)

    assert bench.pa(IOVA) == PAGE_AT


def test_undefined_bits_are_ignored() -> None:
    """5, 5.2: reserved bits may be ignored or fatal; this model ignores them all."""
    bench, tree = stage1_bench()
    tree.page(IOVA, PAGE_AT)
    where = RAM + 64 * SID
    plain = bench.memory.read(where, 64)
    assert plain is not None
    reserved = 7 << 56 | 7 << 105 | 0xFFF << 116 | 0xFFFF << 144 | ((1 << 256) - 1) << 256
    bench.store(where, int.from_bytes(plain, "little") | reserved, 64)

    assert bench.pa(IOVA) == PAGE_AT


def test_nested_stream_uses_the_fields_of_both_stages() -> None:
    bench, first, _ = nested_bench()
    first.page(IOVA, PAGE_AT + GUEST)
    assert bench.pa(IOVA) == PAGE_AT
    bench.ste(**{**NESTED_STE, "S1ContextPtr": CD_AT + GUEST, "S2TG": 3})
    bench.forget()

    assert bench.code(IOVA) == C_BAD_STE
