/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The start of an image that stays at EL2, the vectors of EL2 (DDI 0487 D1.3.1), and the way down
 * to a guest at EL1 and back.
 */

#define CPTR_EL2_NO_TRAPS   0x33ff      /* RES1 bits only */
#define SCTLR_EL2_MMU_OFF   0x30c50830  /* RES1 bits only */
#define SCTLR_EL1_MMU_OFF   0x30d00800
#define SPSR_EL1H_MASKED    0x3c5
#define FRAME_SIZE  288     /* sizeof(struct el2_frame) */
#define FRAME_ELR   248
#define FRAME_ESR   264
#define FRAME_HPFAR 280
#define GUEST_ENDS  0xffff  /* the HVC of a guest whose function has returned */

    .text
    .global el2_start
    .type el2_start, %function
el2_start:
    msr     daifset, #0xf
    msr     spsel, #1
    ldr     x0, =SCTLR_EL1_MMU_OFF
    msr     sctlr_el1, x0
    ldr     x0, =vectors
    msr     vbar_el1, x0
    mrs     x0, CurrentEL
    ubfx    x0, x0, #2, #2
    cmp     x0, #2
    b.ne    1f

    msr     hcr_el2, xzr
    mov     x0, #CPTR_EL2_NO_TRAPS
    msr     cptr_el2, x0
    msr     cntvoff_el2, xzr
    ldr     x0, =SCTLR_EL2_MMU_OFF
    msr     sctlr_el2, x0
    ldr     x0, =el2_vectors
    msr     vbar_el2, x0

1:  isb
    ldr     x0, =__stack_top
    mov     sp, x0
    ldr     x0, =__bss_start
    ldr     x1, =__bss_end
2:  cmp     x0, x1
    b.hs    3f
    stp     xzr, xzr, [x0], #16
    b       2b

3:  mov     x29, xzr
    mov     x30, xzr
    bl      main
    b       exit
    .size el2_start, . - el2_start

    .section .text.el2_vectors, "ax"
    .balign 2048
el2_vectors:
    .set    index, 0
    .rept   16
    .balign 128
    sub     sp, sp, #FRAME_SIZE
    stp     x0, x1, [sp]
    mov     x1, #index
    b       el2_save_and_call
    .set    index, index + 1
    .endr

    .balign 128
    .type el2_save_and_call, %function
el2_save_and_call:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    str     x30, [sp, #240]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x2, x3, [sp, #FRAME_ELR]
    mrs     x2, esr_el2
    mrs     x3, far_el2
    stp     x2, x3, [sp, #FRAME_ESR]
    mrs     x2, hpfar_el2
    str     x2, [sp, #FRAME_HPFAR]

    mov     x0, sp
    bl      el2_dispatch

    ldp     x2, x3, [sp, #FRAME_ELR]
    msr     elr_el2, x2
    msr     spsr_el2, x3
    ldr     x30, [sp, #240]
    ldp     x28, x29, [sp, #224]
    ldp     x26, x27, [sp, #208]
    ldp     x24, x25, [sp, #192]
    ldp     x22, x23, [sp, #176]
    ldp     x20, x21, [sp, #160]
    ldp     x18, x19, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp]
    add     sp, sp, #FRAME_SIZE
    eret
    .size el2_save_and_call, . - el2_save_and_call

    .section .text.guest, "ax"
    .global guest_run
    .type guest_run, %function
guest_run:                          /* x0: the function, x1: HCR_EL2 */
    stp     x29, x30, [sp, #-96]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    ldr     x2, =guest_saved_sp
    mov     x3, sp
    str     x3, [x2]
    msr     hcr_el2, x1
    msr     elr_el2, x0
    mov     x0, #SPSR_EL1H_MASKED
    msr     spsr_el2, x0
    ldr     x0, =guest_stack_top
    msr     sp_el1, x0
    ldr     x30, =guest_end
    mov     x29, xzr
    isb
    eret
guest_end:
    hvc     #GUEST_ENDS
    b       .
    .size guest_run, . - guest_run

    /* Returns from guest_run(), whatever is on the stack. */
    .global guest_leave
    .type guest_leave, %function
guest_leave:
    ldr     x2, =guest_saved_sp
    ldr     x3, [x2]
    mov     sp, x3
    ldp     x27, x28, [sp, #80]
    ldp     x25, x26, [sp, #64]
    ldp     x23, x24, [sp, #48]
    ldp     x21, x22, [sp, #32]
    ldp     x19, x20, [sp, #16]
    ldp     x29, x30, [sp], #96
    ret
    .size guest_leave, . - guest_leave

    .section .bss.guest, "aw", %nobits
    .balign 16
guest_saved_sp:
    .skip   16
    .skip   0x2000
guest_stack_top:
