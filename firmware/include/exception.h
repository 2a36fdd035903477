/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exceptions taken to EL1 (DDI 0487 D1.3): the frame that the vectors save, and what becomes of it.
 *
 * An interrupt goes to the GIC's handlers (gic.h). A data abort may be expected, for a probe of
 * memory that may not answer. Anything else prints the frame and ends the run with EXIT_EXCEPTION.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* vectors.S fills this in: keep the two in step. */
struct exception_frame {
    uint64_t x[31];
    uint64_t elr;
    uint64_t spsr;
    uint64_t esr;
    uint64_t far;
    uint64_t unused; /* keeps the stack aligned to 16 bytes */
};

/* The index of a vector: 4 * group + kind. Group 1 is "current EL with SP_ELx". */
enum vector_kind { VECTOR_SYNC, VECTOR_IRQ, VECTOR_FIQ, VECTOR_SERROR };

/* From now on a data abort at EL1 skips the load or store that caused it, and is counted. */
void data_aborts_expect(void);

/* Back to normal; returns how many data aborts were skipped. */
unsigned data_aborts_end(void);
