/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables of Context descriptors, one for each SubstreamID (Arm IHI 0070, 3.9, 5.2 and 5.3). */
#include "mmio.h"
#include "pool.h"
#include "smmuv3.h"

#define CD_SIZE sizeof(struct cd)
#define L1CD_SIZE 8
#define TABLE_ALIGNMENT_MIN 64

/* SubstreamIDs in a level 2 table, log2; a table of one level is all of them. */
static unsigned split_of(const struct smmu_cd_table *table)
{
    switch (table->format) {
    case STE_S1FMT_4K:
        return 6;
    case STE_S1FMT_64K:
        return 10;
    default:
        return table->ssid_lg2;
    }
}

void smmu_cd_table_init(struct smmu_cd_table *table, unsigned ssid_lg2, unsigned format)
{
    table->ssid_lg2 = ssid_lg2;
    table->format = format;

    unsigned split = split_of(table);
    size_t size = CD_SIZE << ssid_lg2;

    if (format != STE_S1FMT_LINEAR)
        size = L1CD_SIZE << (ssid_lg2 > split ? ssid_lg2 - split : 0);
    table->table = pool_alloc(size, size < TABLE_ALIGNMENT_MIN ? TABLE_ALIGNMENT_MIN : size);
}

volatile struct cd *smmu_cd_table_entry(struct smmu_cd_table *table, uint32_t ssid)
{
    unsigned split = split_of(table);
    volatile struct cd *leaf = (volatile struct cd *)table->table;

    if (table->format != STE_S1FMT_LINEAR) {
        volatile uint64_t *descriptor = &table->table[ssid >> split];

        if (!(*descriptor & L1CD_V)) {
            uintptr_t level2 = (uintptr_t)pool_alloc(CD_SIZE << split, CD_SIZE << split);

            dma_write_barrier();
            *descriptor = level2 | L1CD_V;
            dma_write_barrier();
        }
        leaf = (volatile struct cd *)(*descriptor & L1CD_L2PTR);
    }
    return &leaf[ssid & (BIT(split) - 1)];
}

struct ste smmu_ste_make_substreams(const struct smmu_cd_table *table, unsigned dss)
{
    struct ste ste = smmu_ste_make_s1((const volatile struct cd *)table->table);

    ste.dw[0] |= field_put(STE0_S1FMT, table->format) | field_put(STE0_S1CDMAX, table->ssid_lg2);
    ste.dw[1] = (ste.dw[1] & ~STE1_S1DSS) | field_put(STE1_S1DSS, dss);
    return ste;
}
