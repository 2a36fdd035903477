# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes a Context Descriptor ILLEGAL, field by field, and what does not.

Spec: IHI 0070 5.4 (fields), 5.4.1.1 (EPDx), 5.4.2 (CdIllegal, CDTxSZInvalid), 5.5.
"""

from __future__ import annotations

import pytest

from tests.unit.smmuv3.rig import (
    CD_AT,
    NESTED_STE,
    PLAIN_CD,
    RAM,
    S1_STE,
    SID,
    Bench,
    make_ids,
    nested_bench,
    stage1_bench,
)

C_BAD_CD = 0x0A
IOVA = 0x5000


def _is_legal(ids: dict[str, int], cd: dict[str, int], ste: dict[str, int]) -> bool:
    bench, _ = stage1_bench(make_ids(**ids), **cd)
    bench.ste(**{**S1_STE, **ste})
    bench.go(IOVA)
    codes = [record & 0xFF for record in bench.events()]
    assert codes in ([], [C_BAD_CD], [0x10], [0x0B]), codes
    return C_BAD_CD not in codes


ID8 = {"ASID16": 0}
EL2 = ({"Hyp": 1}, {"STRW": 2})
NO_TERM = {"TERM_MODEL": 0}
STALLS, FORCED_STALL = {"STALL_MODEL": 0}, {"STALL_MODEL": 2}
BOTH = {"EPD1": 0, "T1SZ": 25, "TG1": 2, "TTB1": RAM}
OFF = {"EPD0": 1, "EPD1": 1}

# (ID fields changed, CD fields changed, STE fields changed, legal?, section)
RULES = [
    ({}, {}, {}, True, "5.4"),
    ({}, {"V": 0}, {}, False, "5.4 V"),
    ({}, {**OFF, "V": 0}, {}, False, "5.4 V"),
    # T0SZ, T1SZ
    ({}, {"T0SZ": 15}, {}, False, "5.4 T0SZ"),
    ({}, {"T0SZ": 16}, {}, True, "5.4 T0SZ"),
    ({}, {"T0SZ": 39}, {}, True, "5.4 T0SZ"),
    ({}, {"T0SZ": 40}, {}, False, "5.4 T0SZ"),
    ({}, {"T0SZ": 0}, {}, False, "5.4 T0SZ"),
    ({}, {"T0SZ": 63}, {}, False, "5.4 T0SZ"),
    ({}, {"T0SZ": 63, "EPD0": 1}, {}, True, "5.4.1.1"),
    ({}, {**BOTH, "T1SZ": 15}, {}, False, "5.4 T1SZ"),
    ({}, {**BOTH, "T1SZ": 39}, {}, True, "5.4 T1SZ"),
    ({}, {**BOTH, "T1SZ": 40}, {}, False, "5.4 T1SZ"),
    ({}, {"T1SZ": 63}, {}, True, "5.4.1.1"),
    ({"STT": 1}, {"T0SZ": 48}, {}, True, "5.4 T0SZ, STT"),
    ({"STT": 1}, {"T0SZ": 49}, {}, False, "5.4 T0SZ, STT"),
    ({"STT": 1}, {"T0SZ": 47, "TG0": 1}, {}, True, "5.4 T0SZ, STT, 64K"),
    ({"STT": 1}, {"T0SZ": 48, "TG0": 1}, {}, False, "5.4 T0SZ, STT, 64K"),
    ({"STT": 1}, {"T0SZ": 48, "TG0": 2}, {}, True, "5.4 T0SZ, STT, 16K"),
    ({"VAX": 1}, {"T0SZ": 12, "TG0": 1}, {}, True, "5.4 T0SZ, VAX, 64K"),
    ({"VAX": 1}, {"T0SZ": 11, "TG0": 1}, {}, False, "5.4 T0SZ, VAX, 64K"),
    ({"VAX": 1}, {"T0SZ": 15}, {}, False, "5.4 T0SZ, VAX, 4K"),
    ({"VAX": 1}, {"T0SZ": 15, "TG0": 2}, {}, False, "5.4 T0SZ, VAX, 16K"),
    ({"VAX": 1}, {**BOTH, "T1SZ": 12, "TG1": 3}, {}, True, "5.4 T1SZ, VAX, 64K"),
    ({}, {"T0SZ": 12, "TG0": 1}, {}, False, "5.4 T0SZ, VAX 0"),
    # TG0, TG1
    ({}, {"TG0": 1}, {}, True, "5.4 TG0"),
    ({}, {"TG0": 2}, {}, True, "5.4 TG0"),
    ({}, {"TG0": 3}, {}, False, "5.4 TG0"),
    ({}, {"TG0": 3, "EPD0": 1}, {}, True, "5.4.1.1"),
    ({"GRAN4K": 0}, {"TG0": 0}, {}, False, "5.4 TG0"),
    ({"GRAN64K": 0}, {"TG0": 1}, {}, False, "5.4 TG0"),
    ({"GRAN16K": 0}, {"TG0": 2}, {}, False, "5.4 TG0"),
    ({"GRAN16K": 0}, {"TG0": 2, "EPD0": 1}, {}, True, "5.4.1.1"),
    ({}, {**BOTH, "TG1": 0}, {}, False, "5.4 TG1"),
    ({}, {**BOTH, "TG1": 1}, {}, True, "5.4 TG1"),
    ({}, {**BOTH, "TG1": 3}, {}, True, "5.4 TG1"),
    ({"GRAN4K": 0}, {**BOTH, "TG0": 1, "TG1": 2}, {}, False, "5.4 TG1"),
    ({"GRAN64K": 0}, {**BOTH, "TG1": 3}, {}, False, "5.4 TG1"),
    ({"GRAN16K": 0}, {**BOTH, "TG1": 1}, {}, False, "5.4 TG1"),
    ({}, {"TG1": 0}, {}, True, "5.4.1.1"),
    # IPS, TTB0, TTB1
    ({}, {"IPS": 6}, {}, True, "5.4 IPS is capped"),
    ({}, {"IPS": 7}, {}, True, "5.4 IPS is capped"),
    ({}, {"TTB0": 0x0FFF_FFFF_F000}, {}, True, "5.4 TTB0"),
    ({}, {"TTB0": 0x1000_0000_0000}, {}, False, "5.4 TTB0"),
    ({}, {"TTB0": 0x1000_0000_0000, "IPS": 7}, {}, False, "5.4 TTB0, capped IPS"),
    ({}, {"TTB0": 0x1000_0000_0000, "EPD0": 1}, {}, True, "5.4.1.1"),
    ({}, {"TTB0": 0x1_0000_0000, "IPS": 0}, {}, False, "5.4 TTB0"),
    ({}, {"TTB0": 0xFFFF_F000, "IPS": 0}, {}, True, "5.4 TTB0"),
    ({}, {"TTB0": 0x000F_0000_0000_0000}, {}, False, "5.4 TTB0"),
    ({}, {**BOTH, "TTB1": 0x1000_0000_0000}, {}, False, "5.4 TTB1"),
    ({}, {"TTB1": 0x1000_0000_0000}, {}, True, "5.4.1.1"),
    ({"OAS": 6}, {"TTB0": 1 << 48, "IPS": 6}, {}, False, "5.4 TTB0, 48 bits at 4K"),
    ({"OAS": 6}, {"TTB0": 1 << 48, "IPS": 6, "TG0": 2}, {}, False, "5.4 TTB0, 48 bits at 16K"),
    ({"OAS": 6}, {"TTB0": 1 << 48, "IPS": 6, "TG0": 1}, {}, True, "5.4 TTB0, 64K"),
    # ENDI, AA64
    ({}, {"ENDI": 1}, {}, False, "5.4 ENDI, TTENDIAN 2"),
    ({}, {**OFF, "ENDI": 1}, {}, True, "5.4 ENDI ignored"),
    ({}, {**BOTH, "EPD0": 1, "ENDI": 1}, {}, False, "5.4 ENDI"),
    ({}, {"AA64": 0}, {}, False, "5.4 AA64, TTF 2"),
    ({}, {**OFF, "AA64": 0}, {}, False, "5.4 AA64, TTF 2"),
    # ASID
    ({}, {"ASID": 0xFFFF}, {}, True, "5.4 ASID"),
    (ID8, {"ASID": 0xFF}, {}, True, "5.4 ASID"),
    (ID8, {"ASID": 0x100}, {}, False, "5.4 ASID"),
    ({**ID8, "Hyp": 1}, {"ASID": 0x100}, {"STRW": 2}, True, "5.4 ASID, EL2"),
    # A, R, S
    ({}, {"A": 0}, {}, False, "5.5, TERM_MODEL 1"),
    ({}, {"R": 0}, {}, True, "5.5"),
    ({}, {"S": 1}, {}, False, "5.5, STALL_MODEL 1"),
    (STALLS, {"S": 1}, {}, True, "5.5, STALL_MODEL 0"),
    (STALLS, {"S": 0}, {}, True, "5.5, STALL_MODEL 0"),
    (STALLS, {"S": 1}, {"S1STALLD": 1}, False, "5.5, S1STALLD"),
    (STALLS, {"S": 0}, {"S1STALLD": 1}, True, "5.5, S1STALLD"),
    (FORCED_STALL, {"S": 0}, {}, False, "5.5, STALL_MODEL 2"),
    (FORCED_STALL, {"S": 1}, {}, True, "5.5, STALL_MODEL 2"),
    # HA, HD
    ({}, {"HA": 1}, {}, False, "5.4 HA, HTTU 0"),
    ({}, {"HD": 1}, {}, False, "5.4 HD, HTTU 0"),
    ({"HTTU": 1}, {"HA": 1}, {}, True, "5.4 HA, HTTU 1"),
    ({"HTTU": 1}, {"HD": 1}, {}, False, "5.4 HD, HTTU 1"),
    ({"HTTU": 1}, {"HA": 1, "HD": 1}, {}, False, "5.4 HD, HTTU 1"),
    ({"HTTU": 2}, {"HA": 1, "HD": 1}, {}, True, "5.4 HD, HTTU 2"),
    ({"HTTU": 2}, {"HD": 1}, {}, True, "5.4 HD, HTTU 2"),
    # EL2 ignores EPDx, and the upper half is unreachable
    (EL2[0], {"EPD0": 1, "TG0": 3}, EL2[1], False, "5.4 EPD0, EL2"),
    (EL2[0], {"EPD0": 1, "T0SZ": 40}, EL2[1], False, "5.4 EPD0, EL2"),
    (EL2[0], {**OFF, "ENDI": 1}, EL2[1], False, "5.4 ENDI, EL2"),
    (EL2[0], {"EPD1": 0, "TG1": 0, "T1SZ": 0}, EL2[1], True, "5.4.1, EL2"),
    (EL2[0], {"EPD1": 0, "TTB1": 0x000F_0000_0000_0000}, EL2[1], True, "5.4.1, EL2"),
    # everything else is data
    ({}, {"AFFD": 1, "WXN": 1, "UWXN": 1, "PAN": 1, "TBI0": 1, "TBI1": 1}, {}, True, "5.4"),
    ({}, {"IR0": 3, "OR0": 2, "SH0": 1, "ASET": 1, "NSCFG0": 1, "HAD0": 1}, {}, True, "5.4"),
    ({}, {"MAIR0": 0xFFFF_FFFF, "MAIR1": 0xF0F0_0101, "AMAIR0": 1}, {}, True, "5.4"),
    ({}, {"E0PD0": 1, "HAFT": 1, "PnCH": 1, "EPAN": 1, "HWU0": 15}, {}, True, "5.4, absent"),
    ({}, {"DS": 1, "PIE": 1, "AIE": 1, "PARTID": 0xFFFF, "PMG": 0xFF}, {}, True, "5.4, absent"),
]

Rule = tuple[dict[str, int], dict[str, int], dict[str, int], bool, str]


def _rule_id(rule: Rule) -> str:
    ids, cd, ste, legal, _ = rule
    fields = ",".join(f"{name}={number:#x}" for name, number in {**ids, **cd, **ste}.items())
    return f"{fields or 'plain'}-{'legal' if legal else 'ILLEGAL'}"


@pytest.mark.parametrize("rule", RULES, ids=_rule_id)
def test_cd_is_legal_exactly_where_its_section_allows(rule: Rule) -> None:
    ids, cd, ste, legal, section = rule

    assert _is_legal(ids, cd, ste) is legal, section


@pytest.mark.parametrize("half", [0, 1])
def test_every_txsz_is_judged(half: int) -> None:
    """5.4.2 CDTxSZInvalid without STT and VAX: 16 to 39."""
    legal = []
    for txsz in range(64):
        fields = {"T0SZ": txsz} if half == 0 else {**BOTH, "T1SZ": txsz}
        if _is_legal({}, fields, {}):
            legal.append(txsz)

    assert legal == list(range(16, 40))


HIGH, LOW = 0xFFFF_FFFF_FFFF_F000, 0x5000
# 5.4.1.1: (EPD0, EPD1, T0SZ, T1SZ, address, event); 0x0B: the walk was started and aborted
EPD_TABLE = [
    (0, 0, 25, 25, HIGH, 0x10),
    (0, 0, 25, 25, LOW, 0x10),
    (0, 0, 25, 0, HIGH, C_BAD_CD),
    (0, 0, 25, 0, LOW, C_BAD_CD),
    (0, 0, 0, 25, HIGH, C_BAD_CD),
    (0, 0, 0, 25, LOW, C_BAD_CD),
    (0, 1, 25, 0, HIGH, 0x10),
    (0, 1, 25, 0, LOW, 0x10),
    (0, 1, 0, 0, HIGH, C_BAD_CD),
    (0, 1, 0, 0, LOW, C_BAD_CD),
    (1, 0, 0, 25, HIGH, 0x10),
    (1, 0, 0, 25, LOW, 0x10),
    (1, 0, 0, 0, HIGH, C_BAD_CD),
    (1, 0, 0, 0, LOW, C_BAD_CD),
    (1, 1, 0, 0, HIGH, 0x10),
    (1, 1, 0, 0, LOW, 0x10),
]


@pytest.mark.parametrize(("epd0", "epd1", "t0sz", "t1sz", "address", "event"), EPD_TABLE)
def test_epd_decides_which_half_is_judged_and_walked(
    epd0: int, epd1: int, t0sz: int, t1sz: int, address: int, event: int
) -> None:
    """5.4.1.1, the table; tables are empty here, so a walk ends in F_TRANSLATION as well."""
    bench, tree = stage1_bench()
    fields = {"EPD0": epd0, "EPD1": epd1, "T0SZ": t0sz, "T1SZ": t1sz, "TG1": 2}
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root, "TTB1": tree.root, **fields})
    reads = bench.watch("walk")
    assert bench.code(address) == event
    enabled = not (epd1 if address == HIGH else epd0)

    assert len(reads) == (1 if enabled and event == 0x10 else 0)


def test_same_cd_may_be_good_through_one_ste_and_bad_through_another() -> None:
    """5.4.1: S1STALLD of the STE decides whether CD.S is legal."""
    bench, _ = stage1_bench(make_ids(STALL_MODEL=0), S=1)
    bench.ste(SID + 1, **{**S1_STE, "S1STALLD": 1})
    bench.go(IOVA)
    assert [record & 0xFF for record in bench.events()] == [0x10]

    assert bench.code(IOVA, sid=SID + 1) == C_BAD_CD


def test_cd_of_a_nested_stream_is_judged_likewise() -> None:
    bench, _, _ = nested_bench(cd={"TG0": 3})
    assert bench.code(IOVA) == C_BAD_CD
    bench, _, _ = nested_bench(cd={"TTB0": 0x1000_0000_0000})

    assert bench.code(IOVA) == C_BAD_CD


def test_cd_is_not_looked_at_when_stage_1_is_off() -> None:
    """5.2: S1ContextPtr is IGNORED; an invalid CD there does not matter."""
    bench = Bench()
    bench.cd(CD_AT, V=0)
    bench.ste(V=1, Config=0b100, S1ContextPtr=CD_AT, SHCFG=1)
    assert bench.pa(IOVA) == IOVA
    bench.ste(**{**NESTED_STE, "Config": 0b110, "S2TTB": bench.alloc(0x1000)})
    bench.forget()

    assert bench.code(IOVA) == 0x10


def test_bits_above_the_table_base_are_ignored() -> None:
    """5.4 TTB0: bits [119:116] are RES0 with 64-bit descriptors."""
    bench, tree = stage1_bench()
    word = bench.memory.read_u64(CD_AT + 8)
    assert word is not None
    bench.write64(CD_AT + 8, word | 0x00F0_0000_0000_0000)
    tree.page(IOVA, RAM)

    assert bench.pa(IOVA) == RAM
