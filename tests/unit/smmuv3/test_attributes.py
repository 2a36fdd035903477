# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory attributes of what leaves the SMMU, and bypass by GBPA and by the STE.

A memory type is a MAIR byte: outer cacheability and hints in the high nibble, inner in the low one.
Nibbles: 0x4 non-cacheable; 0x8 to 0xB write-through, 0xC to 0xF write-back, with bit 1 for read and
bit 0 for write allocation; 0x1 to 0x3 and 0x5 to 0x7 the same as transient. Shareability: 0 none,
2 outer, 3 inner.

Spec: IHI 0070 13.1 (operations), 13.2 (GBPA), 13.3, 13.4 (stages), 5.2, 5.4 MAIR, 6.3.14;
DDI 0487 D8.6, J1.3 (S2CombineS1MemAttrs).
"""

from __future__ import annotations

import pytest

from smmu_emu.smmuv3 import IdRegisters
from smmu_emu.transaction import Fault, Translation
from tests.unit.smmuv3.rig import (
    AF,
    PLAIN_CD,
    RAM,
    S1_STE,
    S2_READ,
    S2_STE,
    S2_WRITE,
    SID,
    USER,
    Bench,
    Tree,
    cmd,
    make_ids,
    nested_bench,
    stage1_bench,
    stage2_bench,
)

IOVA = 0x5000
NSH, OSH, ISH = 0, 2, 3
DEFAULT = (0xFF, NSH)
"""What an access carries whose master supplies nothing: 13.1.3."""
NGNRNE, NGNRE, NGRE, GRE, NC = 0x00, 0x04, 0x08, 0x0C, 0x44


def _attributes(bench: Bench, iova: int = IOVA, sid: int = SID) -> tuple[int, int]:
    result = bench.go(iova, sid=sid)
    assert isinstance(result, Translation), result
    return tuple(result.attributes)  # type: ignore[return-value]


# -- stage 1 replaces


@pytest.mark.parametrize(
    ("mair", "memory"),
    [
        (0x00, NGNRNE),
        (0x04, NGNRE),
        (0x08, NGRE),
        (0x0C, GRE),
        (0x01, NGNRNE),  # 5.4 MAIR: reserved Device codes act by their bits [3:2]
        (0x03, NGNRNE),
        (0x06, NGNRE),
        (0x0B, NGRE),
        (0x0F, GRE),
        (0x44, NC),
        (0xFF, 0xFF),
        (0xBB, 0xBB),
        (0x4F, 0x4F),
        (0xF4, 0xF4),
        (0x77, 0x77),
        (0xF0, 0xF3),  # reserved: inner write-through transient with RW 0b11, not Tagged
        (0x40, 0x43),
        (0x80, 0x83),
    ],
)
@pytest.mark.parametrize("index", range(8))
def test_stage_1_gives_the_type_of_its_index(index: int, mair: int, memory: int) -> None:
    """5.4 MAIR0, MAIR1: AttrIndx of the leaf picks a byte."""
    word = mair << 8 * index
    bench, tree = stage1_bench(MAIR0=word & 0xFFFF_FFFF, MAIR1=word >> 32)
    tree.page(IOVA, RAM, USER | AF | index << 2 | 3 << 8)
    device_or_nc = memory < 0x10 or memory == NC

    assert _attributes(bench) == (memory, OSH if device_or_nc else ISH)


@pytest.mark.parametrize(("sh", "shareability"), [(0, NSH), (2, OSH), (3, ISH)])
def test_stage_1_gives_the_shareability_of_the_leaf(sh: int, shareability: int) -> None:
    bench, tree = stage1_bench(MAIR0=0xFF)
    tree.page(IOVA, RAM, USER | AF | sh << 8)

    assert _attributes(bench) == (0xFF, shareability)


@pytest.mark.parametrize("sh", range(4))
@pytest.mark.parametrize("mair", [0x00, 0x0C, 0x44])
def test_device_and_non_cacheable_are_outer_shareable(mair: int, sh: int) -> None:
    """13.1.7."""
    bench, tree = stage1_bench(MAIR0=mair)
    tree.page(IOVA, RAM, USER | AF | sh << 8)

    assert _attributes(bench)[1] == OSH


# -- stage 2 combines

MEMATTR = {  # DDI 0487 D8.6.3: MemAttr[3:0] to (outer, inner)
    0b0101: "NC NC",
    0b0110: "NC WT",
    0b0111: "NC WB",
    0b1001: "WT NC",
    0b1010: "WT WT",
    0b1011: "WT WB",
    0b1101: "WB NC",
    0b1110: "WB WT",
    0b1111: "WB WB",
}


@pytest.mark.parametrize(("memattr", "memory"), [(0, NGNRNE), (1, NGNRE), (2, NGRE), (3, GRE)])
def test_stage_2_alone_can_make_device_memory(memattr: int, memory: int) -> None:
    bench, tree = stage2_bench()
    tree.page(IOVA, RAM, S2_READ | AF | memattr << 2)

    assert _attributes(bench) == (memory, OSH)


@pytest.mark.parametrize(("memattr", "types"), list(MEMATTR.items()))
def test_stage_2_alone_combines_with_what_came_in(memattr: int, types: str) -> None:
    """13.4.3: the default input is write-back, allocating, non-shareable; hints stay."""
    bench, tree = stage2_bench()
    tree.page(IOVA, RAM, S2_READ | AF | memattr << 2 | 3 << 8)
    nibble = {"NC": 0x4, "WT": 0xB, "WB": 0xF}
    outer, inner = types.split()
    memory = nibble[outer] << 4 | nibble[inner]

    assert _attributes(bench) == (memory, OSH if memory == NC else ISH)


DEVICES = [NGNRNE, NGNRE, NGRE, GRE]


@pytest.mark.parametrize("first", DEVICES)
@pytest.mark.parametrize("memattr", range(4))
def test_stronger_device_type_wins(first: int, memattr: int) -> None:
    """13.1.5: nGnRnE before nGnRE before nGRE before GRE."""
    bench, tree, second = nested_bench(cd={"MAIR0": first})
    tree.page(IOVA, 0x6_0000_0000, USER | AF)
    second.page(0x6_0000_0000, RAM, S2_READ | AF | memattr << 2)

    assert _attributes(bench) == (min(first, DEVICES[memattr]), OSH)


@pytest.mark.parametrize("device", DEVICES)
def test_device_beats_normal(device: int) -> None:
    bench, tree, second = nested_bench(cd={"MAIR0": device})
    tree.page(IOVA, 0x6_0000_0000, USER | AF)
    second.page(0x6_0000_0000, RAM, S2_READ | AF | 0xF << 2 | 3 << 8)
    assert _attributes(bench) == (device, OSH)
    bench, tree, second = nested_bench(cd={"MAIR0": 0xFF})
    tree.page(IOVA, 0x6_0000_0000, USER | AF)
    second.page(0x6_0000_0000, RAM, S2_READ | AF | DEVICES.index(device) << 2)

    assert _attributes(bench) == (device, OSH)


@pytest.mark.parametrize(
    ("mair", "memattr", "memory"),
    [
        (0xFF, 0b1111, 0xFF),
        (0xFF, 0b1010, 0xBB),
        (0xFF, 0b0101, 0x44),
        (0xFF, 0b0110, 0x4B),
        (0xBB, 0b1111, 0xBB),
        (0x44, 0b1111, 0x44),
        (0x44, 0b1010, 0x44),
        (0xF4, 0b1010, 0xB4),
        (0x4F, 0b1010, 0x4B),
        # hints and transience are stage 1's; stage 2 has none (13.4.3)
        (0xCC, 0b1010, 0x88),
        (0xDE, 0b1010, 0x9A),
        (0x77, 0b1111, 0x77),
        (0x77, 0b1010, 0x33),
        (0x5E, 0b1110, 0x5A),
        (0x33, 0b1111, 0x33),
    ],
)
def test_weaker_cacheability_wins_level_by_level(mair: int, memattr: int, memory: int) -> None:
    """13.1.5; DDI 0487 S2CombineS1AttrHints."""
    bench, tree, second = nested_bench(cd={"MAIR0": mair})
    tree.page(IOVA, 0x6_0000_0000, USER | AF | 3 << 8)
    second.page(0x6_0000_0000, RAM, S2_READ | AF | memattr << 2 | 3 << 8)

    assert _attributes(bench)[0] == memory


@pytest.mark.parametrize("first", [NSH, OSH, ISH])
@pytest.mark.parametrize("second", [NSH, OSH, ISH])
def test_wider_shareability_wins(first: int, second: int) -> None:
    """13.1.5: outer before inner before none; the incoming one is discarded by stage 1."""
    bench, tree, tree2 = nested_bench(cd={"MAIR0": 0xFF})
    tree.page(IOVA, 0x6_0000_0000, USER | AF | first << 8)
    tree2.page(0x6_0000_0000, RAM, S2_READ | AF | 0xF << 2 | second << 8)
    order = [NSH, ISH, OSH]

    assert _attributes(bench)[1] == max(first, second, key=order.index)


# -- S2FWB

FWB = [
    # stage 1, MemAttr[2:0], result; DDI 0487 D8.6 FEAT_S2FWB
    (0xFF, 0b110, 0xFF),
    (0x44, 0b110, 0xFF),
    (0x04, 0b110, 0xFF),
    (0xBB, 0b110, 0xFF),
    (0x44, 0b111, 0x44),
    (0x04, 0b111, 0x04),
    (0xBB, 0b111, 0xBB),
    (0xFF, 0b101, 0x44),
    (0x04, 0b101, 0x04),
    (0xFF, 0b000, 0x00),
    (0xFF, 0b001, 0x04),
    (0x08, 0b010, 0x08),
    (0x0C, 0b001, 0x04),
]


@pytest.mark.parametrize(("mair", "memattr", "memory"), FWB)
def test_stage_2_can_force_the_type(mair: int, memattr: int, memory: int) -> None:
    """5.2 S2FWB, 13.1.6."""
    bench, tree, second = nested_bench(make_ids(FWB=1), ste={"S2FWB": 1}, cd={"MAIR0": mair})
    tree.page(IOVA, 0x6_0000_0000, USER | AF | 3 << 8)
    second.page(0x6_0000_0000, RAM, S2_READ | AF | memattr << 2 | 3 << 8)

    assert _attributes(bench)[0] == memory


@pytest.mark.parametrize(("feature", "forced"), [(0, 1), (1, 0)])
def test_forcing_needs_the_feature_and_the_stream(feature: int, forced: int) -> None:
    """5.2 S2FWB, RES0 without IDR3.FWB: 0b0110 is outer non-cacheable, inner write-through."""
    bench, tree, second = nested_bench(make_ids(FWB=feature, minor=2), ste={"S2FWB": forced})
    tree.page(IOVA, 0x6_0000_0000, USER | AF | 1 << 2)
    second.page(0x6_0000_0000, RAM, S2_READ | AF | 0b0110 << 2)

    assert _attributes(bench)[0] == 0x4B


@pytest.mark.parametrize(("memattr", "device"), [(0b0001, True), (0b0110, False), (0b1001, True)])
def test_protected_walks_judge_the_forced_encoding(memattr: int, device: bool) -> None:
    """5.2 S2PTW with S2FWB: MemAttr[3] is no part of the type."""
    bench, tree, second = nested_bench(make_ids(FWB=1), ste={"S2FWB": 1, "S2PTW": 1})
    tree.set(IOVA, 1, 0x5_0000_0000 | 3)
    second.page(0x5_0000_0000, bench.alloc(0x1000), S2_READ | S2_WRITE | AF | memattr << 2)

    assert bench.code(IOVA) == (0x13 if device else 0x10)


# -- overrides of what comes in


def _override_ids() -> IdRegisters:
    return make_ids(ATTR_TYPES_OVR=1)


OVERRIDES = [
    # MTCFG, MemAttr, ALLOCCFG, SHCFG, result
    (0, 0, 0, 1, DEFAULT),
    (0, 5, 0, 1, DEFAULT),
    (1, 0, 0, 1, (NGNRNE, OSH)),
    (1, 1, 0, 0, (NGNRE, OSH)),
    (1, 2, 0, 3, (NGRE, OSH)),
    (1, 3, 0, 1, (GRE, OSH)),
    (1, 4, 0, 1, (NGNRNE, OSH)),  # 4, 8 and 12 behave as Device-nGnRnE
    (1, 8, 0, 1, (NGNRNE, OSH)),
    (1, 12, 0, 1, (NGNRNE, OSH)),
    (1, 5, 0, 3, (NC, OSH)),
    (1, 5, 15, 3, (NC, OSH)),  # hints have no effect on what is not cacheable
    (1, 10, 0, 3, (0xBB, ISH)),
    (1, 15, 0, 2, (0xFF, OSH)),
    (1, 13, 0, 0, (0xF4, NSH)),
    (0, 0, 0, 0, (0xFF, NSH)),
    (0, 0, 0, 2, (0xFF, OSH)),
    (0, 0, 0, 3, (0xFF, ISH)),
    (1, 15, 0b0111, 1, DEFAULT),  # bit 3 clear: incoming hints
    (1, 15, 0b1000, 1, (0xCC, NSH)),
    (1, 15, 0b1100, 1, (0xEE, NSH)),
    (1, 15, 0b1010, 1, (0xDD, NSH)),
    (1, 15, 0b1110, 1, (0xFF, NSH)),
    (1, 15, 0b1111, 1, (0x77, NSH)),
    (1, 15, 0b1101, 1, (0x66, NSH)),
    (1, 15, 0b1001, 1, (0xCC, NSH)),  # no-allocate is never transient (13.1.7)
    (1, 10, 0b1011, 3, (0x11, ISH)),
    (1, 13, 0b1100, 3, (0xE4, ISH)),
]


@pytest.mark.parametrize(("mtcfg", "memattr", "alloccfg", "shcfg", "result"), OVERRIDES)
@pytest.mark.parametrize("by", ["ste", "gbpa"])
def test_bypass_overrides_attributes(
    by: str, mtcfg: int, memattr: int, alloccfg: int, shcfg: int, result: tuple[int, int]
) -> None:
    """5.2, 6.3.14, 13.1.4: each field alone replaces."""
    bench = Bench(_override_ids())
    if by == "ste":
        fields = {"MTCFG": mtcfg, "MemAttr": memattr, "ALLOCCFG": alloccfg, "SHCFG": shcfg}
        bench.ste(V=1, Config=0b100, **fields)
    else:
        bench.w("CR0", 0xC)
        value = memattr | mtcfg << 4 | alloccfg << 8 | shcfg << 12
        bench.w("GBPA", 1 << 31 | value)

    assert _attributes(bench) == result


@pytest.mark.parametrize("by", ["ste", "gbpa"])
def test_overrides_need_the_feature(by: str) -> None:
    """6.3.2 ATTR_TYPES_OVR: without it the incoming attributes are used."""
    bench = Bench()
    if by == "ste":
        bench.ste(V=1, Config=0b100, MTCFG=1, MemAttr=1, ALLOCCFG=15, SHCFG=3)
    else:
        bench.w("CR0", 0xC)
        bench.w("GBPA", 1 << 31 | 0x3F11)

    assert _attributes(bench) == DEFAULT


def test_overridden_attributes_are_what_stage_2_combines_with() -> None:
    """13.4: stage 1 bypassed, stage 2 gets the input after overrides."""
    bench, tree = stage2_bench(_override_ids(), MTCFG=1, MemAttr=10, SHCFG=3)
    tree.page(IOVA, RAM, S2_READ | AF | 0xF << 2)

    assert _attributes(bench) == (0xBB, ISH)


def test_stage_1_discards_overridden_types() -> None:
    """13.4.2."""
    bench, tree = stage1_bench(_override_ids(), MAIR0=0xFF)
    bench.ste(**{**S1_STE, "MTCFG": 1, "MemAttr": 1, "SHCFG": 2})
    tree.page(IOVA, RAM, USER | AF | 3 << 8)

    assert _attributes(bench) == (0xFF, ISH)


_HINTS = pytest.mark.xfail(strict=True, reason="hints of cacheable input are not combined")


@_HINTS
def test_hints_of_cacheable_input_combine_with_stage_1() -> None:
    """13.4.2: RA, WA and TR of a cacheable input are combined, not replaced."""
    bench, tree = stage1_bench(_override_ids(), MAIR0=0xFF)
    bench.ste(**{**S1_STE, "MTCFG": 1, "MemAttr": 15, "ALLOCCFG": 0b1000})
    tree.page(IOVA, RAM, USER | AF | 3 << 8)

    assert _attributes(bench)[0] == 0xCC


def test_overrides_of_streams_that_share_stage_2_are_their_own() -> None:
    """5.2.1: MTCFG, MemAttr, ALLOCCFG and SHCFG are never cached in a TLB."""
    bench, tree = stage2_bench(_override_ids(), SHCFG=1)
    bench.ste(SID + 1, **{**S2_STE, "S2TTB": tree.root, "MTCFG": 1, "MemAttr": 5})
    tree.page(IOVA, RAM, S2_READ | AF | 0xF << 2)
    for _ in range(2):
        assert _attributes(bench) == DEFAULT
        assert _attributes(bench, sid=SID + 1) == (NC, OSH)


def test_changed_override_needs_cfgi_only() -> None:
    bench, tree = stage2_bench(_override_ids(), SHCFG=1)
    tree.page(IOVA, RAM, S2_READ | AF | 0xF << 2)
    assert _attributes(bench) == DEFAULT
    bench.ste(**{**S2_STE, "S2TTB": tree.root, "MTCFG": 1, "MemAttr": 5})
    bench.do(cmd("CFGI_STE", StreamID=SID))

    assert _attributes(bench) == (NC, OSH)


def test_changed_mair_may_take_a_tlb_invalidation() -> None:
    """5.4.1: MAIR may be cached in a TLB."""
    bench, tree = stage1_bench(MAIR0=0xFF)
    tree.page(IOVA, RAM)
    assert _attributes(bench)[0] == 0xFF
    bench.cd(**{**PLAIN_CD, "TTB0": tree.root, "MAIR0": 0x44})
    bench.do(cmd("CFGI_CD", StreamID=SID), cmd("TLBI_NH_ALL"))

    assert _attributes(bench)[0] == NC


# -- bypass addresses


def test_disabled_smmu_passes_addresses_up_to_oas() -> None:
    """3.4, 3.11: substreams too."""
    bench = Bench()
    bench.w("CR0", 0xC)
    for iova in (0, 0x1234_5678, (1 << 44) - 1):
        assert bench.pa(iova, True) == iova
    assert bench.pa(0x5000, ssid=77) == 0x5000
    result = bench.go(1 << 44)

    assert isinstance(result, Fault)
    assert not bench.events()


@pytest.mark.parametrize("abort", [0, 1])
def test_gbpa_abort_decides_while_disabled_only(abort: int) -> None:
    bench, tree = stage1_bench()
    tree.page(IOVA, RAM)
    bench.w("GBPA", 1 << 31 | abort << 20 | 1 << 12)
    assert bench.pa(IOVA) == RAM
    bench.w("CR0", 0xC)

    assert isinstance(bench.go(IOVA), Translation) is not bool(abort)


def test_bypassing_stream_passes_addresses_up_to_oas() -> None:
    """3.4, 5.2 Config 0b100."""
    bench = Bench()
    bench.ste(V=1, Config=0b100, SHCFG=1)
    for iova in (0, 0x1234_5678, (1 << 44) - 1):
        assert bench.pa(iova) == iova

    assert bench.code(1 << 44) == 0x11
    assert bench.code(1 << 63) == 0x11


def test_odd_addresses_pass_unchanged() -> None:
    """3.4.2: alignment is not checked."""
    bench, tree = stage1_bench()
    tree.page(IOVA, RAM)

    assert bench.pa(IOVA + 0x3A7) == RAM + 0x3A7


def test_attributes_do_not_depend_on_the_order_of_use() -> None:
    """The same page through two contexts with different MAIRs and ASIDs."""
    bench = Bench()
    trees = []
    for number, mair in enumerate((0xFF, 0x44)):
        tree = Tree(bench)
        at = bench.alloc(64)
        bench.cd(at, **{**PLAIN_CD, "TTB0": tree.root, "MAIR0": mair, "ASID": 10 + number})
        bench.ste(SID + number, **{**S1_STE, "S1ContextPtr": at})
        tree.page(IOVA, RAM, USER | AF | 1 << 11)
        trees.append(tree)
    for _ in range(2):
        assert _attributes(bench)[0] == 0xFF
        assert _attributes(bench, sid=SID + 1)[0] == NC
