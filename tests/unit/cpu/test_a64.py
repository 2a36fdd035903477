# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests' own assembler, against words written down by hand (DDI 0487 C6.2)."""

from __future__ import annotations

import pytest

from tests.unit.cpu import a64


@pytest.mark.parametrize(
    ("built", "word"),
    [
        (a64.mov(3, 0x1234_5678_9ABC_DEF0)[0], 0xD29B_DE03),  # movz x3, #0xdef0
        (a64.mov(3, 0x1234_5678_9ABC_DEF0)[3], 0xF2E2_4683),  # movk x3, #0x1234, lsl #48
        (a64.add(1, 31, 16), 0x9100_43E1),  # add x1, sp, #16
        (a64.sub(31, 31, 16), 0xD100_43FF),  # sub sp, sp, #16
        (a64.ldr(1, 2, 8), 0xF940_0441),
        (a64.str_(1, 2, 16), 0xF900_0841),
        (a64.ldr_w(1, 2, 4), 0xB940_0441),
        (a64.str_w(1, 2, 8), 0xB900_0841),
        (a64.b(-2), 0x17FF_FFFE),
        (a64.cbnz(3, -1), 0xB5FF_FFE3),
        (a64.br(5), 0xD61F_00A0),
        (a64.svc(5), 0xD400_00A1),
        (a64.hvc(), 0xD400_0002),
        (a64.smc(), 0xD400_0003),
        (a64.brk(3), 0xD420_0060),
        (a64.mrs(0, 3, 3, 14, 0, 2), 0xD53B_E040),  # mrs x0, cntvct_el0
        (a64.msr(4, 3, 0, 12, 0, 0), 0xD518_C004),  # msr vbar_el1, x4
    ],
)
def test_builder_gives_the_word_of_the_manual(built, word):
    assert built == word
