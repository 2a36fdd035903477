# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors written by hand from the specifications, bit by bit, and what they mean."""

from __future__ import annotations

from typing import Any

import pytest

from pgtable.inspect.meaning import mair_type, remapped_type, stage_2_type
from pgtable.inspect.space import LINUX_NMRR, LINUX_PRRR, Space

S1: dict[str, Any] = {"format": "ARM_64_LPAE_S1"}
S1_16K: dict[str, Any] = {"format": "ARM_64_LPAE_S1", "granule": 0x4000}
S1_64K: dict[str, Any] = {"format": "ARM_64_LPAE_S1", "granule": 0x10000}
S1_LPA: dict[str, Any] = {**S1_64K, "output_bits": 52, "input_bits": 52}
S2: dict[str, Any] = {"format": "ARM_64_LPAE_S2"}
FWB: dict[str, Any] = {"format": "ARM_64_LPAE_S2", "fwb": True}
S1_32: dict[str, Any] = {"format": "ARM_32_LPAE_S1"}
S2_32: dict[str, Any] = {"format": "ARM_32_LPAE_S2"}
MALI: dict[str, Any] = {"format": "ARM_MALI_LPAE"}
V7S: dict[str, Any] = {"format": "ARM_V7S"}
V7S_40: dict[str, Any] = {"format": "ARM_V7S", "output_bits": 40}
MTK: dict[str, Any] = {"format": "ARM_V7S", "mtk": True, "mtk_tables": True}
DART: dict[str, Any] = {"format": "APPLE_DART"}
DART2: dict[str, Any] = {"format": "APPLE_DART2"}

