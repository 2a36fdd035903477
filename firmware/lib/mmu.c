/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mmu.h"

#include "bits.h"
#include "board.h"
#include "mmio.h"
#include "sysreg.h"

/* Block descriptors (DDI 0487 D8.3.1). */
#define BLOCK_VALID BIT(0)
#define BLOCK_ATTR_DEVICE (0ul << 2) /* index into MAIR_EL1 */
#define BLOCK_ATTR_NORMAL (1ul << 2)
#define BLOCK_SH_INNER (3ul << 8)
#define BLOCK_AF BIT(10)
#define BLOCK_XN (BIT(53) | BIT(54))

#define MAIR_DEVICE_NGNRE 0x04ul
#define MAIR_NORMAL_WB 0xfful

#define TCR_T0SZ(bits) (64ul - (bits))
#define TCR_IRGN0_WB (1ul << 8)
#define TCR_ORGN0_WB (1ul << 10)
#define TCR_SH0_INNER (3ul << 12)
#define TCR_EPD1 BIT(23)
#define TCR_IPS_40 (2ul << 32)

#define SCTLR_M BIT(0)
#define SCTLR_C BIT(2)
#define SCTLR_I BIT(12)

#define GIB (1ul << 30)

/* 39 bits of address: one level 1 table, whose 512 entries are 1 GiB each. */
static uint64_t level1[512] __attribute__((aligned(4096)));

static void map_gib(uint64_t address, uint64_t attributes)
{
    level1[address / GIB] = (address & -GIB) | BLOCK_VALID | BLOCK_AF | attributes;
}

void mmu_enable(void)
{
    map_gib(0, BLOCK_ATTR_DEVICE | BLOCK_XN);
    map_gib(RAM_BASE, BLOCK_ATTR_NORMAL | BLOCK_SH_INNER);
    map_gib(PCIE_ECAM_BASE, BLOCK_ATTR_DEVICE | BLOCK_XN);

    sysreg_write(mair_el1, MAIR_DEVICE_NGNRE | MAIR_NORMAL_WB << 8);
    sysreg_write(tcr_el1, TCR_T0SZ(39) | TCR_IRGN0_WB | TCR_ORGN0_WB | TCR_SH0_INNER | TCR_EPD1 |
                              TCR_IPS_40);
    sysreg_write(ttbr0_el1, level1);
    dsb();
    isb();
    __asm__ volatile("tlbi vmalle1\n dsb sy\n isb" : : : "memory");
    sysreg_write(sctlr_el1, sysreg_read(sctlr_el1) | SCTLR_M | SCTLR_C | SCTLR_I);
    isb();
}
