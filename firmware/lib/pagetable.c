/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pagetable.h"

#include "mmio.h"
#include "pool.h"

#define TABLE_ALIGNMENT_MIN 64 /* a TTB has no bits below this (DDI 0487 D8.2.4) */

static unsigned level_shift(const struct pagetable *table, unsigned level)
{
    return table->granule_lg2 + (3 - level) * (table->granule_lg2 - 3);
}

unsigned pagetable_start_level(const struct pagetable *table)
{
    unsigned level = 3;

    while (level > 0 && level_shift(table, level) + table->granule_lg2 - 3 < table->va_bits)
        level--;
    return level;
}

uint64_t pagetable_leaf_size(const struct pagetable *table, unsigned level)
{
    return BIT(level_shift(table, level));
}

static size_t root_size(const struct pagetable *table)
{
    return 8 * BIT(table->va_bits - level_shift(table, pagetable_start_level(table)));
}

void pagetable_init(struct pagetable *table, unsigned granule_lg2, unsigned va_bits, bool upper)
{
    table->granule_lg2 = granule_lg2;
    table->va_bits = va_bits;
    table->upper = upper;

    size_t size = root_size(table);
    table->root = pool_alloc(size, size < TABLE_ALIGNMENT_MIN ? TABLE_ALIGNMENT_MIN : size);
}

static uint64_t index_at(const struct pagetable *table, uint64_t iova, unsigned level)
{
    unsigned shift = level_shift(table, level);
    unsigned top = shift + table->granule_lg2 - 3;

    if (top > table->va_bits)
        top = table->va_bits;
    return field_get(BITS(top - 1, shift), iova);
}

volatile uint64_t *pagetable_descriptor(struct pagetable *table, uint64_t iova, unsigned level)
{
    volatile uint64_t *entries = table->root;

    for (unsigned at = pagetable_start_level(table); at < level; at++) {
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