# (space, level, word, what it is)
LEAVES = [
    # Stage 1, table D8-52. 0xF47: nG, AF, SH 11, AP[2:1] 01, AttrIndx 001, type 11.
    (S1, 3, 0x0000_0000_4800_1F47, "4K page → 0x48001000 rw cached"),
    (S1, 3, 0x0000_FFFF_FFFF_FF47, "4K page → 0xfffffffff000 rw cached"),
    (S1, 2, 0x0000_0000_8020_0F45, "2M block → 0x80200000 rw cached"),
    (S1, 1, 0x0000_0000_4000_0F45, "1G block → 0x40000000 rw cached"),
    (S1_16K, 3, 0x0000_0000_4800_4F47, "16K page → 0x48004000 rw cached"),
    (S1_16K, 2, 0x0000_0000_4A00_0F45, "32M block → 0x4a000000 rw cached"),
    (S1_64K, 3, 0x0000_0000_4801_0F47, "64K page → 0x48010000 rw cached"),
    (S1_64K, 2, 0x0000_0000_6000_0F45, "512M block → 0x60000000 rw cached"),
    (S1_LPA, 1, 0x0000_0400_0000_0F45, "4T block → 0x40000000000 rw cached"),
    # Address bits 51:48 in descriptor bits 15:12.
    (S1_LPA, 3, 0x0000_1234_5678_AF47, "64K page → 0xa123456780000 rw cached"),
    # AP[2:1] 11 with UXN and PXN; 10; 00.
    (S1, 3, 0x0060_0000_4800_1FC7, "4K page → 0x48001000 ro cached xn"),
    (S1, 3, 0x0040_0000_4800_1F87, "4K page → 0x48001000 ro priv cached uxn"),
    (S1, 3, 0x0020_0000_4800_1F07, "4K page → 0x48001000 rw priv cached pxn"),
    # AttrIndx 0 and 2 of Linux's MAIR, SH 10.
    (S1, 3, 0x0000_0000_4800_1E43, "4K page → 0x48001000 rw uncached"),
    (S1, 3, 0x0000_0000_0900_0E4B, "4K page → 0x9000000 rw device"),
    (S1, 3, 0x0000_0000_4800_1C47, "4K page → 0x48001000 rw cached non-shareable"),
    (S1, 3, 0x0000_0000_4800_1E47, "4K page → 0x48001000 rw cached outer-shareable"),
    # nG 0; NS; GP; Contiguous and DBM with AP[2] 0 and 1; nT; bits 63 and 58:55.
    (S1, 3, 0x0000_0000_4800_1747, "4K page → 0x48001000 rw cached global"),
    (S1, 3, 0x0000_0000_4800_1F67, "4K page → 0x48001000 rw cached ns"),
    (S1, 3, 0x0004_0000_4800_1F47, "4K page → 0x48001000 rw cached guarded"),
    (S1, 3, 0x0018_0000_4801_0F47, "4K page → 0x48010000 rw cached contiguous dirty"),
    (S1, 3, 0x0018_0000_4801_0FC7, "4K page → 0x48010000 ro cached contiguous clean"),
    (S1, 2, 0x0000_0000_8021_0F45, "2M block → 0x80200000 rw cached nT"),
    (S1, 3, 0x8080_0000_4800_1F47, "4K page → 0x48001000 rw cached sw=0x101"),
    # Stage 2, table D8-53. 0x7FF: AF, SH 11, S2AP 11, MemAttr 1111, type 11.
    (S2, 3, 0x0000_0000_4800_17FF, "4K page → 0x48001000 rw cached"),
    (S2, 3, 0x0000_0000_4800_177F, "4K page → 0x48001000 ro cached"),
    (S2, 3, 0x0000_0000_4800_17BF, "4K page → 0x48001000 wo cached"),
    (S2, 3, 0x0000_0000_4800_173F, "4K page → 0x48001000 none cached"),
    (S2, 3, 0x0040_0000_4800_17FF, "4K page → 0x48001000 rw cached xn"),
    (S2, 3, 0x0060_0000_4800_17FF, "4K page → 0x48001000 rw cached xn"),
    (S2, 3, 0x0000_0000_0900_06C7, "4K page → 0x9000000 rw device"),
    (S2, 3, 0x0000_0000_0900_06C3, "4K page → 0x9000000 rw device-nGnRnE"),
    (S2, 3, 0x0000_0000_4800_16D7, "4K page → 0x48001000 rw uncached"),
    (S2, 2, 0x0008_0000_8020_077D, "2M block → 0x80200000 ro cached clean"),
    (S2, 3, 0x0000_0000_4800_1FFF, "4K page → 0x48001000 rw cached fnxs"),
    # With FEAT_S2FWB MemAttr 0110 forces write-back, 0111 follows stage 1.
    (FWB, 3, 0x0000_0000_4800_17DB, "4K page → 0x48001000 rw cached"),
    (FWB, 3, 0x0000_0000_4800_17DF, "4K page → 0x48001000 rw as-stage-1"),
    (FWB, 3, 0x0000_0000_4800_16D7, "4K page → 0x48001000 rw uncached"),
    # VMSAv8-32: the same without DBM and nT.
    (S1_32, 3, 0x0000_0000_4800_1F47, "4K page → 0x48001000 rw cached"),
    (S1_32, 1, 0x0000_00FF_C000_0F45, "1G block → 0xffc0000000 rw cached"),
    (S2_32, 3, 0x0000_0000_4800_17FF, "4K page → 0x48001000 rw cached"),
    # Mali: type 01 on the last level too, access bits as stage 2, SH 10, no access flag.
    (MALI, 3, 0x0000_0000_4800_12C5, "4K page → 0x48001000 rw cached"),
    (MALI, 3, 0x0060_0000_4800_1245, "4K page → 0x48001000 ro cached xn"),
    (MALI, 3, 0x0000_0000_4800_12C1, "4K page → 0x48001000 rw gpu-policy"),
    (MALI, 2, 0x0000_0000_0900_0289, "2M block → 0x9000000 wo gpu-policy attr2"),
    # Short descriptors. Small: nG 11, S 10, AP[2] 9, TEX 8:6, AP[1] 5, AF 4, C 3, B 2, XN 0.
    (V7S, 2, 0x4800_1C7E, "4K small page → 0x48001000 rw cached"),
    (V7S, 2, 0x4800_1C7F, "4K small page → 0x48001000 rw cached xn"),
    (V7S, 2, 0x4800_1E7E, "4K small page → 0x48001000 ro cached"),
    (V7S, 2, 0x4800_1C5E, "4K small page → 0x48001000 rw priv cached"),
    (V7S, 2, 0x0900_0C36, "4K small page → 0x9000000 rw device"),
    (V7S, 2, 0x4800_1C72, "4K small page → 0x48001000 rw uncached"),
    (V7S, 2, 0x4800_147E, "4K small page → 0x48001000 rw cached global"),
    (V7S, 2, 0x4800_187E, "4K small page → 0x48001000 rw cached non-shareable"),
    # Large: XN 15, TEX 14:12, the rest as a small page; type 01.
    (V7S, 2, 0x4801_1E3D, "64K large page → 0x48010000 ro cached"),
    (V7S, 2, 0x4801_9C3D, "64K large page → 0x48010000 rw cached xn"),
    # Section: NS 19, nG 17, S 16, AP[2] 15, TEX 14:12, AP[1] 11, AF 10, XN 4, C 3, B 2, PXN 0.
    (V7S, 1, 0x4813_1C0E, "1M section → 0x48100000 rw cached"),
    (V7S, 1, 0x481B_9C1E, "1M section → 0x48100000 ro cached xn ns"),
    (V7S, 1, 0x4813_1C0F, "1M section → 0x48100000 rw cached pxn"),
    (V7S, 1, 0x4813_1C6E, "1M section → 0x48100000 rw cached domain3"),
    # Supersection: bit 18; address bits 35:32 in 23:20 and 39:36 in 8:5, if there are any.
    (V7S, 1, 0x4807_1C0E, "16M supersection → 0x48000000 rw cached"),
    (V7S_40, 1, 0x4857_1CAE, "16M supersection → 0x5548000000 rw cached"),
    # MediaTek: address bit 32 in bit 9, bits 34:33 in bits 5:4.
    (MTK, 2, 0x4800_1E7E, "4K small page → 0x748001000 rw cached"),
    (MTK, 2, 0x4800_1C5E, "4K small page → 0x248001000 rw cached"),
    (MTK, 1, 0x4813_120E, "1M section → 0x148100000 rw cached"),
    (MTK, 2, 0x4801_1C2D, "64K large page → 0x448010000 rw cached"),
    # DART: SP_END 51:40 all ones, address in place, no read 8, no write 7, whole page 1.
    (DART, 3, 0x000F_FF08_4000_4003, "16K page → 0x840004000 rw normal"),
    (DART, 3, 0x000F_FF08_4000_4083, "16K page → 0x840004000 ro normal"),
    (DART, 3, 0x000F_FF08_4000_4103, "16K page → 0x840004000 wo normal"),
    (DART, 3, 0x0010_FF08_4000_4001, "16K page → 0x840004000 rw normal part[0x1-0xff]"),
    # DART2: address bits 41:14 in bits 37:10, no read 3, no write 2, no cache 1.
    (DART2, 3, 0x000F_FF00_8400_0401, "16K page → 0x840004000 rw cached"),
    (DART2, 3, 0x000F_FF00_8400_0405, "16K page → 0x840004000 ro cached"),
    (DART2, 3, 0x000F_FF00_8400_040B, "16K page → 0x840004000 wo uncached"),
    (DART2, 3, 0x000F_FF3F_FFFF_FC01, "16K page → 0x3ffffffc000 rw cached"),
]

