/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exceptions taken to EL1 (DDI 0487 D1.3): the frame that the vectors save, and what becomes of it.
 *
 * An interrupt goes to the GIC's handlers (gic.h), anything else to the hook, if one is set. What
 * neither takes prints the frame and ends the run with EXIT_EXCEPTION.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bits.h"

/* vectors.S fills this in: keep the two in step. */
struct exception_frame {
    uint64_t x[31];
    uint64_t elr;
    uint64_t spsr;
    uint64_t esr;
    uint64_t far;
    uint64_t unused; /* keeps the stack aligned to 16 bytes */
};

/* The index of a vector: 4 * group + kind. */
enum vector_kind { VECTOR_SYNC, VECTOR_IRQ, VECTOR_FIQ, VECTOR_SERROR };
#define VECTOR_GROUP_CURRENT_SPX 1

#define ESR_EC BITS(31, 26)
#define ESR_EC_UNKNOWN 0x00
#define ESR_EC_SVC64 0x15
#define ESR_EC_INSTRUCTION_ABORT 0x21
#define ESR_EC_PC_ALIGNMENT 0x22
#define ESR_EC_DATA_ABORT 0x25
#define ESR_EC_BRK 0x3c
#define ESR_IL BIT(25)
#define ESR_ISS_WNR BIT(6)
#define ESR_ISS_FSC BITS(5, 0)

/* Returns true when it has dealt with the exception; it may change the frame. */
typedef bool (*exception_hook)(struct exception_frame *frame, unsigned vector);

/* Sets the hook, or with a null pointer takes it away. */
void exception_hook_set(exception_hook hook);

/* From now on a data abort skips the load or store that caused it, and is counted. */
void data_aborts_expect(void);

/* Takes that hook away; returns how many data aborts were skipped. */
unsigned data_aborts_end(void);
