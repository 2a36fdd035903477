# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors and registers against words put together by hand from the specifications."""

from __future__ import annotations

import pytest
from pgtable_helpers import BASE, G1, K4, K16, K64, M1, M2, M16, M512, RW, R, W, cfg

from pgtable import Arena, Prot, Quirk, Tcr, Vtcr, alloc

CACHE, NOEXEC = int(Prot.CACHE), int(Prot.NOEXEC)
MMIO, PRIV = int(Prot.MMIO), int(Prot.PRIV)
XN = 0x0060_0000_0000_0000


def leaf(fmt: str, prot: int, *, size: int = K4, paddr: int = 0, **kw: int) -> int:
    """Return the descriptor written for one leaf at address 0: it is the last word written."""
    memory = Arena(BASE, 1 << 22)
    table = alloc(fmt, cfg(**kw), memory=memory)
    ptes = [0, 0, 0, 0]
    assert table.map_pages(0, paddr, size, 1, prot) == (0, size)
    assert table.pgtable_walk(0, ptes) == 0
    return next(pte for pte in reversed(ptes) if pte)


@pytest.mark.parametrize(
    ("prot", "word"),
    [
        (RW | CACHE, 0x8000_0F47),  # nG, AF, inner shareable, AP[1], index 1, page
        (RW, 0x8000_0E43),  # outer shareable, index 0
        (R, 0x8000_0EC3),  # AP[2]
        (W, 0x8000_0E43),  # writable means readable too
        (RW | PRIV, 0x8000_0E03),
        (RW | MMIO, 0x8000_0E4B),  # index 2
        (RW | MMIO | CACHE, 0x8000_0F4B),
        (R | NOEXEC, XN | 0x8000_0EC3),
    ],
)
def test_stage_1_page_is_the_word_of_the_specification(prot: int, word: int) -> None:
    assert leaf("ARM_64_LPAE_S1", prot, paddr=0x8000_0000) == word


def test_stage_1_block_has_type_one() -> None:
    assert leaf("ARM_64_LPAE_S1", RW | CACHE, size=M2, paddr=0x8020_0000) == 0x8020_0F45
    assert leaf("ARM_64_LPAE_S1", RW | CACHE, size=G1, paddr=0xC000_0000) == 0xC000_0F45


def test_stage_1_hd_sets_dbm_on_writable_leaves_only() -> None:
    hd = int(Quirk.ARM_HD)
    assert leaf("ARM_64_LPAE_S1", RW, quirks=hd) == 0x0008_0000_0000_0E43
    assert leaf("ARM_64_LPAE_S1", R, quirks=hd) == 0x0EC3


def test_stage_1_ns_marks_leaves_and_tables() -> None:
    memory = Arena(BASE, 1 << 20)
    table = alloc("ARM_64_LPAE_S1", cfg(quirks=Quirk.ARM_NS), memory=memory)
    table.map(0, 0x8000_0000, K4, RW)
    ptes = [0, 0, 0, 0]
    table.pgtable_walk(0, ptes)
    assert ptes == [
        0x8000_0000_4000_1003,
        0x8000_0000_4000_2003,
        0x8000_0000_4000_3003,
        0x8000_0E63,
    ]


@pytest.mark.parametrize(
    ("prot", "quirks", "word"),
    [
        (RW | CACHE, 0, 0x8000_07FF),  # AF, inner, HAP 3, MemAttr 1111, page
        (RW, 0, 0x8000_06D7),  # outer, MemAttr 0101
        (RW | MMIO, 0, 0x8000_06C7),  # MemAttr 0001
        (R | CACHE, 0, 0x8000_077F),
        (W | CACHE, 0, 0x8000_07BF),
        (RW | PRIV, 0, 0x8000_06D7),
        (RW | CACHE, Quirk.ARM_S2FWB, 0x8000_07DB),  # MemAttr 0110
        (RW, Quirk.ARM_S2FWB, 0x8000_06D7),
        (RW | NOEXEC, 0, XN | 0x8000_06D7),
    ],
)
def test_stage_2_page_is_the_word_of_the_specification(prot: int, quirks: int, word: int) -> None:
    assert leaf("ARM_64_LPAE_S2", prot, paddr=0x8000_0000, quirks=quirks) == word


def test_64k_page_keeps_address_bits_51_48_in_bits_15_12() -> None:
    word = leaf(
        "ARM_64_LPAE_S1", RW, size=K64, paddr=0x000A_0000_0003_0000, bitmap=K64 | M512, oas=52
    )
    assert word == 0x0003_AE43


def test_16k_page_is_the_word_of_the_specification() -> None:
    assert leaf("ARM_64_LPAE_S1", RW, size=K16, paddr=0x8000_4000, bitmap=K16) == 0x8000_4E43


@pytest.mark.parametrize("size", [K4, M2, G1])
def test_mali_leaf_has_the_block_type_on_every_level(size: int) -> None:
    assert leaf("ARM_MALI_LPAE", RW | CACHE, size=size, paddr=G1, oas=40) == G1 | 0x2C5
    assert leaf("ARM_MALI_LPAE", R | NOEXEC, size=size, paddr=G1, oas=40) == XN | G1 | 0x241


def v7s_entry(prot: int, size: int, paddr: int = 0, quirks: int = 0) -> tuple[int, int]:
    """Return level 1's and level 2's first entry after one page is mapped at 0."""
    memory = Arena(BASE, 1 << 20)
    oas = 35 if quirks & Quirk.ARM_MTK_EXT else 32
    v7s = cfg(K4 | K64 | M1 | M16, ias=32, oas=oas, quirks=quirks)
    table = alloc("ARM_V7S", v7s, memory=memory)
    assert table.map_pages(0, paddr, size, 1, prot) == (0, size)
    return memory.halves[0], memory.halves[0x4000 >> 2]