TABLES = [
    (S1, 0, 0x0000_0000_4800_2003, 0x4800_2000),
    (S1, 2, 0x0080_FFFF_FFFF_F003, 0xFFFF_FFFF_F000),
    (S1_16K, 1, 0x0000_0000_4800_4003, 0x4800_4000),
    (S1_LPA, 2, 0x0000_0000_4801_C003, 0xC_0000_4801_0000),
    (S2, 1, 0x0000_0000_4800_2003, 0x4800_2000),
    (S1_32, 2, 0x0000_00FF_4800_2003, 0xFF_4800_2000),
    (MALI, 0, 0x0000_0000_4800_2003, 0x4800_2000),
    (V7S, 1, 0x4800_2401, 0x4800_2400),
    (V7S, 1, 0x4800_2409, 0x4800_2400),
    (MTK, 1, 0x4800_2631, 0x7_4800_2400),
    (DART, 2, 0x0000_0008_4000_4001, 0x8_4000_4000),
    (DART2, 2, 0x0000_0000_8400_0401, 0x8_4000_4000),
]

PROBLEMS = [
    (S1, 3, 0x0000_0000_4800_1F45, ["reserved-type"]),
    (S1, 0, 0x0000_0000_4800_0F45, ["reserved-type"]),
    (S1_16K, 1, 0x0000_0000_0000_0F45, ["reserved-type"]),
    (S1_64K, 1, 0x0000_0000_0000_0F45, ["reserved-type"]),
    (MALI, 3, 0x0000_0000_4800_12C7, ["reserved-type"]),
    (S1, 3, 0x0001_0000_4800_1F47, ["reserved-bits"]),
    (S1, 2, 0x0004_0000_4800_2003, ["reserved-bits"]),
    (S1, 2, 0x0000_0000_8030_0F45, ["misaligned"]),
    (S1, 2, 0x0000_0000_8020_1F45, ["misaligned"]),
    (S1_16K, 3, 0x0000_0000_4800_5F47, ["misaligned"]),
    (S1_LPA, 1, 0x0010_0400_0000_0F45, ["reserved-bits"]),
    (S1, 3, 0x0000_0000_4800_1D47, ["reserved-shareability"]),
    (S1, 3, 0x0000_0000_4800_1B47, ["access-flag"]),
    ({**S1, "mair": 0x02 << 32}, 3, 0x0000_0000_4800_1F53, ["reserved-memory-type"]),
    (S2, 3, 0x8000_0000_4800_17FF, ["reserved-bits"]),
    (S2, 2, 0x4000_0000_4800_2003, ["reserved-bits"]),
    (S2, 3, 0x0004_0000_4800_17FF, ["reserved-bits"]),
    (S2, 3, 0x0000_0000_4800_17E3, ["reserved-memory-type"]),
    (FWB, 3, 0x0000_0000_4800_17FF, ["reserved-memory-type"]),
    (S1_32, 3, 0x0008_0000_4800_1F47, ["reserved-bits"]),
    (S1_32, 3, 0x0000_0100_4800_1F47, ["address-size"]),
    (S1_32, 2, 0x0000_0100_4800_2003, ["address-size"]),
    (V7S, 1, 0x4817_1C0E, ["misaligned"]),
    (V7S, 1, 0x4800_2411, ["reserved-bits"]),
    (V7S, 2, 0x4801_1E7D, ["reserved-bits"]),
    (V7S, 2, 0x4800_1C6E, ["access-flag"]),
    (DART, 3, 0x000F_FF18_4000_4003, ["reserved-bits"]),
    (DART, 3, 0x000F_FF08_4000_5003, ["misaligned"]),
    ({**S1, "output_bits": 40}, 3, 0x0000_0100_4800_1F47, ["address-size"]),
]

