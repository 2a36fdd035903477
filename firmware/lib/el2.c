/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "el2.h"

#include "board.h"
#include "console.h"
#include "mmio.h"
#include "semihosting.h"
#include "sysreg.h"

#define VALID BIT(0)
#define TABLE (BIT(0) | BIT(1))
#define AF BIT(10)
#define SH_INNER BITS(9, 8)
#define XN BIT(54)
#define S1_DEVICE (0ul << 2) /* index into MAIR_EL2 */
#define S1_NORMAL (1ul << 2)
#define S1_AP_RES1 BIT(6)
#define S2_DEVICE (1ul << 2) /* Device-nGnRE */
#define S2_NORMAL (0xful << 2)
#define S2_READ_WRITE BITS(7, 6)

/* 39 bits of address, tables in cacheable memory, 40 bits of output. */
#define TCR_COMMON (25ul | 1ul << 8 | 1ul << 10 | 3ul << 12 | 2ul << 16)
#define TCR_EL2_RES1 (BIT(31) | BIT(23))
#define VTCR_RES1 BIT(31)
#define VTCR_START_LEVEL_1 (1ul << 6)
#define MAIR 0xff04ul

#define SCTLR_M BIT(0)
#define SCTLR_C BIT(2)
#define SCTLR_I BIT(12)

#define ESR_EC BITS(31, 26)
#define ESR_EC_HVC 0x16
#define GUEST_ENDS 0xffff

#define GIB (1ul << 30)
#define MIB2 (1ul << 21)

static uint64_t own_level1[512] __attribute__((aligned(4096)));
static uint64_t stage2_level1[512] __attribute__((aligned(4096)));
static uint64_t stage2_level2[512] __attribute__((aligned(4096)));

_Noreturn void guest_leave(void);

void el2_mmu_enable(void)
{
    uint64_t normal = VALID | AF | SH_INNER | S1_NORMAL | S1_AP_RES1;

    own_level1[0] = VALID | AF | S1_DEVICE | S1_AP_RES1 | XN;
    own_level1[RAM_BASE / GIB] = RAM_BASE | normal;
    own_level1[EL2_ALIAS / GIB] = RAM_BASE | normal | XN;

    sysreg_write(mair_el2, MAIR);
    sysreg_write(tcr_el2, TCR_COMMON | TCR_EL2_RES1);
    sysreg_write(ttbr0_el2, own_level1);
    __asm__ volatile("dsb sy\n isb\n tlbi alle2\n dsb sy\n isb" : : : "memory");
    sysreg_write(sctlr_el2, sysreg_read(sctlr_el2) | SCTLR_M | SCTLR_C | SCTLR_I);
    isb();
}

static uint64_t *stage2_entry(uint64_t ipa)
{
    return &stage2_level2[ipa % GIB / MIB2];
}

static void stage2_flush(void)
{
    __asm__ volatile("dsb sy\n tlbi vmalls12e1\n dsb sy\n isb" : : : "memory");
}

void stage2_map(uint64_t ipa, uint64_t pa)
{
    *stage2_entry(ipa) = (pa & -MIB2) | VALID | AF | SH_INNER | S2_NORMAL | S2_READ_WRITE;
    stage2_flush();
}

void stage2_build(uint64_t missing)
{
    stage2_level1[0] = VALID | AF | S2_DEVICE | S2_READ_WRITE | XN;
    stage2_level1[RAM_BASE / GIB] = (uintptr_t)stage2_level2 | TABLE;
    for (uint64_t address = RAM_BASE; address < RAM_BASE + RAM_SIZE; address += MIB2)
        *stage2_entry(address) = address | VALID | AF | SH_INNER | S2_NORMAL | S2_READ_WRITE;
    *stage2_entry(missing) = 0;

    sysreg_write(vtcr_el2, TCR_COMMON | VTCR_START_LEVEL_1 | VTCR_RES1);
    sysreg_write(vttbr_el2, stage2_level1);
    sysreg_write(vmpidr_el2, sysreg_read(mpidr_el1));
    sysreg_write(vpidr_el2, sysreg_read(midr_el1));
    stage2_flush();
}

uint64_t translate_for_guest(uint64_t va)
{
    uint64_t hcr = sysreg_read(hcr_el2), found;

    sysreg_write(hcr_el2, HCR_RW | HCR_VM);
    __asm__ volatile("isb\n at s12e1r, %1\n isb\n mrs %0, par_el1" : "=r"(found) : "r"(va));
    sysreg_write(hcr_el2, hcr);
    isb();
    return found;
}

static void dump(const struct el2_frame *frame, unsigned vector)
{
    printf("\nUNEXPECTED EXCEPTION at EL2, vector %u\n", vector);
    printf("  ESR  0x%016lx   ELR  0x%016lx\n", frame->esr, frame->elr);
    printf("  FAR  0x%016lx   SPSR 0x%016lx\n", frame->far, frame->spsr);
    printf("  HPFAR 0x%016lx\n", frame->hpfar);
}

/* Called by the vectors. */
void el2_dispatch(struct el2_frame *frame, unsigned vector);

void el2_dispatch(struct el2_frame *frame, unsigned vector)
{
    if (vector == EL2_VECTOR_LOWER_SYNC && field_get(ESR_EC, frame->esr) == ESR_EC_HVC &&
        (frame->esr & 0xffff) == GUEST_ENDS)
        guest_leave();
    if (el2_exception(frame, vector))
        return;
    dump(frame, vector);
    exit(99);
}