def test_v7s_small_page_is_the_word_of_the_specification() -> None:
    assert v7s_entry(RW | CACHE, K4, 0x8000_0000) == (0x4000_4001, 0x8000_0C7E)
    assert v7s_entry(R | NOEXEC, K4, 0x8000_0000)[1] == 0x8000_0E73  # AP[2], XN in bit 0
    assert v7s_entry(RW | MMIO, K4)[1] == 0x0C36  # TEX 0, B
    assert v7s_entry(RW | PRIV, K4)[1] == 0x0C52


def test_v7s_large_page_moves_tex_and_xn() -> None:
    assert v7s_entry(RW | CACHE, K64, 0x8001_0000)[1] == 0x8001_1C3D
    assert v7s_entry(R | NOEXEC, K64, 0x8001_0000)[1] == 0x8001_9E31


def test_v7s_section_and_supersection_are_the_words_of_the_specification() -> None:
    assert v7s_entry(RW | CACHE, M1, 0x8010_0000)[0] == 0x8013_1C0E
    assert v7s_entry(RW | CACHE, M16, 0x8100_0000)[0] == 0x8107_1C0E
    assert v7s_entry(R | NOEXEC, M1)[0] == 0x0003_9C12
    assert v7s_entry(RW | CACHE, M1, quirks=Quirk.ARM_NS)[0] == 0x000B_1C0E


def test_v7s_ns_marks_tables() -> None:
    assert v7s_entry(RW, K4, quirks=Quirk.ARM_NS)[0] == 0x4000_4009


def test_v7s_mediatek_keeps_address_bits_34_32_in_bits_5_4_and_9() -> None:
    mtk = Quirk.ARM_MTK_EXT | Quirk.NO_PERMS
    assert v7s_entry(RW, K4, 0x1_0000_0000, mtk)[1] == 0x0000_0E42
    assert v7s_entry(RW, K4, 0x2_0000_0000, mtk)[1] == 0x0000_0C52
    assert v7s_entry(RW, K4, 0x4_0000_0000, mtk)[1] == 0x0000_0C62


def dart_entry(fmt: str, prot: int, paddr: int, oas: int) -> int:
    memory = Arena(BASE, 1 << 20)
    table = alloc(fmt, cfg(K16, ias=36, oas=oas), memory=memory)
    assert table.map_pages(0, paddr, K16, 1, prot) == (0, K16)
    return memory.words[0x4000 >> 3]


def test_dart_leaves_are_the_words_the_driver_writes() -> None:
    assert dart_entry("APPLE_DART", RW, 0x8_0000_4000, 36) == 0x000F_FF08_0000_4003
    assert dart_entry("APPLE_DART", R, 0x8000_4000, 36) == 0x000F_FF00_8000_4083
    assert dart_entry("APPLE_DART", W, 0x8000_4000, 36) == 0x000F_FF00_8000_4103
    assert dart_entry("APPLE_DART2", RW | CACHE, 0x200_0000_4000, 42) == 0x000F_FF20_0000_0401
    assert dart_entry("APPLE_DART2", R, 0x4000, 42) == 0x000F_FF00_0000_0407


def test_stage_1_registers_are_the_fields_of_the_specification() -> None:
    table = alloc("ARM_64_LPAE_S1", cfg(ias=48, oas=44), memory=Arena(BASE, 1 << 20))
    assert table.regs.ttbr == BASE
    assert table.regs.tcr == Tcr(ips=4, tg=0, sh=3, orgn=1, irgn=1, tsz=16)
    assert table.regs.mair == 0xFFFF_FFFF_F404_FF44
    upper = cfg(K64, ias=48, quirks=Quirk.ARM_TTBR1, coherent_walk=False)
    table = alloc("ARM_64_LPAE_S1", upper, memory=Arena(BASE, 1 << 20))
    assert table.regs.tcr == Tcr(ips=5, tg=3, sh=2, orgn=0, irgn=0, tsz=16)


def test_stage_2_registers_are_the_fields_of_the_specification() -> None:
    table = alloc("ARM_64_LPAE_S2", cfg(ias=40, oas=40), memory=Arena(BASE, 1 << 20))
    # 40 bits with 4K pages: two concatenated tables at level 1, which SL0 calls 1.
    assert table.regs.vtcr == Vtcr(ps=2, tg=0, sh=3, orgn=1, irgn=1, sl=1, tsz=24)
    assert list(table.memory.live.items()) == [(BASE, 0x2000)]


def test_other_registers_are_the_words_drivers_write() -> None:
    mali = alloc("ARM_MALI_LPAE", cfg(ias=33, oas=40), memory=Arena(BASE, 1 << 20))
    assert (mali.regs.transtab, mali.regs.memattr) == (BASE | 0x17, 0x888D88)
    v7s = alloc("ARM_V7S", cfg(ias=32, oas=32), memory=Arena(BASE, 1 << 20))
    assert (v7s.regs.ttbr, v7s.regs.tcr) == (BASE | 0x6A, 0)
    assert (v7s.regs.prrr, v7s.regs.nmrr) == (0x800B_8204, 0x4000_4000)
    dart = alloc("APPLE_DART", cfg(K4, ias=32, oas=36), memory=Arena(BASE, 1 << 20))
    assert dart.regs.ttbr == (BASE, BASE + K4, BASE + 2 * K4, BASE + 3 * K4)
    assert (dart.regs.n_ttbrs, dart.regs.n_levels) == (4, 3)
