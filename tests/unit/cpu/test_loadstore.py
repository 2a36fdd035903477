# SPDX-License-Identifier: GPL-2.0-or-later
"""Decoding of loads and stores against literal instruction words."""

from __future__ import annotations

import pytest

from smmu_emu.cpu.loadstore import decode
from tests.unit.cpu import a64, core_helpers

REGISTERS = [0x1000 * (i + 1) for i in range(31)] + [0x9_0000]
PC = 0x4000_0000

# word, element size, bytes in all, address with the registers above (Xn is 0x1000 * (n + 1))
WORDS = {
    "ldxr x2, [x1]": (0xC85F_7C22, 8, 8, 0x2000),
    "stxrb w0, w2, [x1]": (0x0800_7C22, 1, 1, 0x2000),
    "ldaxr w2, [sp]": (0x885F_FFE2, 4, 4, 0x9_0000),
    "ldxp x2, x3, [x1]": (0xC87F_0C22, 8, 16, 0x2000),
    "ldxp w2, w3, [x1]": (0x887F_0C22, 4, 8, 0x2000),
    "casp x2, x3, x4, x5, [x1]": (0x4822_7C24, 8, 16, 0x2000),
    "ldarh w2, [x1]": (0x48DF_FC22, 2, 2, 0x2000),
    "cas x2, x3, [x1]": (0xC8A2_7C23, 8, 8, 0x2000),
    "ldr x2, pc+16": (0x5800_0082, 8, 8, PC + 16),
    "ldr w2, pc-4": (0x18FF_FFE2, 4, 4, PC - 4),
    "ldrsw x2, pc+8": (0x9800_0042, 4, 4, PC + 8),
    "ldr q2, pc+8": (0x9C00_0042, 16, 16, PC + 8),
    "ldp x2, x3, [x1, #16]": (0xA941_0C22, 8, 16, 0x2010),
    "ldp w2, w3, [x1, #-8]": (0x297F_0C22, 4, 8, 0x1FF8),
    "ldpsw x2, x3, [x1]": (0x6940_0C22, 4, 8, 0x2000),
    "stp x2, x3, [x1], #32": (0xA882_0C22, 8, 16, 0x2000),
    "stp x2, x3, [x1, #32]!": (0xA982_0C22, 8, 16, 0x2020),
    "stnp x2, x3, [x1, #-16]": (0xA83F_0C22, 8, 16, 0x1FF0),
    "ldp q2, q3, [x1, #32]": (0xAD41_0C22, 16, 32, 0x2020),
    "ldp s2, s3, [x1]": (0x2D40_0C22, 4, 8, 0x2000),
    "ldr x2, [x1, #32760]": (0xF97F_FC22, 8, 8, 0x9FF8),
    "ldrb w2, [x1, #5]": (0x3940_1422, 1, 1, 0x2005),
    "ldrsh w2, [x1, #6]": (0x79C0_0C22, 2, 2, 0x2006),
    "str q2, [x1, #16]": (0x3D80_0422, 16, 16, 0x2010),
    "str h2, [x1, #2]": (0x7D00_0422, 2, 2, 0x2002),
    "ldur w2, [x1, #-5]": (0xB85F_B022, 4, 4, 0x1FFB),
    "ldtr x2, [x1, #7]": (0xF840_7822, 8, 8, 0x2007),
    "str x2, [x1], #-8": (0xF81F_8422, 8, 8, 0x2000),
    "str x2, [x1, #-8]!": (0xF81F_8C22, 8, 8, 0x1FF8),
    "ldr x2, [x1, x3]": (0xF863_6822, 8, 8, 0x6000),
    "ldr x2, [x1, x3, lsl #3]": (0xF863_7822, 8, 8, 0x2000 + 0x4000 * 8),
    "ldr w2, [x1, w3, uxtw #2]": (0xB863_5822, 4, 4, 0x2000 + 0x4000 * 4),
    "ldrb w2, [x1, xzr]": (0x387F_6822, 1, 1, 0x2000),
    "str q2, [x1, x3, lsl #4]": (0x3CA3_7822, 16, 16, 0x2000 + 0x4000 * 16),
    "ldadd x2, x3, [x1]": (0xF822_0023, 8, 8, 0x2000),
    "swpb w2, w3, [x1]": (0x3822_8023, 1, 1, 0x2000),
    "stlur w2, [x1, #-4]": (0x991F_C022, 4, 4, 0x1FFC),
    "ld1 {v2.16b}, [x1]": (0x4C40_7022, 8, 16, 0x2000),
    "ld1 {v2.4s-v5.4s}, [x1]": (0x4C40_2822, 8, 64, 0x2000),
    "st2 {v2.8h, v3.8h}, [x1]": (0x4C00_8422, 2, 32, 0x2000),
    "ld1 {v2.s}[1], [x1]": (0x0D40_9022, 4, 4, 0x2000),
    "ld1 {v2.d}[1], [x1]": (0x4D40_8422, 8, 8, 0x2000),
    "ld3 {v2.b-v4.b}[0], [x1]": (0x0D40_2022, 1, 3, 0x2000),
    "ld1r {v2.4s}, [x1]": (0x4D40_C822, 4, 4, 0x2000),
    "dc zva, x1": (0xD50B_7421, 64, 64, 0x2000),
}


@pytest.mark.parametrize(("word", "size", "total", "address"), WORDS.values(), ids=WORDS.keys())
def test_load_or_store_is_read_from_its_word(word, size, total, address):
    access = decode(word)
    assert access is not None
    assert (access.size, access.total, access.address(REGISTERS, PC)) == (size, total, address)


def test_signed_index_counts_downwards():
    access = decode(0xB863_D822)  # ldr w2, [x1, w3, sxtw #2]
    registers = [*REGISTERS]
    registers[3] = 0xFFFF_FFFF
    assert access is not None
    assert access.address(registers, PC) == 0x2000 - 4


def test_address_wraps_at_64_bits():
    access = decode(0xF840_8C22)  # ldr x2, [x1, #8]!
    assert access is not None
    assert access.address([(1 << 64) - 4] * 32, PC) == 4


@pytest.mark.parametrize(
    "word",
    [
        0xD503_201F,  # nop
        0x9100_0421,  # add
        0xF980_0020,  # prfm [x1]
        0xF8A3_6820,  # prfm [x1, x3]
        0xD800_0080,  # prfm pc+16
        0xD53B_E040,  # mrs x0, cntvct_el0
        0x1400_0000,  # b .
        0x0000_0000,
        0xFFFF_FFFF,
    ],
)
def test_other_instructions_touch_no_memory(word):
    assert decode(word) is None


DCZID_EL0 = 3, 3, 0, 0, 7
DZP = 1 << 4


def test_dc_zva_is_discouraged_until_a_guest_uses_it():
    """DDI 0487, DCZID_EL0: DZP is 1 where DC ZVA is prohibited; who does not ask is let."""
    target = core_helpers.RAM + 0x2000
    board = core_helpers.Board(
        a64.mrs(5, *DCZID_EL0),
        *a64.mov(1, target + 5),
        0xD50B_7421,  # dc zva, x1
        a64.mrs(6, *DCZID_EL0),
        core_helpers.STOP,
    )
    for _ in range(2):
        board.memory.write(target - 64, b"\xff" * 192)
        board.run()
        assert board.core.x(5) == DZP | 4
        assert board.core.x(6) == 4
        assert board.memory.read(target - 64, 192) == b"\xff" * 64 + bytes(64) + b"\xff" * 64
        assert board.reports == []
        board.core.reset(core_helpers.RAM)
