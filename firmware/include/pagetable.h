/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Translation tables for the SMMU: VMSAv8-64 long descriptors (DDI 0487 D8.3).
 *
 * Levels are Arm's: level 3 is the page. The tables come from the pool and are never freed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bits.h"

#define PTE_VALID BIT(0)
#define PTE_TABLE BIT(1) /* a table, or at level 3 a page; a block has 0 here */
#define PTE_ATTR_INDEX BITS(4, 2)
#define PTE_AP_UNPRIVILEGED BIT(6)
#define PTE_AP_READ_ONLY BIT(7)
#define PTE_SH_INNER field_put(BITS(9, 8), 3)
#define PTE_AF BIT(10)
#define PTE_NG BIT(11)
#define PTE_ADDRESS BITS(47, 12)

/* PCIe transactions without a PASID are unprivileged (IHI 0070 13.7), so AP[1] must be 1. */
#define PTE_READ_WRITE (PTE_AP_UNPRIVILEGED | PTE_SH_INNER | PTE_AF | PTE_NG)
#define PTE_READ_ONLY (PTE_READ_WRITE | PTE_AP_READ_ONLY)

/* For leaves of stage 2: its permissions, and Normal write-back memory. */
#define PTE_S2_READ BIT(6)
#define PTE_S2_WRITE BIT(7)
#define PTE_S2_WRITE_BACK field_put(BITS(5, 2), 0xf)
#define PTE_S2_READ_ONLY (PTE_S2_READ | PTE_S2_WRITE_BACK | PTE_SH_INNER | PTE_AF)
#define PTE_S2_READ_WRITE (PTE_S2_READ_ONLY | PTE_S2_WRITE)

#define PTE_DBM BIT(51) /* hardware may make a read-only leaf writable: it becomes dirty */

/* Index 0 of MAIR is Normal write-back, 1 is Device-nGnRE. */
#define PAGETABLE_MAIR 0x04fful

struct pagetable {
    unsigned granule_lg2; /* bytes: 12, 14 or 16 */
    unsigned va_bits;     /* 64 - TxSZ */
    bool upper;           /* for TTBR1: the addresses whose top bits are ones */
    unsigned start_level; /* where walks start */
    volatile uint64_t *root;
};

/* An empty table. */
void pagetable_init(struct pagetable *table, unsigned granule_lg2, unsigned va_bits, bool upper);

/*
 * An empty table for stage 2, of addresses of ipa_bits. Walks start at the lowest level for which
 * up to 16 tables side by side suffice (DDI 0487 D8.2.2), as S2SL0 has it.
 */
void pagetable_init_stage2(struct pagetable *table, unsigned granule_lg2, unsigned ipa_bits);

/* The bytes that a leaf at a level maps. */
uint64_t pagetable_leaf_size(const struct pagetable *table, unsigned level);

/* The descriptor for an address at a level; missing tables above it are added. */
volatile uint64_t *pagetable_descriptor(struct pagetable *table, uint64_t iova, unsigned level);

/* Maps one page or block; both addresses are multiples of its size. */
void pagetable_map(struct pagetable *table, uint64_t iova, uint64_t pa, unsigned level,
                   uint64_t attributes);
