/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hypervisor's side of the core (DDI 0487 D1, D8): an image that stays at EL2, its own
 * translation, exceptions taken to EL2, and a guest at EL1 below stage 2.
 *
 * Such an image begins with EL2_IMAGE. Where the machine starts it at EL1 it runs there, and says
 * in main() that this is not what it needs.
 */
#pragma once

#include <stdbool.h>

#include "bits.h"

#define EL2_IMAGE                                  \
    __asm__(".section .text.start, \"ax\"\n"       \
            ".global _start\n"                     \
            "_start: b el2_start\n"                \
            ".text\n")

/* el2_vectors.S fills this in: keep the two in step. */
struct el2_frame {
    uint64_t x[31];
    uint64_t elr;
    uint64_t spsr;
    uint64_t esr;
    uint64_t far;
    uint64_t hpfar;
};

#define HCR_VM BIT(0)
#define HCR_IMO BIT(4)
#define HCR_VI BIT(7)
#define HCR_TWI BIT(13)
#define HCR_TSC BIT(19)
#define HCR_RW BIT(31)

#define EL2_VECTOR_SYNC 4 /* from EL2 itself */
#define EL2_VECTOR_IRQ 5
#define EL2_VECTOR_LOWER_SYNC 8 /* from EL1 and EL0 */
#define EL2_VECTOR_LOWER_IRQ 9

/* An HVC of a guest, with an argument and a result in x0. */
#define hvc(number, argument)                                                           \
    ({                                                                                  \
        register uint64_t x0_ __asm__("x0") = (uint64_t)(argument);                     \
        __asm__ volatile("hvc %1" : "+r"(x0_) : "i"(number) : "x1", "x2", "x3", "memory"); \
        x0_;                                                                            \
    })

/* The image has this: it deals with an exception taken to EL2, or returns false. */
bool el2_exception(struct el2_frame *frame, unsigned vector);

/* Turns EL2's own MMU on: the board one to one, and RAM once more at EL2_ALIAS. */
void el2_mmu_enable(void);
#define EL2_ALIAS 0x80000000ul

/*
 * Builds stage 2 and its registers: the board's devices and RAM, one to one, without the 2 MiB
 * that hold the address.
 */
void stage2_build(uint64_t missing);

/* Maps those 2 MiB to the same address, or others. */
void stage2_map(uint64_t ipa, uint64_t pa);

/* What a load of EL1 finds there, both stages together: PAR_EL1. */
uint64_t translate_for_guest(uint64_t va);
#define PAR_FAULT BIT(0)
#define PAR_ADDRESS BITS(47, 12)

/* Runs a function at EL1 with this HCR_EL2, until it returns. */
void guest_run(void (*function)(void), uint64_t hcr);
