/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pagetable.h"

#include "mmio.h"
#include "pool.h"

#define TABLE_ALIGNMENT_MIN 64 /* a TTB has no bits below this (DDI 0487 D8.2.4) */
#define CONCATENATED_LG2 4     /* start tables of stage 2, side by side */

static unsigned level_shift(const struct pagetable *table, unsigned level)
{
    return table->granule_lg2 + (3 - level) * (table->granule_lg2 - 3);
}

uint64_t pagetable_leaf_size(const struct pagetable *table, unsigned level)
{
    return BIT(level_shift(table, level));
}

/* The lowest level at which a table, or up to 2^extra_lg2 of them, take all addresses. */
static unsigned lowest_start(const struct pagetable *table, unsigned extra_lg2)
{
    unsigned stride = table->granule_lg2 - 3;
    unsigned level = 3;

    while (level > 0 && level_shift(table, level) + stride + extra_lg2 < table->va_bits)
        level--;
    return level;
}

static void root_alloc(struct pagetable *table)
{
    size_t size = 8 * BIT(table->va_bits - level_shift(table, table->start_level));

    table->root = pool_alloc(size, size < TABLE_ALIGNMENT_MIN ? TABLE_ALIGNMENT_MIN : size);
}

void pagetable_init(struct pagetable *table, unsigned granule_lg2, unsigned va_bits, bool upper)
{
    *table = (struct pagetable){
        .granule_lg2 = granule_lg2,
        .va_bits = va_bits,
        .upper = upper,
    };
    table->start_level = lowest_start(table, 0);
    root_alloc(table);
}

void pagetable_init_stage2(struct pagetable *table, unsigned granule_lg2, unsigned ipa_bits)
{
    *table = (struct pagetable){.granule_lg2 = granule_lg2, .va_bits = ipa_bits};
    table->start_level = lowest_start(table, CONCATENATED_LG2);
    root_alloc(table);
}

/* The top of the index at the start level is the top of the address, else a whole table's. */
static uint64_t index_at(const struct pagetable *table, uint64_t iova, unsigned level)
{
    unsigned shift = level_shift(table, level);
    unsigned top = level == table->start_level ? table->va_bits : shift + table->granule_lg2 - 3;

    return field_get(BITS(top - 1, shift), iova);
}

volatile uint64_t *pagetable_descriptor(struct pagetable *table, uint64_t iova, unsigned level)
{
    volatile uint64_t *entries = table->root;

    for (unsigned at = table->start_level; at < level; at++) {
        volatile uint64_t *entry = &entries[index_at(table, iova, at)];

        if (!(*entry & PTE_VALID)) {
            void *next = pool_alloc(BIT(table->granule_lg2), BIT(table->granule_lg2));
            dma_write_barrier();
            *entry = (uintptr_t)next | PTE_TABLE | PTE_VALID;
        }
        entries = (volatile uint64_t *)(*entry & PTE_ADDRESS);
    }
    return &entries[index_at(table, iova, level)];
}

void pagetable_map(struct pagetable *table, uint64_t iova, uint64_t pa, unsigned level,
                   uint64_t attributes)
{
    uint64_t type = level == 3 ? PTE_TABLE | PTE_VALID : PTE_VALID;

    *pagetable_descriptor(table, iova, level) = pa | attributes | type;
    dma_write_barrier();
}
