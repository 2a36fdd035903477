/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "exception.h"

#include "bits.h"
#include "console.h"
#include "gic.h"
#include "semihosting.h"

static exception_hook current_hook;
static unsigned data_aborts;

void exception_hook_set(exception_hook hook)
{
    current_hook = hook;
}

static bool skip_data_abort(struct exception_frame *frame, unsigned vector)
{
    if (vector % 4 != VECTOR_SYNC || field_get(ESR_EC, frame->esr) != ESR_EC_DATA_ABORT)
        return false;
    data_aborts++;
    frame->elr += 4;
    return true;
}

void data_aborts_expect(void)
{
    data_aborts = 0;
    exception_hook_set(skip_data_abort);
}

unsigned data_aborts_end(void)
{
    exception_hook_set(NULL);
    return data_aborts;
}

static const char *class_name(uint64_t esr)
{
    switch (field_get(ESR_EC, esr)) {
    case ESR_EC_UNKNOWN:
        return "unknown instruction";
    case 0x07:
        return "trapped SIMD or floating point";
    case 0x0e:
        return "illegal execution state";
    case ESR_EC_SVC64:
        return "SVC";
    case 0x18:
        return "trapped system register";
    case 0x20:
        return "instruction abort from EL0";
    case ESR_EC_INSTRUCTION_ABORT:
        return "instruction abort";
    case ESR_EC_PC_ALIGNMENT:
        return "PC alignment";
    case 0x24:
        return "data abort from EL0";
    case ESR_EC_DATA_ABORT:
        return "data abort";
    case 0x26:
        return "SP alignment";
    case 0x2f:
        return "SError";
    case ESR_EC_BRK:
        return "BRK";
    default:
        return "exception";
    }
}

static void dump(const struct exception_frame *frame, unsigned vector)
{
    static const char *const kinds[] = {"synchronous", "IRQ", "FIQ", "SError"};

    console_init();
    printf("\nUNEXPECTED EXCEPTION: %s, vector %u (%s)\n", class_name(frame->esr), vector,
           kinds[vector % 4]);
    printf("  ESR  0x%016lx   ELR  0x%016lx\n", frame->esr, frame->elr);
    printf("  FAR  0x%016lx   SPSR 0x%016lx\n", frame->far, frame->spsr);
    for (unsigned i = 0; i < 31; i++)
        printf("  x%-2u  0x%016lx%s", i, frame->x[i], i % 2 ? "\n" : "");
    printf("\n");
}

/* Called by the vectors. */
void exception(struct exception_frame *frame, unsigned vector);

void exception(struct exception_frame *frame, unsigned vector)
{
    if (vector % 4 == VECTOR_IRQ && gic_dispatch())
        return;
    if (current_hook && current_hook(frame, vector))
        return;
    dump(frame, vector);
    exit(EXIT_EXCEPTION);
}
