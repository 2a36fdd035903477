/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An exception that nothing expects: the library prints what it knows, and the status is 99.
 *
 * Every register has a value of its own before the load that faults, so that a dump with one
 * register in another's place is seen at once.
 */
#include "board.h"
#include "check.h"

int main(void)
{
    test_begin("crash: a load from nowhere");
    __asm__ volatile("mov x2, #0x22\n mov x3, #0x33\n mov x4, #0x44\n mov x5, #0x55\n"
                     "mov x6, #0x66\n mov x7, #0x77\n mov x8, #0x88\n mov x9, #0x99\n"
                     "mov x10, #0x1010\n mov x11, #0x1111\n mov x12, #0x1212\n"
                     "mov x13, #0x1313\n mov x14, #0x1414\n mov x15, #0x1515\n"
                     "mov x16, #0x1616\n mov x17, #0x1717\n mov x18, #0x1818\n"
                     "mov x19, #0x1919\n mov x20, #0x2020\n mov x21, #0x2121\n"
                     "mov x22, #0x2222\n mov x23, #0x2323\n mov x24, #0x2424\n"
                     "mov x25, #0x2525\n mov x26, #0x2626\n mov x27, #0x2727\n"
                     "mov x28, #0x2828\n mov x30, #0x3030\n"
                     "mov x0, #0xaa\n mov x1, %0\n"
                     "ldr x0, [x1, #0x18]"
                     :
                     : "i"(NOWHERE_BASE)
                     : "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11",
                       "x12", "x13", "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22",
                       "x23", "x24", "x25", "x26", "x27", "x28", "x30", "memory");
    check(false, "the load has faulted");
    return test_end();
}