INVALID = [
    (S1, 3, 0x0000_0000_4800_1F46),
    (S1, 1, 0x0000_0000_4800_2002),
    (V7S, 1, 0xFFFF_FFFC),
    (V7S, 2, 0xFFFF_FFFC),
    (DART, 3, 0x000F_FF08_4000_4002),
]


def decoded(kind: dict[str, Any], level: int, word: int) -> Any:
    reader = make(kind).reader
    return reader.decode(word, reader.level(level))


def make(kind: dict[str, Any]) -> Space:
    return Space(root=0, **kind)


@pytest.mark.parametrize(("kind", "level", "word", "words"), LEAVES)
def test_a_leaf_means_what_its_bits_say(
    kind: dict[str, Any], level: int, word: int, words: str
) -> None:
    found = decoded(kind, level, word)
    assert str(found) == words
    assert [rule for rule, _ in found.problems] == []
    assert found.is_leaf


@pytest.mark.parametrize(("kind", "level", "word", "address"), TABLES)
def test_a_table_descriptor_points_to_a_table(
    kind: dict[str, Any], level: int, word: int, address: int
) -> None:
    found = decoded(kind, level, word)
    assert (found.kind, found.address, found.problems) == ("table", address, ())


@pytest.mark.parametrize(("kind", "level", "word", "rules"), PROBLEMS)
def test_an_illegal_descriptor_is_told(
    kind: dict[str, Any], level: int, word: int, rules: list[str]
) -> None:
    assert [rule for rule, _ in decoded(kind, level, word).problems] == rules


@pytest.mark.parametrize(("kind", "level", "word"), INVALID)
def test_an_invalid_descriptor_is_invalid_whatever_else_it_holds(
    kind: dict[str, Any], level: int, word: int
) -> None:
    found = decoded(kind, level, word)
    assert (found.kind, found.address, found.fields) == ("invalid", None, ())


