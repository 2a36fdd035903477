/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The core by itself: exceptions taken to EL1 and what they leave in ESR, ELR, FAR and SPSR
 * (DDI 0487 D1.3 and D24.2), the generic timer's counter, PSCI, and semihosting.
 */
#include "board.h"
#include "console.h"
#include "exception.h"
#include "mmio.h"
#include "semihosting.h"
#include "sysreg.h"

#include "check.h"

#define UNMAPPED NOWHERE_BASE /* the core's own table has nothing there */

#define FSC_TRANSLATION_LEVEL_1 0x05
#define FSC_EXTERNAL_ABORT 0x10
#define FSC_PERMISSION_LEVEL_1 0x0d

#define SPSR_M_EL1H 0x5
#define SPSR_DAIF BITS(9, 6)

#define PSCI_VERSION 0x84000000

static struct exception_frame taken;
static unsigned taken_vector;
static unsigned taken_count;
static uint64_t resume_at; /* 0: the instruction after the one that faulted */

static bool take(struct exception_frame *frame, unsigned vector)
{
    taken = *frame;
    taken_vector = vector;
    taken_count++;
    if (resume_at)
        frame->elr = resume_at;
    else if (field_get(ESR_EC, frame->esr) != ESR_EC_SVC64)
        frame->elr += 4; /* SVC leaves ELR behind itself already */
    return true;
}

/* Runs one instruction that gives an exception; "where" becomes its address. */
#define PROVOKE(instruction, where, ...)                  \
    __asm__ volatile("adr %0, 1f\n1: " instruction        \
                     : "=&r"(where)                       \
                     : __VA_ARGS__                        \
                     : "memory", "x0")

static void check_taken(const char *what, uint64_t esr, uint64_t elr)
{
    check(taken_count == 1 && taken_vector == 4 * VECTOR_GROUP_CURRENT_SPX + VECTOR_SYNC &&
              taken.esr == esr && taken.elr == elr,
          "%s: ESR 0x%lx, vector %u", what, taken.esr, taken_vector);
    check((taken.spsr & 0x1f) == SPSR_M_EL1H && (taken.spsr & SPSR_DAIF) == SPSR_DAIF,
          "it comes from EL1h with D, A, I and F masked");
    taken_count = 0;
}

static uint64_t abort_esr(unsigned class, uint64_t iss)
{
    return field_put(ESR_EC, class) | ESR_IL | iss;
}

static void test_instructions(void)
{
    uint64_t at;

    test_section("Instructions that give an exception");
    PROVOKE("svc #0x1234", at, "i"(0));
    check_taken("SVC #0x1234", abort_esr(ESR_EC_SVC64, 0x1234), at + 4);
    PROVOKE("brk #0x55", at, "i"(0));
    check_taken("BRK #0x55", abort_esr(ESR_EC_BRK, 0x55), at);
    PROVOKE("udf #7", at, "i"(0));
    check_taken("an undefined instruction", abort_esr(ESR_EC_UNKNOWN, 0), at);
    PROVOKE("mrs x0, hcr_el2", at, "i"(0));
    check_taken("a register of EL2", abort_esr(ESR_EC_UNKNOWN, 0), at);
}

static void test_data_aborts(void)
{
    uint64_t at;

    test_section("Data aborts");
    PROVOKE("ldr w0, [%1]", at, "r"(UNMAPPED + 0x10));
    check_taken("a load where nothing is mapped",
                abort_esr(ESR_EC_DATA_ABORT, FSC_TRANSLATION_LEVEL_1), at);
    check(taken.far == UNMAPPED + 0x10, "FAR is 0x%lx", taken.far);
    PROVOKE("str xzr, [%1]", at, "r"(UNMAPPED + 0x2468));
    check_taken("a store where nothing is mapped",
                abort_esr(ESR_EC_DATA_ABORT, ESR_ISS_WNR | FSC_TRANSLATION_LEVEL_1), at);
    check(taken.far == UNMAPPED + 0x2468, "FAR is 0x%lx", taken.far);
}

