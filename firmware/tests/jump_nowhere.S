/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: jumps to an address where nothing is, without vectors to take the abort.
 */
    .section .text.start, "ax"
    .global _start
    .type _start, %function
_start:
    movz    x0, #0x70, lsl #32
    br      x0
    .size _start, . - _start