def test_hierarchical_controls_restrict_what_is_below() -> None:
    # APTable 11, UXNTable, PXNTable and NSTable of a table above; table D8-64.
    reader = make(S1).reader
    leaf = reader.level(3)
    word = 0x4800_1F47
    for inherited, words in (
        (0, "rw cached"),
        (1 << 61, "rw priv cached"),
        (1 << 62, "ro cached"),
        (3 << 61, "ro priv cached"),
        (1 << 60, "rw cached uxn"),
        (1 << 59, "rw cached pxn"),
        (3 << 59, "rw cached xn"),
        (1 << 63, "rw cached ns"),
    ):
        meaning = reader.decode(word, leaf, inherited).meaning
        assert str(meaning) == words
    assert make(S2).reader.inherited_mask == 0


def test_user_writable_memory_is_never_executable_by_privileged_code() -> None:
    # R_VWLLR: UnprivWrite removes PrivExecute; table D8-65.
    for word, user, privileged in (
        (0x4800_1F47, "rwx", "rw-"),
        (0x4800_1FC7, "r-x", "r-x"),
        (0x4800_1F07, "--x", "rwx"),
        (0x0020_0000_4800_1FC7, "r-x", "r--"),
        (0x0040_0000_4800_1FC7, "r--", "r-x"),
    ):
        meaning = decoded(S1, 3, word).meaning
        shown = [
            "".join(c if rights >> i & 1 else "-" for i, c in enumerate("rwx"))
            for rights in (meaning.user, meaning.privileged)
        ]
        assert shown == [user, privileged], hex(word)


@pytest.mark.parametrize(
    ("attribute", "short", "words"),
    [
        (0x00, "device-nGnRnE", "Device-nGnRnE"),
        (0x04, "device", "Device-nGnRE"),
        (0x08, "device-nGRE", "Device-nGRE"),
        (0x0C, "device-GRE", "Device-GRE"),
        (0x05, "device", "Device-nGnRE, XS=0"),
        (0x44, "uncached", "Normal non-cacheable"),
        (0xFF, "cached", "Normal write-back"),
        (0xBB, "write-through", "Normal write-through"),
        (0x40, "uncached", "Normal non-cacheable, XS=0"),
        (0xA0, "write-through", "Normal write-through, XS=0"),
        (0xF0, "cached-tagged", "Normal write-back, tagged"),
        (0xF4, "inner-uncached/outer-cached", "Normal inner non-cacheable, outer write-back"),
        (0xEE, "cached", "Normal write-back, inner read-allocate, outer read-allocate"),
        (0x77, "cached", "Normal write-back, inner transient, outer transient"),
        (0x02, "unpredictable", "MAIR 0x02: unpredictable"),
        (0x30, "unpredictable", "MAIR 0x30: unpredictable"),
    ],
)
def test_mair_bytes(attribute: int, short: str, words: str) -> None:
    found = mair_type(attribute)
    assert (found.short, found.words) == (short, words)
    assert found.reserved == (short == "unpredictable")


def test_stage_2_memattr_follows_table_d8_96() -> None:
    shorts = [stage_2_type(code, forced=False).short for code in range(16)]
    assert shorts == [
        "device-nGnRnE",
        "device",
        "device-nGRE",
        "device-GRE",
        "reserved",
        "uncached",
        "inner-write-through/outer-uncached",
        "inner-cached/outer-uncached",
        "reserved",
        "inner-uncached/outer-write-through",
        "write-through",
        "inner-cached/outer-write-through",
        "reserved",
        "inner-uncached/outer-cached",
        "inner-write-through/outer-cached",
        "cached",
    ]


def test_tex_remap_as_linux_sets_it() -> None:
    shorts = [remapped_type(index, LINUX_PRRR, LINUX_NMRR).short for index in range(8)]
    assert shorts[1] == "device"
    assert shorts[4] == "uncached"
    assert shorts[7] == "cached"
    assert shorts[6] == "impl-defined"
    assert remapped_type(2, 2 << 4, 2 << 4 | 3 << 20).short == "inner-write-through/outer-cached"


def test_a_field_is_told_in_words() -> None:
    found = decoded(S1, 3, 0x0000_0000_4800_1F47)
    said = {field.name: words for field, _, words in found.fields}
    assert said["AP"] == "read/write"
    assert said["AttrIndx"] == "Normal write-back"
    assert said["SH"] == "inner-shareable"
    assert said["type"] == "page"
    assert said["address"] == "0x48001000"