static void jump_to(uint64_t target)
{
    register uint64_t x0 __asm__("x0") = target;

    resume_at = 0;
    __asm__ volatile("adr x1, 1f\n str x1, %1\n blr x0\n1:"
                     : "+r"(x0), "=m"(resume_at)
                     :
                     : "x1", "x30", "memory");
    resume_at = 0;
}

static void test_instruction_aborts(void)
{
    test_section("Instruction aborts");
    jump_to(UNMAPPED + 0x400);
    check_taken("a jump where nothing is mapped",
                abort_esr(ESR_EC_INSTRUCTION_ABORT, FSC_TRANSLATION_LEVEL_1), UNMAPPED + 0x400);
    check(taken.far == UNMAPPED + 0x400, "FAR is 0x%lx", taken.far);
    jump_to(PL011_BASE);
    check_taken("a jump into memory that is never executed",
                abort_esr(ESR_EC_INSTRUCTION_ABORT, FSC_PERMISSION_LEVEL_1), PL011_BASE);
    jump_to(RAM_BASE + 0x100002);
    check_taken("a jump to an odd address", abort_esr(ESR_EC_PC_ALIGNMENT, 0),
                RAM_BASE + 0x100002);
    check(taken.far == RAM_BASE + 0x100002, "FAR is 0x%lx", taken.far);
}

/* Nothing answers at this address of the board, though the core's table maps it. */
static void test_external_abort(void)
{
    const uint64_t hole = 0x0b000000;
    uint64_t at;

    test_section("An address of the board where nothing is");
    PROVOKE("ldr w0, [%1]", at, "r"(hole));
    check(taken_count == 1 && taken.elr == at && taken.far == hole &&
              field_get(ESR_EC, taken.esr) == ESR_EC_DATA_ABORT &&
              field_get(ESR_ISS_FSC, taken.esr) == FSC_EXTERNAL_ABORT,
          "a load is an external abort");
    taken_count = 0;
}

static void test_registers(void)
{
    uint64_t before = sysreg_read(cntpct_el0);

    test_section("Registers and calls");
    check(field_get(BITS(3, 2), sysreg_read(CurrentEL)) == 1, "CurrentEL is EL1");
    check(sysreg_read(cntfrq_el0) != 0, "the counter has a frequency");
    while (sysreg_read(cntpct_el0) == before) {
    }
    check(sysreg_read(cntpct_el0) > before, "and it goes up");
}

static void test_psci(void)
{
    register uint64_t x0 __asm__("x0") = PSCI_VERSION;

    __asm__ volatile("hvc #0" : "+r"(x0) : : "x1", "x2", "x3", "memory");
    check((int32_t)x0 > 1, "PSCI_VERSION by HVC answers, with 0.2 or later");
}

static void test_translation(void)
{
    uint64_t par;

    __asm__ volatile("at s1e1r, %0\n isb" : : "r"(PL011_BASE) : "memory");
    par = sysreg_read(par_el1);
    check(!(par & 1) && (par & BITS(47, 12)) == PL011_BASE, "AT S1E1R translates 0x%lx",
          PL011_BASE);
    __asm__ volatile("at s1e1r, %0\n isb" : : "r"(UNMAPPED) : "memory");
    par = sysreg_read(par_el1);
    check((par & 1) && field_get(BITS(6, 1), par) == FSC_TRANSLATION_LEVEL_1,
          "AT S1E1R fails at level 1 for 0x%lx", UNMAPPED);
}

int main(void)
{
    test_begin("core: exceptions, registers and calls of the core");
    exception_hook_set(take);
    test_instructions();
    test_data_aborts();
    test_instruction_aborts();
    test_external_abort();
    test_registers();
    test_psci();
    test_translation();
    return test_end();
}
