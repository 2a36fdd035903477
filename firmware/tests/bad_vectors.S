/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile: its vectors give the exception that they are to handle, for ever.
 */
    .section .text.start, "ax"
    .global _start
    .type _start, %function
_start:
    adr     x0, bad_vectors
    msr     vbar_el1, x0
    isb
    svc     #0
    b       .
    .size _start, . - _start

    .balign 2048
    .type bad_vectors, %function
bad_vectors:
    .rept   16
    .balign 128
    udf     #0
    .endr
    .size bad_vectors, . - bad_vectors
