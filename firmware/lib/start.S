/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The first instructions: to EL1 with a known SCTLR_EL1, a stack, vectors and a clear .bss, then
 * main(). What main() returns is the exit status.
 */

#define HCR_EL2_RW              (1 << 31)   /* EL1 is AArch64 */
#define CNTHCTL_EL2_EL1_ACCESS  3           /* EL1 may read the counter and use the timer */
#define CPTR_EL2_NO_TRAPS       0x33ff      /* RES1 bits only */
#define SCTLR_EL1_MMU_OFF       0x30d00800  /* RES1 bits only: MMU and caches off */
#define SPSR_EL1H_MASKED        0x3c5       /* EL1, its own stack pointer, D A I F masked */

    .section .text.start, "ax"
    .global _start
    .type _start, %function
_start:
    mrs     x0, CurrentEL
    ubfx    x0, x0, #2, #2
    cmp     x0, #2
    b.ne    at_el1

    /* Entered at EL2: leave nothing of it in the way of EL1, and go down. */
    mov     x0, #HCR_EL2_RW
    msr     hcr_el2, x0
    mov     x0, #CNTHCTL_EL2_EL1_ACCESS
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    mov     x0, #CPTR_EL2_NO_TRAPS
    msr     cptr_el2, x0
    msr     vttbr_el2, xzr
    mov     x0, #SPSR_EL1H_MASKED
    msr     spsr_el2, x0
    adr     x0, at_el1
    msr     elr_el2, x0
    isb
    eret

at_el1:
    msr     daifset, #0xf
    msr     spsel, #1
    ldr     x0, =SCTLR_EL1_MMU_OFF
    msr     sctlr_el1, x0
    ldr     x0, =vectors
    msr     vbar_el1, x0
    isb

    ldr     x0, =__stack_top
    mov     sp, x0

    ldr     x0, =__bss_start
    ldr     x1, =__bss_end
1:  cmp     x0, x1
    b.hs    2f
    stp     xzr, xzr, [x0], #16
    b       1b

2:  mov     x29, xzr
    mov     x30, xzr
    bl      main
    b       exit
    .size _start, . - _start
