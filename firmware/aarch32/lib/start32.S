/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The first instructions: stacks of the modes, vectors, a clear .bss, then main(). And the vectors
 * of PL1 (DDI 0406 B1.8.1): each saves a struct frame on the Supervisor stack and calls
 * exception(frame).
 */

#define MODE_FIQ    0x11
#define MODE_IRQ    0x12
#define MODE_SVC    0x13
#define MODE_ABORT  0x17
#define MODE_UND    0x1b

    .arm
    .section .text.start, "ax"
    .global _start
    .type _start, %function
_start:
    cpsid   aif, #MODE_SVC
    ldr     sp, =__stack_top
    ldr     r0, =vectors
    mcr     p15, 0, r0, c12, c0, 0
    isb

    ldr     r0, =__bss_start
    ldr     r1, =__bss_end
    mov     r2, #0
1:  cmp     r0, r1
    strlo   r2, [r0], #4
    blo     1b

    bl      main
    bl      exit
    .size _start, . - _start

    .section .text.vectors, "ax"
    .balign 32
    .global vectors
vectors:
    b       .                   /* reset */
    b       undefined
    b       supervisor
    b       prefetch
    b       data
    b       .                   /* hypervisor call */
    b       interrupt
    b       .                   /* FIQ */

/* LR is brought to the instruction itself, or behind it for SVC and IRQ; then all go one way. */
undefined:
    mrs     r13, spsr
    tst     r13, #(1 << 5)      /* T32: LR is 2 ahead, else 4 */
    subeq   lr, lr, #4
    subne   lr, lr, #2
    srsdb   sp!, #MODE_SVC
    cps     #MODE_SVC
    push    {r0-r12}
    mov     r1, #1
    b       call
supervisor:
    srsdb   sp!, #MODE_SVC
    push    {r0-r12}
    mov     r1, #2
    b       call
prefetch:
    sub     lr, lr, #4
    srsdb   sp!, #MODE_SVC
    cps     #MODE_SVC
    push    {r0-r12}
    mov     r1, #3
    b       call
data:
    sub     lr, lr, #8
    srsdb   sp!, #MODE_SVC
    cps     #MODE_SVC
    push    {r0-r12}
    mov     r1, #4
    b       call
interrupt:
    sub     lr, lr, #4
    srsdb   sp!, #MODE_SVC
    cps     #MODE_SVC
    push    {r0-r12}
    mov     r1, #6

/* On the stack: R0 to R12, LR and SPSR of the exception. The LR of Supervisor mode goes below. */
call:
    mov     r4, lr
    mov     r5, sp
    bic     sp, sp, #7
    mov     r0, r5
    bl      exception
    mov     sp, r5
    mov     lr, r4
    pop     {r0-r12}
    rfeia   sp!
